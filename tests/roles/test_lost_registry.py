"""A registry that was lost and made anew: whoever starts on what it has forgotten says so, and neither serves nor fills it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.fleet import PARTITIONS, READY_S, Fleet
from tests.process.client import ask
from tests.process.sale import Sale
from tests.process.server import Program, one_clear_line, run, wait_until
from tests.support.kafka import Cluster
from tests.support.kafka_topics import delete_topics
from tests.support.registry import Registry, registry_of_tests
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.wire.registry import frame
from ticketmaster.wire.schema_registry import subjects
from ticketmaster.wire.topics import AREA_STATUS

ROLES = ("ticket", "reservation", "event")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with registry_of_tests(first_id=101) as registry:
        yield registry


@pytest.fixture
async def fleet(tmp_path: Path, own_cluster: Cluster, registry: Registry) -> Any:  # noqa: ANN401
    """A sale that was stopped in order."""
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=own_cluster.bootstrap_servers), SystemClock())
    await broker.start()
    fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, registry.url)
    try:
        await delete_topics(broker, [topic.name for topic in WANTED])
        await asyncio.to_thread(fleet.create_topics)
        await asyncio.to_thread(fleet.start_all)
        sale = Sale(1, areas=3)
        await sale.announce(fleet.addresses()[0], "concert")
        await asyncio.to_thread(fleet.stop_all)
        yield fleet
    finally:
        fleet.kill_all()
        await delete_topics(broker, [topic.name for topic in WANTED])
        await broker.close()


def waits(program: Program) -> str:
    """Until it says that it waits; returns why."""
    wait_until(lambda: program.logged("waiting_for_known_schemas") is not None or not program.is_running, "it says what is wrong")
    line = program.logged("waiting_for_known_schemas")
    assert line is not None, program.stdout.read_text() + program.stderr.read_text()
    return str(line["reason"])


async def test_no_role_serves_what_the_registry_has_forgotten_and_each_goes_on_when_it_is_back(fleet: Fleet, registry: Registry) -> None:
    backup = registry.forget()

    programs = {role: fleet.start(role) for role in ROLES}
    reasons = {role: await asyncio.to_thread(waits, program) for role, program in programs.items()}
    audit = await asyncio.to_thread(run, "audit", "-c", str(fleet.config), cwd=fleet.folder)

    for reason in reasons.values():
        assert "which the schema registry" in reason
        assert "does not know" in reason
        assert "restore its backup" in reason
    one_clear_line(audit, ["does not know", "restore its backup"])
    assert all(program.logged("ready") is None for program in programs.values())
    (address,) = [fleet.serving(role)[0] for role in ("event",)]
    assert (await ask(address, "GET", "/v1/health_check")).status == 503
    # It is for a person to fill it: with what it had, or not.
    assert registry.subjects == {}

    registry.restore(backup)
    for program in programs.values():
        await asyncio.to_thread(program.wait_ready_line, READY_S)
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)


async def test_ids_that_mean_something_else_now_are_told_apart(fleet: Fleet, registry: Registry) -> None:
    # Filled anew in another order, by programs that came first.
    registry.forget(first_id=101)
    for subject in reversed(subjects()):
        registry.put(subject.name, json.loads(subject.schema))

    reasons = [await asyncio.to_thread(waits, fleet.start(role)) for role in ROLES]

    assert all(", which the schema registry" in reason and " has as " in reason for reason in reasons), reasons


async def test_a_record_that_was_deleted_again_is_no_reason_to_wait(fleet: Fleet, own_cluster: Cluster) -> None:
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=own_cluster.bootstrap_servers), SystemClock())
    await broker.start()
    try:
        for partition in range(PARTITIONS):
            await broker.producer().send(
                {TopicPartition(AREA_STATUS.name, partition): [(b"poison", frame(999_999) + b"x"), (b"poison", None)]}
            )
    finally:
        await broker.close()

    await asyncio.to_thread(fleet.start_all)

    assert fleet.logged("waiting_for_known_schemas") == []
    assert json.dumps(fleet.died()) == "[]"
