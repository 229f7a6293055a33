"""``ticketmaster topics refill``: what the changelogs have and the state topics have forgotten.

The original system keeps its state topics by time and its changelogs for ever; here the state topics are the tables that the other roles
read. What a role writes to its state topic it writes to its changelog in the same transaction, so a key's last values are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import uvloop

from ticketmaster.bootstrap.kafka import reading_context
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.groups import member_count
from ticketmaster.broker.kafka.topics import describe_topics
from ticketmaster.broker.port import Pair, TopicPartition, ensure_durable
from ticketmaster.config.roles import Loaded
from ticketmaster.domain.reservation import State
from ticketmaster.errors import UsageError
from ticketmaster.wire import topics
from ticketmaster.wire.reservations import read_reservation

_POLL_MS: Final = 200
_SENT_RECORDS_MAX: Final = 1_000


def _any(_value: bytes) -> bool:
    return True


def is_decided(reservation: bytes) -> bool:
    """Whether a ``Reservation`` has its decision."""
    return read_reservation(reservation).state != State.PROCESSING


class _Table(NamedTuple):
    """A state topic, the changelog that has the same values, and which of these belong there."""

    topic: topics.Topic
    changelog: topics.Topic
    group: str
    belongs: Callable[[bytes], bool]


_TABLES: Final = (
    _Table(topics.AREA_STATUS, topics.AREA_CHANGELOG, topics.EVENT_SERVICE, _any),
    # A reservation that is not decided is of its role's own concern.
    _Table(topics.USER_RESERVATION, topics.RESERVATION_CHANGELOG, topics.RESERVATION_SERVICE, is_decided),
)

# Is told: topic, partition, records read so far.
Progress = Callable[[str, int, int], None]


class Refilled(NamedTuple):
    """A state topic: how many keys its changelog has for it, and how many of them were written because they were missing."""

    topic: str
    keys: int
    written: int


def run_refill(loaded: Loaded, on_progress: Progress) -> list[Refilled]:
    """Writes what is missing; what is there stays. UsageError: a role runs, or topics are not as they must be."""
    return uvloop.run(_refill(loaded, on_progress))


async def _refill(loaded: Loaded, on_progress: Progress) -> list[Refilled]:
    async with reading_context(loaded) as (broker, partitions, _):
        await _check(broker)
        return [await _refill_table(broker, table, partitions, on_progress) for table in _TABLES]


async def _check(broker: KafkaBroker) -> None:
    found = await describe_topics(broker.admin, [table.topic.name for table in _TABLES])
    policies = {topic.name: topic.policy for topic in WANTED}
    for name, state in found.items():
        if state.cleanup_policy != policies[name]:
            raise UsageError(f"topic {name} would forget again: run `ticketmaster topics create` first, which sets its cleanup.policy")
    for table in _TABLES:
        count = await member_count(broker.admin, table.group)
        if count:
            raise UsageError(f"the group {table.group} has {count} members, which write to {table.topic.name}: stop them first")


async def _refill_table(broker: KafkaBroker, table: _Table, partitions: int, on_progress: Progress) -> Refilled:
    keys = written = 0
    # Partition by partition: one at a time is held in memory.
    for partition in range(partitions):
        there = await _latest(broker, TopicPartition(table.topic.name, partition), on_progress)
        kept = await _latest(broker, TopicPartition(table.changelog.name, partition), on_progress)
        belonging = {key: value for key, value in kept.items() if table.belongs(value)}
        missing: list[Pair] = [pair for pair in belonging.items() if pair[0] not in there]
        for at in range(0, len(missing), _SENT_RECORDS_MAX):
            records = {TopicPartition(table.topic.name, partition): missing[at : at + _SENT_RECORDS_MAX]}
            ensure_durable(await broker.producer().send(records))
        keys, written = keys + len(belonging), written + len(missing)
    return Refilled(table.topic.name, keys, written)


async def _latest(broker: KafkaBroker, source: TopicPartition, on_progress: Progress) -> Mapping[bytes, bytes]:
    """The last value of each key that has one."""
    values: dict[bytes, bytes] = {}
    end = (await broker.end_offsets([source]))[source]
    position = records = 0
    reader = broker.reader({source: 0})
    try:
        while position < end:
            for batch in await reader.poll(_POLL_MS):
                position = batch.next_offset
                records += len(batch.records)
                for key, value in batch.records:
                    if value is None:
                        values.pop(key, None)
                    else:
                        values[key] = value
            on_progress(source.topic, source.partition, records)
    finally:
        await reader.stop()
    return values
