"""Taking over from the original system: topics, changelogs and offsets as it left them, and our roles started on them."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.chaos.fleet import Fleet
from tests.process.client import ask
from tests.process.server import run, wait_until
from tests.support.golden import GOLDEN, golden_records
from tests.support.golden import GOLDEN_PARTITIONS as PARTITIONS
from tests.support.kafka import Cluster
from tests.support.kafka_topics import delete_topics, forget_offsets, remove_records
from tests.support.registry import Registry, registry_of_tests
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.topics import create_topics
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec, partitions_of
from ticketmaster.clock import SystemClock
from ticketmaster.wire import topics
from ticketmaster.wire.registry import frame

STATE_TOPICS: Final = (topics.AREA_STATUS.name, topics.USER_RESERVATION.name)
# What each group had worked off when the original was stopped: everything.
READ: Final = {
    topics.EVENT_SERVICE: (topics.CREATE_EVENT.name, topics.AREA_REPARTITION.name, topics.RESERVE_SEAT.name),
    topics.RESERVATION_SERVICE: (topics.CREATE_RESERVATION.name, topics.RESERVATION_RESULT.name),
}


@pytest.fixture
def registry() -> Iterator[Registry]:
    """It knows the original's schemas, and nobody may register others."""
    with registry_of_tests(first_id=101) as registry:
        registry.put_original()
        registry.may_register = False
        yield registry


@pytest.fixture
def fleet(tmp_path: Path, own_cluster: Cluster, registry: Registry) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, registry.url)
    yield fleet
    fleet.kill_all()


def left_records(ids: dict[str, int], left_out: tuple[str, ...]) -> dict[TopicPartition, list[Pair]]:
    records: dict[TopicPartition, list[Pair]] = defaultdict(list)
    for topic in THEIRS:
        if topic.name not in left_out:
            for source, pair in golden_records(topic.name, ids[topic.record]):
                records[source].append(pair)
    return records


# It knows nothing of holders, nor of dead letters.
THEIRS = topics.ORIGINAL_TOPICS


class Left(NamedTuple):
    """How the original's state topics are: emptied by retention, so that their logs end above 0 with nothing in them; or never written."""

    emptied: tuple[str, ...] = ()
    never_written: tuple[str, ...] = ()


async def leave_as_the_original(servers: str, ids: dict[str, int], left: Left) -> str:
    """Topics, records and offsets of the original, which keeps its six topics by time; returns the id of a command nobody has read."""
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=servers), SystemClock())
    await broker.start()
    try:
        await delete_topics(broker, [topic.name for topic in WANTED])
        compacted = (topics.AREA_CHANGELOG.name, topics.RESERVATION_CHANGELOG.name)
        theirs = [TopicSpec(topic.name, PARTITIONS, topic.name in compacted) for topic in THEIRS]
        await create_topics(broker.admin, theirs)
        await broker.producer().send(left_records(ids, left.never_written))
        for topic in left.emptied:
            await remove_records(broker, await broker.end_offsets(partitions_of(topic, PARTITIONS)))
        for group, read in READ.items():
            ends = await broker.end_offsets([TopicPartition(topic, number) for topic in read for number in range(PARTITIONS)])
            producer = broker.transactional_producer(f"{group}-of-the-original-{uuid.uuid4().hex}")
            await producer.start()
            await producer.commit({}, ends, group)
        # The last command that its gateway took.
        (command,) = [record for record in GOLDEN["records"] if record["topic"] == topics.CREATE_RESERVATION.name][:1]
        unread = str(uuid.uuid4())
        value = frame(ids["CreateReservation"]) + bytes.fromhex(command["avro_hex"])
        partition = partition_of(unread.encode(), PARTITIONS)
        await broker.producer().send({TopicPartition(topics.CREATE_RESERVATION.name, partition): [(unread.encode(), value)]})
    finally:
        await broker.close()
    return unread


@pytest.mark.parametrize(
    "left",
    [Left(), Left(emptied=STATE_TOPICS), Left(never_written=STATE_TOPICS)],
    ids=["all is there", "emptied by retention", "never written"],
)
async def test_what_the_original_left_is_answered_and_sold_on(fleet: Fleet, own_cluster: Cluster, registry: Registry, left: Left) -> None:
    ids = registry.put_original()
    unread = await leave_as_the_original(own_cluster.bootstrap_servers, ids, left)
    config = ("-c", str(fleet.config))

    # As docs/kafka.md has it. Tests before this one may have killed members of the groups.
    await asyncio.to_thread(wait_until, lambda: run("topics", "groups", *config, cwd=fleet.folder).returncode == 0, "the groups are empty")
    for command in (("topics", "create"), ("schemas", "register"), ("topics", "refill"), ("topics", "check")):
        done = await asyncio.to_thread(run, *command, *config, cwd=fleet.folder)
        assert done.returncode == 0, done.stdout + done.stderr
    await asyncio.to_thread(fleet.start_all)
    (address,) = fleet.addresses()

    # Every reservation is answered as the original answered it, to the byte.
    answers = [exchange for exchange in GOLDEN["http"] if exchange["path"].startswith("/v1/reservation/")]
    assert len(answers) == 15
    for exchange in answers:
        reply = await ask(address, "GET", exchange["path"])
        assert (reply.status, reply.body.decode()) == (exchange["status"], exchange["response"])
    # What was on its way is decided.
    decision = await ask(address, "GET", f"/v1/reservation/{unread}")
    assert decision.status == 200
    assert decision.json["state"] in {"RESERVED", "FAILED"}
    # The rest of the seats is for sale, and only the rest.
    free = {area["areaId"]: area["availableSeats"] for area in (await ask(address, "GET", "/v1/event/golden")).json["areas"]}
    body = {"userId": "late", "eventId": "golden", "areaId": "A", "numOfSeats": 1, "type": "RANDOM"}
    states = []
    for _ in range(free["A"] + 1):
        reservation_id = (await ask(address, "POST", "/v1/event/golden/reservation", body)).body.decode()
        states.append((await ask(address, "GET", f"/v1/reservation/{reservation_id}")).json["state"])
    assert states == ["RESERVED"] * free["A"] + ["FAILED"]
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)

    # The sale rests for so long that Kafka forgets what the event role had read: all its commands come again, and take nothing.
    await forget(own_cluster.bootstrap_servers, topics.EVENT_SERVICE)
    await asyncio.to_thread(fleet.start_all)
    (address,) = fleet.addresses()
    await asyncio.to_thread(wait_until, lambda: bool(fleet.logged("offsets_missing")), "the role says so")
    sold = (await ask(address, "POST", "/v1/event/golden/reservation", body)).body.decode()
    assert (await ask(address, "GET", f"/v1/reservation/{sold}")).json["state"] == "FAILED"
    after = {area["areaId"]: area["availableSeats"] for area in (await ask(address, "GET", "/v1/event/golden")).json["areas"]}
    assert after == free | {"A": 0}
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)


async def forget(bootstrap_servers: str, group: str) -> None:
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=bootstrap_servers), SystemClock())
    await broker.start()
    try:
        await forget_offsets(broker, group)
    finally:
        await broker.close()
