"""One role of ours among roles of the original, on a real Kafka: it works off what they have written, and writes their very bytes.

Theirs are played by the records of a run of the original. The registry has their schemas and ours under ids of their own.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import fastavro
import pytest

from tests.chaos.fleet import READY_S, Fleet
from tests.process.client import ask
from tests.process.server import run
from tests.support.consuming import DEADLINE_S, read_records
from tests.support.golden import GOLDEN, GOLDEN_PARTITIONS, golden_records
from tests.support.kafka import Cluster
from tests.support.kafka_topics import delete_topics
from tests.support.registry import ORIGINAL_SCHEMAS, Registry, registry_of_tests
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Pair, partitions_of
from ticketmaster.clock import SystemClock
from ticketmaster.wire import avro, topics
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.registry import SCHEMA_IDS, frame
from ticketmaster.wire.schema_registry import subjects

AT_CACHE_LEVEL = "request rejected at cache level"


class Mix:
    """A cluster on which the original is at work, but for the role that is ours."""

    def __init__(self, fleet: Fleet, broker: KafkaBroker, registry: Registry) -> None:
        self.fleet = fleet
        self.broker = broker
        self.theirs = registry.put_original()
        self.ours = {subject.record: registry.put(subject.name, json.loads(subject.schema)) for subject in subjects()}

    async def write(self, topic: topics.Topic, keys: Iterable[str] | None = None) -> int:
        """The original writes what it wrote, of these keys; returns how much."""
        wanted = None if keys is None else {key.encode() for key in keys}
        records = [found for found in golden_records(topic.name, self.theirs[topic.record]) if wanted is None or found[1][0] in wanted]
        for source, pair in records:
            await self.broker.producer().send({source: [pair]})
        return len(records)

    async def written(self, topic: topics.Topic, count: int) -> list[Pair]:
        """Waits for so many records of ours on a topic."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + DEADLINE_S
        while True:
            found = [pair for source in partitions_of(topic.name, GOLDEN_PARTITIONS) for pair in await read_records(self.broker, source)]
            ours: list[Pair] = [(key, value) for key, value in found if value and value.startswith(frame(self.ours[topic.record]))]
            if len(ours) >= count:
                break
            assert loop.time() < deadline_s, f"{len(ours)} of {count} records on {topic.name}"
            await asyncio.sleep(0.1)
        for _, value in ours:
            read_by_the_original(topic, value or b"")
        return ours

    async def started(self, role: str) -> None:
        program = self.fleet.start(role)
        await asyncio.to_thread(program.wait_ready_line, READY_S)


def read_by_the_original(topic: topics.Topic, value: bytes) -> None:
    """Fails unless the original, by its own schema, reads in a record of ours what we meant."""
    writer = next(json.loads(subject.schema) for subject in subjects() if subject.record == topic.record)
    stream = io.BytesIO(value[FRAME_BYTES:])
    schema = next(schema for schema in ORIGINAL_SCHEMAS.values() if schema["name"] == topic.record)
    read = fastavro.schemaless_reader(stream, fastavro.parse_schema(writer), fastavro.parse_schema(schema))
    assert read == avro.decode(topic.record, frame(SCHEMA_IDS[topic.record]) + value[FRAME_BYTES:])
    assert stream.read() == b""


def bodies(records: Iterable[Pair]) -> dict[bytes, bytes]:
    """The last value of each key, without its frame."""
    return {key: value[FRAME_BYTES:] for key, value in records if value}


def bodies_of(records: Iterable[Pair]) -> list[bytes]:
    """Every value, without its frame."""
    return [value[FRAME_BYTES:] for _, value in records if value]


def golden_bodies(topic: topics.Topic) -> dict[bytes, bytes]:
    return bodies(pair for _, pair in golden_records(topic.name, 0))


@pytest.fixture
async def mix(tmp_path: Path, own_cluster: Cluster) -> AsyncIterator[Mix]:
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=own_cluster.bootstrap_servers), SystemClock())
    await broker.start()
    with registry_of_tests(first_id=101) as registry:
        fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, registry.url)
        try:
            await delete_topics(broker, [topic.name for topic in WANTED])
            command = ("topics", "create", "-c", str(fleet.config), "--partitions", str(GOLDEN_PARTITIONS))
            done = await asyncio.to_thread(run, *command, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            yield Mix(fleet, broker, registry)
        finally:
            fleet.kill_all()
            await delete_topics(broker, [topic.name for topic in WANTED])
            await broker.close()


async def test_our_event_role_among_theirs(mix: Mix) -> None:
    await mix.started("event")
    await mix.write(topics.CREATE_EVENT)
    await mix.written(topics.AREA_STATUS, 2)
    asked = await mix.write(topics.RESERVE_SEAT)

    answers = await mix.written(topics.RESERVATION_RESULT, asked)

    assert bodies(answers) == golden_bodies(topics.RESERVATION_RESULT)
    assert bodies(await mix.written(topics.AREA_STATUS, 3)) == golden_bodies(topics.AREA_STATUS)
    assert bodies(await mix.written(topics.AREA_CHANGELOG, 3)) == golden_bodies(topics.AREA_CHANGELOG)


async def test_our_reservation_role_among_theirs(mix: Mix) -> None:
    questions = {avro.decode("ReserveSeat", value)["reservationId"] for value in framed(topics.RESERVE_SEAT)}
    decisions = golden_bodies(topics.USER_RESERVATION)
    filtered = {key.decode() for key, body in decisions.items() if AT_CACHE_LEVEL.encode() in body}
    others = {key.decode() for key in decisions} - filtered
    assert questions <= others
    assert filtered

    # Before any status: whatever the area must decide, it is asked.
    await mix.started("reservation")
    await mix.write(topics.CREATE_RESERVATION, others)
    asked = await mix.written(topics.RESERVE_SEAT, len(questions))
    assert sorted(value[FRAME_BYTES:] for _, value in asked if value) == sorted(
        value[FRAME_BYTES:] for value in framed(topics.RESERVE_SEAT)
    )
    await mix.write(topics.RESERVATION_RESULT)
    decided = bodies(await mix.written(topics.USER_RESERVATION, len(others)))
    await asyncio.to_thread(mix.fleet.stop, "reservation")

    # With the statuses at the end of the sale the rest needs no area.
    await mix.write(topics.AREA_STATUS)
    await mix.started("reservation")
    await mix.write(topics.CREATE_RESERVATION, filtered)

    assert decided == {key: body for key, body in decisions.items() if key.decode() in others}
    assert bodies(await mix.written(topics.USER_RESERVATION, len(decisions))) == decisions
    assert len(await mix.written(topics.RESERVE_SEAT, len(questions))) == len(questions)


async def test_our_ticket_role_among_theirs(mix: Mix) -> None:
    await mix.write(topics.AREA_STATUS)
    await mix.write(topics.USER_RESERVATION)
    await mix.started("ticket")
    (address,) = mix.fleet.addresses()

    for exchange in GOLDEN["http"]:
        if exchange["path"].startswith("/v1/reservation/"):
            reply = await ask(address, "GET", exchange["path"])
            assert (reply.status, reply.body.decode()) == (exchange["status"], exchange["response"])
    shown = {area["areaId"]: area["availableSeats"] for area in (await ask(address, "GET", "/v1/event/golden")).json["areas"]}
    last = {avro.decode("AreaStatus", value)["areaId"]: avro.decode("AreaStatus", value) for value in framed(topics.AREA_STATUS)}
    assert shown == {area_id: status["availableSeats"] for area_id, status in last.items()}

    body = {"userId": "late", "eventId": "golden", "areaId": "A", "numOfSeats": 1, "type": "RANDOM"}
    reservation_id = (await ask(address, "POST", "/v1/event/golden/reservation", body)).body
    ((key, _),) = await mix.written(topics.CREATE_RESERVATION, 1)
    assert key == reservation_id


def framed(topic: topics.Topic) -> list[bytes]:
    """The values of a golden topic, framed as the tests' codec wants them."""
    return [value for _, (_, value) in golden_records(topic.name, SCHEMA_IDS[topic.record]) if value]
