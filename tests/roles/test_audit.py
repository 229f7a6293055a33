"""``ticketmaster audit``, ``export`` and ``trace`` on a real Kafka: a sound sale, planted mistakes, and commands that are gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.chaos.fleet import PARTITIONS, Fleet
from tests.process.client import connected
from tests.process.sale import Sale
from tests.process.server import one_clear_line, run
from tests.support.kafka import Cluster
from tests.support.kafka_topics import delete_topics, remove_records
from ticketmaster.audit.rules import Rule
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition, partitions_of
from ticketmaster.clock import SystemClock
from ticketmaster.export import reading
from ticketmaster.export.reading import Source, read_reservations
from ticketmaster.export.scratch import Scratch
from ticketmaster.wire import topics

COMMANDS, DECISIONS = topics.CREATE_RESERVATION.name, topics.USER_RESERVATION.name


@pytest.fixture
def fleet(tmp_path: Path, own_cluster: Cluster) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, own_cluster.registry_url)
    yield fleet
    fleet.kill_all()


def asked(fleet: Fleet, *command: str) -> tuple[int, dict[str, Any]]:
    done = run(*command, "--json", "-c", str(fleet.config), cwd=fleet.folder, timeout_s=60)
    # On a slow machine it tells how far it has come.
    assert [line for line in done.stderr.splitlines() if not line.endswith("%")] == []
    return done.returncode, json.loads(done.stdout)


async def buy(sale: Sale, address: str) -> None:
    async with connected(address) as connection:
        for _ in range(20):
            await sale.post(connection)


async def sold(fleet: Fleet, broker: KafkaBroker) -> Sale:
    """A sale on topics of its own, the roles stopped."""
    await delete_topics(broker, [topic.name for topic in WANTED])
    await asyncio.to_thread(fleet.create_topics)
    await asyncio.to_thread(fleet.start_all)
    (address,) = fleet.addresses()
    sale = Sale(1, areas=3)
    await sale.announce(address, "concert")
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(buy(sale, address))
    await sale.check(address)
    await asyncio.to_thread(fleet.stop_all)
    return sale


async def value_of(broker: KafkaBroker, source: TopicPartition, key: bytes) -> bytes:
    """A key's last value."""
    end = (await broker.end_offsets([source]))[source]
    reader, position, found = broker.reader({source: 0}), 0, b""
    try:
        while position < end:
            for batch in await reader.poll(200):
                position = batch.next_offset
                found = next((value for at, value in batch.records if at == key and value), found)
    finally:
        await reader.stop()
    assert found
    return found


async def test_a_sale_is_audited_and_its_reservations_are_traced(fleet: Fleet, own_cluster: Cluster) -> None:
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=own_cluster.bootstrap_servers), SystemClock())
    await broker.start()
    try:
        sale = await sold(fleet, broker)

        # Sound, with every store.
        code, document = await asyncio.to_thread(asked, fleet, "audit", "-d", str(fleet.state))
        assert (code, document["findings"]) == (0, [])
        assert document["totals"]["decisions"] == len(sale.answered)
        assert document["stores"] > 0
        gone = sale.sold()
        assert all(area["sold"] == len(gone["concert", area["area_id"]]) for area in document["areas"])
        digest = document["digest"]

        # A directory that is none of theirs is no proof of anything.
        nowhere = run("audit", "-c", str(fleet.config), "-d", str(fleet.folder / "nowhere"), cwd=fleet.folder)
        one_clear_line(nowhere, ["nowhere", "no state of this cluster"])

        # Exported: each reservation as it was answered.
        done = await asyncio.to_thread(run, "export", "-c", str(fleet.config), "--format", "jsonl", cwd=fleet.folder, timeout_s=60)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (0, f"stdout: {len(sale.decisions)} reservations of all events")
        rows = {row["reservationId"]: row for row in map(json.loads, done.stdout.splitlines())}
        assert {key: rows[key]["seats"] for key in rows} == {key: json.loads(body)["seats"] for key, body in sale.decisions.items()}

        assert await exported_in_two_runs(broker, fleet.folder / "scratch") == len(sale.decisions)

        # Traced: every record has its own place and time.
        reservation_id = next(key for key, body in sale.decisions.items() if b'"RESERVED"' in body)
        code, trace = await asyncio.to_thread(asked, fleet, "trace", reservation_id)
        assert code == 0
        steps = trace["steps"]
        assert sorted(step["topic"] for step in steps) == sorted(
            [COMMANDS, topics.RESERVE_SEAT.name, topics.RESERVATION_RESULT.name, DECISIONS, *[topics.RESERVATION_CHANGELOG.name] * 2]
        )
        partition = partition_of(reservation_id.encode(), PARTITIONS)
        assert {step["partition"] for step in steps if step["topic"] != topics.RESERVE_SEAT.name} == {partition}
        unknown = await asyncio.to_thread(run, "trace", str(uuid4()), "-c", str(fleet.config), cwd=fleet.folder)
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert len(unknown.stderr.splitlines()) == 1

        # All commands, questions and answers removed by retention: nobody can be accused of having had none, and the rest is the same.
        for topic in (COMMANDS, topics.RESERVE_SEAT.name, topics.RESERVATION_RESULT.name, topics.CREATE_EVENT.name):
            await remove_all_records(broker, topic)
        code, document = await asyncio.to_thread(asked, fleet, "audit")
        assert (code, document["findings"], document["totals"]["commands"]) == (0, [], 0)
        assert document["digest"] == digest
        code, trace = await asyncio.to_thread(asked, fleet, "trace", reservation_id)
        assert (code, {step["topic"] for step in trace["steps"]}) == (0, {topics.RESERVATION_CHANGELOG.name, DECISIONS})

        # Planted: a decision once more. It is named where it is.
        source = TopicPartition(DECISIONS, partition)
        record: Pair = (reservation_id.encode(), await value_of(broker, source, reservation_id.encode()))
        planted_at = (await broker.end_offsets([source]))[source]
        await broker.producer().send({source: [record]})
        code, document = await asyncio.to_thread(asked, fleet, "audit")
        (finding,) = document["findings"]
        assert (code, finding["rule"], finding["times"]) == (1, Rule.DECIDED_AGAIN, 1)
        (example,) = finding["examples"]
        assert example["text"] == f"{reservation_id}: RESERVED"
        assert example["records"][1] == {"topic": DECISIONS, "partition": partition, "offset": planted_at}
    finally:
        # What was planted must not be found by those who come after.
        await delete_topics(broker, [topic.name for topic in WANTED])
        await broker.close()


async def exported_in_two_runs(broker: KafkaBroker, path: Path) -> int:
    """How many reservations an export has read that was interrupted at its first commit, and gone on with: no record was read twice."""
    ends = await broker.end_offsets(partitions_of(DECISIONS, PARTITIONS))
    source, read = Source(broker, "cluster", None, lambda _, at, offset: offset <= ends[at]), list[int]()

    def interrupt(records: int, _total: int, _done: int) -> None:
        if records:
            read.append(records)
            raise InterruptedError

    with pytest.MonkeyPatch.context() as patch, closing(Scratch(path)) as scratch:
        patch.setattr(reading, "_COMMIT_RECORDS", 1)
        with pytest.raises(InterruptedError):
            await read_reservations(source, PARTITIONS, None, scratch, interrupt)
        assert scratch.count() == read[0]
        assert await read_reservations(source, PARTITIONS, None, scratch, lambda records, _total, _done: read.append(read[0] + records))
        assert read[-1] == scratch.count()
        return scratch.count()


async def remove_all_records(broker: KafkaBroker, topic: str) -> None:
    """As retention does, all of them."""
    await remove_records(broker, await broker.end_offsets(partitions_of(topic, PARTITIONS)))
