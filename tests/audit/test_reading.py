"""What retention has removed before it was read is found and counted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from uuid import UUID

import pytest

from ticketmaster.audit.reading import read_books, removed_unread
from ticketmaster.audit.report import At
from ticketmaster.audit.trace import trace
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.storage import MemoryStorage, Replacement
from ticketmaster.broker.port import TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.wire import topics

PARTITIONS = 2
COMMANDS = TopicPartition(topics.CREATE_RESERVATION.name, 1)
QUESTIONS = TopicPartition(topics.RESERVE_SEAT.name, 0)


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    """Ten records in two of the logs."""
    broker = EmbeddedBroker(MemoryStorage(), SystemClock())
    await broker.start()
    await broker.create_topics([TopicSpec(topic.name, PARTITIONS, topic.compacted) for topic in topics.ALL_TOPICS])
    for source in (COMMANDS, QUESTIONS):
        for number in range(10):
            await broker.producer().send({source: [(b"%d" % number, b"v")]})
    yield broker
    await broker.close()


async def remove_before(broker: EmbeddedBroker, source: TopicPartition, offset: int) -> None:
    await broker.replace(Replacement(source, 0, offset))
    next(log for log in broker.logs if log.source == source).start = offset


async def test_what_was_read_before_it_was_removed_is_nobodys_loss(broker: EmbeddedBroker) -> None:
    await broker.commit({}, {COMMANDS: 7}, topics.RESERVATION_SERVICE)
    await broker.commit({}, {QUESTIONS: 10}, topics.EVENT_SERVICE)
    await remove_before(broker, COMMANDS, 7)
    await remove_before(broker, QUESTIONS, 10)

    assert await removed_unread(broker, PARTITIONS) is None


async def test_what_was_removed_unread_is_counted_by_its_log(broker: EmbeddedBroker) -> None:
    await broker.commit({}, {COMMANDS: 3}, topics.RESERVATION_SERVICE)
    await broker.commit({}, {QUESTIONS._replace(partition=1): 0}, topics.EVENT_SERVICE)
    await remove_before(broker, COMMANDS, 7)
    # Of this partition nothing was ever read, though of another one.
    await remove_before(broker, QUESTIONS, 10)

    finding = await removed_unread(broker, PARTITIONS)

    assert finding is not None
    assert finding.times == 4 + 10
    assert {example.records for example in finding.examples} == {(At(*COMMANDS, 7),), (At(*QUESTIONS, 10),)}
    assert "reservation-service had read command.reservation.create_reservation-1 up to 3, the log begins at 7" in {
        example.text for example in finding.examples
    }


async def test_of_a_group_without_any_offset_nothing_is_known(broker: EmbeddedBroker) -> None:
    await remove_before(broker, COMMANDS, 7)

    assert await removed_unread(broker, PARTITIONS) is None


class Shrinking(EmbeddedBroker):
    """Retention removes all there is in the moment after the ends of the logs were told."""

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        ends = await super().end_offsets(sources)
        for log in self.logs:
            if log.source in ends and log.start < log.durable_end:
                await self.replace(Replacement(log.source, log.start, log.durable_end))
                log.start, log.tail = log.durable_end, deque()
        return ends


async def test_what_retention_removes_meanwhile_is_not_waited_for() -> None:
    broker = Shrinking(MemoryStorage(), SystemClock())
    await broker.start()
    try:
        await broker.create_topics([TopicSpec(topic.name, PARTITIONS, topic.compacted) for topic in topics.ALL_TOPICS])
        for partition in range(PARTITIONS):
            await broker.producer().send({COMMANDS._replace(partition=partition): [(b"k", b"v")]})

        async with asyncio.timeout(10):
            books = await read_books(broker, PARTITIONS, 0, lambda *_: None)
            for partition in range(PARTITIONS):
                await broker.producer().send({COMMANDS._replace(partition=partition): [(b"k", b"v")]})
            found = await trace(broker, PARTITIONS, str(UUID(int=0)), lambda _: None)
    finally:
        await broker.close()

    assert (books.close().totals.commands, found.steps) == (0, [])
