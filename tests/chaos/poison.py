"""Records that nobody can read, in every topic that the roles read."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from tests.support.consuming import read_records
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import TopicPartition, partitions_of
from ticketmaster.clock import SystemClock
from ticketmaster.streams.dead_letters import dead_letter_topic
from ticketmaster.wire.registry import frame
from ticketmaster.wire.topics import AREA_REPARTITION, AREA_STATUS, CREATE_EVENT, CREATE_RESERVATION, RESERVATION_RESULT, RESERVE_SEAT

# Where every area has rules the first one has no records; they would be like those of the second.
_LIKE = {AREA_REPARTITION.name: AREA_STATUS.name}
# What can't be read of these goes to a dead-letter topic.
WORKED_OFF = (CREATE_EVENT, CREATE_RESERVATION, RESERVE_SEAT, RESERVATION_RESULT, AREA_REPARTITION)
# No registry has this one.
_UNKNOWN_ID = 2_000_000_000
KEY_PREFIX = "poison-"


class Placed(NamedTuple):
    """Where a record stands that nobody can read."""

    topic: str
    partition: int
    offset: int


async def poison(servers: str, partitions: int, choice: random.Random) -> tuple[list[Placed], list[Placed]]:
    """Poisons one partition of each topic; returns what belongs in dead-letter topics, and what the followers of a table log.

    Of ``state.event.area_status`` the key is deleted again, so that it does not stay part of the table; ``state.user.reservation`` gets a
    deletion only. Of both the audit rightly says that no role of ours wrote them: by their keys they are known.
    """
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    letters, logged = list[Placed](), list[Placed]()
    try:
        key = f"{KEY_PREFIX}{choice.randrange(1 << 32)}".encode()

        async def send(topic: str, partition: int, value: bytes | None) -> Placed:
            return Placed(topic, partition, (await producer.send_and_wait(topic, value, key, partition)).offset)

        for topic in WORKED_OFF:
            partition = choice.randrange(partitions)
            for value in await _unreadable(servers, topic.name, partitions, choice):
                letters.append(await send(topic.name, partition, value))
            await send(topic.name, partition, None)
        partition = choice.randrange(partitions)
        for value in await _unreadable(servers, AREA_STATUS.name, partitions, choice):
            logged.append(await send(AREA_STATUS.name, partition, value))
        await send(AREA_STATUS.name, partition, None)
        await send("state.user.reservation", choice.randrange(partitions), None)
    finally:
        await producer.stop()
    return letters, logged


async def _unreadable(servers: str, topic: str, partitions: int, choice: random.Random) -> list[bytes]:
    """No header at all, a schema id that nobody knows, and one of the topic's own records cut off in the middle."""
    whole = await _some_record(servers, _LIKE.get(topic, topic), partitions)
    return [choice.randbytes(choice.randrange(1, 40)) or b"?", frame(_UNKNOWN_ID) + whole[5:], whole[: choice.randrange(6, len(whole) - 1)]]


async def _some_record(servers: str, topic: str, partitions: int) -> bytes:
    """The first value of a topic that is longer than a header."""
    async with _broker(servers) as broker:
        for source in partitions_of(topic, partitions):
            for _, value in await read_records(broker, source):
                if value and len(value) > 8:
                    return value
    raise AssertionError(f"{topic} has no record yet")


async def dead_letters(servers: str, placed: list[Placed]) -> set[Placed]:
    """Those of them that are in the dead-letter topics by now."""
    found = set[Placed]()
    async with _broker(servers) as broker:
        for source in {TopicPartition(dead_letter_topic(topic), partition) for topic, partition, _ in placed}:
            letters = [json.loads(value) for _, value in await read_records(broker, source) if value]
            found.update(Placed(letter["topic"], letter["partition"], letter["offset"]) for letter in letters)
    return found & set(placed)


@asynccontextmanager
async def _broker(servers: str) -> AsyncIterator[KafkaBroker]:
    # Not aiokafka's own consumer: what it yields depends on whether this process has ever used our adapter.
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=servers), SystemClock())
    await broker.start()
    try:
        yield broker
    finally:
        await broker.close()
