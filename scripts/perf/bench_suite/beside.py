"""What the reservation role costs beside an event role of the original: results and statuses come with the original's schema ids.

Theirs is played by ours, whose registry has the original's schemas under the names of the subjects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.figures import Goal, Kind, Notebook
from scripts.perf.bench_suite.load import Say, areas, sell
from scripts.perf.bench_suite.on_kafka import Plan
from scripts.perf.bench_suite.processes import Kafka, Roles, kafka_with_roles
from tests.support.registry import ORIGINAL_SCHEMAS, Registry, registry_of_tests
from ticketmaster.wire import topics
from ticketmaster.wire.registry import ORIGINAL_RECORDS
from ticketmaster.wire.schema_registry import subjects

_OURS, _THEIRS = "ours", "the original's"
_AREAS = 100
_RESULTS = f"{topics.RESERVATION_RESULT.name}-value"
KINDS: tuple[Kind, ...] = (
    *(Kind(f"event role {side}: CPU of reservation per reservation", "µs") for side in (_OURS, _THEIRS)),
    Kind("event role the original's / ours: CPU of reservation", "×", Goal(1.2)),
)


def measure(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """Each run sells beside both, one after the other; only the event role is started anew."""
    with kafka_with_roles(folder, 1) as (kafka, roles), _registries(kafka) as (configs, registry):
        for role in ("ticket", "reservation"):
            roles.start(role, configs[_OURS])
        say(f"beside: warming up, {plan.in_memory:,} reservations")
        _cost_us(roles, configs[_OURS], plan.in_memory, plan)
        for run in range(1, plan.runs + 1):
            costs_us = {}
            # What changes on the machine from one sale to the next favours neither.
            for side in (_OURS, _THEIRS) if run % 2 else (_THEIRS, _OURS):
                say(f"beside, run {run} of {plan.runs}: event role {side}")
                costs_us[side] = _cost_us(roles, configs[side], plan.requests, plan)
                notes.note(f"event role {side}: CPU of reservation per reservation", costs_us[side])
            notes.note(KINDS[-1].name, costs_us[_THEIRS] / costs_us[_OURS])
        roles.stop_all()
        _ensure_met(registry)


def _ensure_met(registry: Registry) -> None:
    """BenchError: nobody had to ask what a result of the original's is, so that there was nothing to compare."""
    schema_id = registry.put(f"other-{_RESULTS}", ORIGINAL_SCHEMAS[_RESULTS])
    if f"GET /schemas/ids/{schema_id}" not in registry.asked:
        raise BenchError("the reservation role met no result with the original's schema id")


def _cost_us(roles: Roles, config: Path, requests: int, plan: Plan) -> float:
    """Of the reservation role, in a sale beside an event role that is started for it."""
    roles.start("event", config)
    sale = sell(roles, "-n", str(requests), "--in-flight", str(plan.in_flight), *areas(_AREAS))
    roles.stop("event")
    return sale.cpu_us["reservation"]


@contextmanager
def _registries(kafka: Kafka) -> Iterator[tuple[dict[str, Path], Registry]]:
    """The properties of either side, and the registry of ours. Both have both kinds of schemas, with the same ids; one has the subjects."""
    ours = {subject.name: json.loads(subject.schema) for subject in subjects() if subject.record in ORIGINAL_RECORDS}
    kinds = {_OURS: ours, _THEIRS: {name: ORIGINAL_SCHEMAS[name] for name in ours}}
    configs, registries = {}, {}
    with ExitStack() as stack:
        for side in kinds:
            registry = stack.enter_context(registry_of_tests())
            for kind, schemas in kinds.items():
                for subject, schema in schemas.items():
                    registry.put(subject if kind == side else f"other-{subject}", schema)
            kept = [line for line in kafka.config.read_text().splitlines() if not line.startswith("schema.registry.url")]
            configs[side] = kafka.folder / f"{'ours' if side == _OURS else 'theirs'}.properties"
            configs[side].write_text("\n".join([*kept, f"schema.registry.url={registry.url}", ""]))
            registries[side] = registry
        yield configs, registries[_OURS]
