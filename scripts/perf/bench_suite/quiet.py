"""The three roles on Kafka in quiet hours: doing nothing, at few reservations a second, and at few of one very large area."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.perf.bench_suite.figures import Goal, Kind, Notebook
from scripts.perf.bench_suite.load import Say, areas, sell
from scripts.perf.bench_suite.on_kafka import Plan, roles_cpu_us
from scripts.perf.bench_suite.processes import ROLES, Kafka, Roles, kafka_with_roles, serving, written_bytes

# (a second, goals of p50 and p99 and of the original, in ms).
_RATES = ((50, 12.0, 40.0, 117.0, 239.0), (500, 30.0, 80.0, 209.0, 295.0))
_AREAS = 100
_LARGE = ("-a", "1", "--rows", "250", "--cols", "400")
_TRICKLE_PER_S = 50
# By then the work of a start is over: checks of stores, and tables' questions where logs end.
_SETTLE_S = 15.0

KINDS: tuple[Kind, ...] = (
    Kind("idle, empty: CPU of the three roles", "% of a core", Goal(0.5)),
    *(Kind(f"idle, empty: of this, {role}", "% of a core") for role in ROLES),
    Kind("idle, empty: CPU of the broker", "% of a core"),
    *(
        kind
        for rate, p50, p99, original_p50, original_p99 in _RATES
        for kind in (
            Kind(f"{rate}/s: POST to decision, p50", "ms", Goal(p50), original_p50),
            Kind(f"{rate}/s: POST to decision, p99", "ms", Goal(p99), original_p99),
            Kind(f"{rate}/s: CPU of the roles per reservation", "µs", Goal(3_000) if rate == 50 else None, 8_500 if rate == 50 else 1_220),
            *(Kind(f"{rate}/s: of this, {role}", "µs") for role in ROLES),
            Kind(f"{rate}/s: the broker's CPU per reservation", "µs"),
        )
    ),
    Kind("one area of 100,000, 50/s: bytes per reservation, all topics", "bytes", Goal(20_000)),
    Kind("one area of 100,000, 50/s: bytes written per reservation, standalone", "bytes", Goal(20_000)),
)


def measure_quiet(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """Idle before anything is sold, then at fixed rates."""
    with kafka_with_roles(folder, 1) as (_, roles):
        say("quiet: starting")
        roles.start_all()
        time.sleep(_SETTLE_S)
        for run in range(1, plan.runs + 1):
            say(f"quiet: idle, {run} of {plan.runs}")
            _note_idle(roles, plan.rate_s, notes)
        say(f"quiet: warming up, {plan.in_memory:,} reservations")
        sell(roles, "-n", str(plan.in_memory), "--in-flight", str(plan.in_flight), *areas(min(max(1, plan.in_memory // 200), 1_000)))
        for rate, *_ in _RATES:
            _note_rate(roles, rate, plan, notes, say)
        roles.stop_all()


def _note_idle(roles: Roles, seconds: int, notes: Notebook) -> None:
    began_s, before = time.monotonic(), roles.cpus_s()
    time.sleep(seconds)
    took_s, now = time.monotonic() - began_s, roles.cpus_s()
    percent = {name: 100 * (now[name] - before[name]) / took_s for name in now}
    notes.note("idle, empty: CPU of the three roles", sum(percent[role] for role in ROLES))
    for role in ROLES:
        notes.note(f"idle, empty: of this, {role}", percent[role])
    notes.note("idle, empty: CPU of the broker", percent["broker"])


def _note_rate(roles: Roles, rate: int, plan: Plan, notes: Notebook, say: Say) -> None:
    for run in range(plan.runs + 1):
        say(f"{rate} reservations a second, {run} of {plan.runs}")
        sale = sell(roles, "-n", str(rate * plan.rate_s), "--rate", str(rate), *areas(_AREAS))
        if not run:
            # The broker's virtual machine has not compiled what it needs for small transactions.
            continue
        for percent in ("p50", "p99"):
            notes.note(f"{rate}/s: POST to decision, {percent}", sale.decision_ms(percent))
        notes.note(f"{rate}/s: CPU of the roles per reservation", roles_cpu_us(sale))
        for role in ROLES:
            notes.note(f"{rate}/s: of this, {role}", sale.cpu_us[role])
        notes.note(f"{rate}/s: the broker's CPU per reservation", sale.cpu_us["broker"])


def measure_large_area(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """One area of 100,000 seats, of which few are sold a second: on Kafka, then in one process."""
    requests = _TRICKLE_PER_S * plan.rate_s
    trickle = ("-n", str(requests), "--rate", str(_TRICKLE_PER_S), *_LARGE)
    with kafka_with_roles(folder / "kafka", 1) as (kafka, roles):
        roles.start_all()
        for run in range(1, plan.runs + 1):
            say(f"one area of 100,000 seats on Kafka, {run} of {plan.runs}")
            notes.note("one area of 100,000, 50/s: bytes per reservation, all topics", _grown(kafka, roles, trickle) / requests)
        roles.stop_all()
    with serving(folder / "standalone") as server:
        for run in range(1, plan.runs + 1):
            say(f"one area of 100,000 seats in one process, {run} of {plan.runs}")
            before = written_bytes(server.process)
            sell(server, *trickle)
            written = written_bytes(server.process) - before
            notes.note("one area of 100,000, 50/s: bytes written per reservation, standalone", written / requests)
        server.stop()


def _grown(kafka: Kafka, roles: Roles, options: tuple[str, ...]) -> int:
    """How many bytes of records a sale has added to the topics: what is being written is never compacted, nor are new logs removed."""
    before = kafka.topics_bytes()
    sell(roles, *options)
    return kafka.topics_bytes() - before
