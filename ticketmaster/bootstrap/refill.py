"""``ticketmaster topics refill``: what the changelogs have and the state topics have forgotten.

The original system keeps its state topics by time and its changelogs for ever; here the state topics are the tables that the other roles
read. What a role writes to its state topic it writes to its changelog in the same transaction, so a key's last values are equal. And the
original does not know who holds a seat: the event role's holders are made from what became of the reservations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from ticketmaster.audit.reading import skip_removed
from ticketmaster.bootstrap.kafka import reading_context
from ticketmaster.bootstrap.remedies import Remedies
from ticketmaster.bootstrap.running import run
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.groups import members_of
from ticketmaster.broker.kafka.topics import describe_topics
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, Producer, TopicPartition, ensure_durable, partitions_of
from ticketmaster.config.roles import Loaded
from ticketmaster.domain.reservation import State
from ticketmaster.errors import UsageError
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import AreaHeader
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.holders import holder_of
from ticketmaster.wire.lives import standing

_POLL_MS: Final = 200
_SENT_RECORDS_MAX: Final = 1_000
_MEMBERS_NAMED_MAX: Final = 5


def _is_status(value: bytes) -> bool:
    AreaHeader(value)
    return True


def is_decided(reservation: bytes) -> bool:
    """Whether a ``Reservation`` has its decision. UNREADABLE where it is none."""
    return standing(reservation).state != State.PROCESSING


class _Table(NamedTuple):
    """A state topic, the changelog that has the same values, and which of these belong there."""

    topic: topics.Topic
    changelog: topics.Topic
    group: str
    belongs: Callable[[bytes], bool]


_TABLES: Final = (
    _Table(topics.AREA_STATUS, topics.AREA_CHANGELOG, topics.EVENT_SERVICE, _is_status),
    # A reservation that is not decided is of its role's own concern.
    _Table(topics.USER_RESERVATION, topics.RESERVATION_CHANGELOG, topics.RESERVATION_SERVICE, is_decided),
)

# Is told: topic, partition, records read so far.
Progress = Callable[[str, int, int], None]


class Refilled(NamedTuple):
    """A state topic: how many keys its changelog has for it, and how many of them were written because they were missing.

    ``unreadable`` ones are in the changelog and are left out.
    """

    topic: str
    keys: int
    written: int
    unreadable: int


def run_refill(loaded: Loaded, on_progress: Progress) -> list[Refilled]:
    """Writes what is missing; what is there stays. UsageError: a role runs, or topics are not as they must be."""
    return run(_refill(loaded, on_progress))


async def _refill(loaded: Loaded, on_progress: Progress) -> list[Refilled]:
    remedies = Remedies.of(loaded.kafka, loaded.config_file)
    async with reading_context(loaded) as (broker, partitions, _):
        await _check(broker, remedies)
        producer = broker.producer()
        refilled = [await _refill_table(broker, producer, table, partitions, on_progress) for table in _TABLES]
        return [*refilled, await _refill_holders(broker, producer, partitions, on_progress)]


async def _check(broker: KafkaBroker, remedies: Remedies) -> None:
    found = await describe_topics(broker.admin, [table.topic.name for table in _TABLES])
    policies = {topic.name: topic.policy for topic in WANTED}
    for name, state in found.items():
        if state.cleanup_policy != policies[name]:
            raise UsageError(f"topic {name} would forget again: run `{remedies.topics('create')}` first, which sets its cleanup.policy")
    for table in _TABLES:
        members = await members_of(broker.admin, table.group)
        if members:
            named = ", ".join(f"{member.client_id} on {member.host}" for member in members[:_MEMBERS_NAMED_MAX])
            more = f" and {len(members) - _MEMBERS_NAMED_MAX} more" if len(members) > _MEMBERS_NAMED_MAX else ""
            text = f"the group {table.group} has {len(members)} members, which write to {table.topic.name}: stop them first"
            raise UsageError(f"{text} ({named}{more}); `{remedies.topics('groups')}` tells when they are gone")


async def _refill_table(broker: KafkaBroker, producer: Producer, table: _Table, partitions: int, on_progress: Progress) -> Refilled:
    keys = written = unreadable = 0
    # Partition by partition: one at a time is held in memory.
    for partition in range(partitions):
        there = (await _latest(broker, TopicPartition(table.topic.name, partition), on_progress)).keys()
        kept = await _latest(broker, TopicPartition(table.changelog.name, partition), on_progress)
        missing: list[Pair] = []
        for key, value in kept.items():
            try:
                belongs = table.belongs(value)
            except UNREADABLE:
                unreadable += 1
                continue
            keys += belongs
            if belongs and key not in there:
                missing.append((key, value))
        await _send(producer, TopicPartition(table.topic.name, partition), missing)
        written += len(missing)
    return Refilled(table.topic.name, keys, written, unreadable)


async def _refill_holders(broker: KafkaBroker, producer: Producer, partitions: int, on_progress: Progress) -> Refilled:
    """Tells the event role who holds the seats that somebody else gave away: another program, or a release that kept no holders."""
    keys = written = unreadable = 0
    known: set[bytes] = set()
    for source in partitions_of(topics.HOLDER_CHANGELOG.name, partitions):
        known.update(await _latest(broker, source, on_progress))
    for source in partitions_of(topics.RESERVATION_CHANGELOG.name, partitions):
        missing: dict[TopicPartition, list[Pair]] = defaultdict(list)
        for key, reservation in (await _latest(broker, source, on_progress)).items():
            try:
                held = holder_of(reservation)
            except UNREADABLE:
                unreadable += 1
                continue
            keys += held is not None
            if held and key not in known:
                area, value = held
                missing[TopicPartition(topics.HOLDER_CHANGELOG.name, partition_of(area, partitions))].append((key, value))
        for at, records in missing.items():
            await _send(producer, at, records)
            written += len(records)
    return Refilled(topics.HOLDER_CHANGELOG.name, keys, written, unreadable)


async def _latest(broker: KafkaBroker, source: TopicPartition, on_progress: Progress) -> Mapping[bytes, bytes]:
    """The last value of each key that has one."""
    values: dict[bytes, bytes] = {}
    # Where retention has removed the start, or all there was, no record would ever lead from 0 to the end.
    positions, end = await broker.start_offsets([source]), (await broker.end_offsets([source]))[source]
    if positions[source] >= end:
        return values
    records = 0
    reader = broker.reader(positions)
    try:
        while positions[source] < end:
            batches = await reader.poll(_POLL_MS)
            if not batches:
                await skip_removed(broker, positions)
            for batch in batches:
                positions[source] = batch.next_offset
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


async def _send(producer: Producer, partition: TopicPartition, records: Sequence[Pair]) -> None:
    for at in range(0, len(records), _SENT_RECORDS_MAX):
        ensure_durable(await producer.send({partition: records[at : at + _SENT_RECORDS_MAX]}))
