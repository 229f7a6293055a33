"""Records that nobody can read, in every topic that the roles read."""

from __future__ import annotations

import json
import random
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ticketmaster.streams.dead_letters import dead_letter_topic
from ticketmaster.wire.registry import frame
from ticketmaster.wire.topics import AREA_REPARTITION, AREA_STATUS, CREATE_EVENT, CREATE_RESERVATION, RESERVATION_RESULT, RESERVE_SEAT

# What can't be read of these goes to a dead-letter topic.
WORKED_OFF = (CREATE_EVENT, CREATE_RESERVATION, RESERVE_SEAT, RESERVATION_RESULT, AREA_REPARTITION)
# No registry has this one.
_UNKNOWN_ID = 2_000_000_000
_DEADLINE_MS = 20_000


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
    whole = await _some_record(servers, topic, partitions)
    return [choice.randbytes(choice.randrange(1, 40)) or b"?", frame(_UNKNOWN_ID) + whole[5:], whole[: choice.randrange(6, len(whole) - 1)]]


async def _some_record(servers: str, topic: str, partitions: int) -> bytes:
    """The newest value of a topic that is longer than a header."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        sources = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(sources)
        await consumer.seek_to_beginning(*sources)
        found = await consumer.getmany(timeout_ms=_DEADLINE_MS)
        values: list[bytes] = [record.value for records in found.values() for record in records if record.value]
        return next(value for value in values if len(value) > 8)
    finally:
        await consumer.stop()


async def dead_letters(servers: str, placed: list[Placed]) -> set[Placed]:
    """Those of them that are in the dead-letter topics by now."""
    sources = {TopicPartition(dead_letter_topic(topic), partition) for topic, partition, _ in placed}
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    found = set[Placed]()
    try:
        consumer.assign(list(sources))
        await consumer.seek_to_beginning(*sources)
        ends = await consumer.end_offsets(sources)
        while any([await consumer.position(source) < end for source, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                letters = [json.loads(record.value) for record in records]
                found.update(Placed(letter["topic"], letter["partition"], letter["offset"]) for letter in letters)
    finally:
        await consumer.stop()
    return found & set(placed)
