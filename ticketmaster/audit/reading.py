"""Reading a sale's topics into its books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Protocol

from ticketmaster.audit.books import Books
from ticketmaster.audit.report import At, Example, Finding
from ticketmaster.broker.port import Batch, Consumer, TopicPartition, partitions_of
from ticketmaster.wire import topics

_POLL_MS = 200
# Longer the loop is not held: connections that are not served in time are given up.
_STEP_S = 0.05

_REMOVED_UNREAD = "retention removed records before their role had read them"
_EXAMPLES_MAX = 10

# Is told: what is done, records read for it so far, how far the logs go that are read, how far they are read.
Progress = Callable[[str, int, int, int], None]

# Who works off the records of a topic.
_READERS = {
    topics.CREATE_EVENT.name: topics.EVENT_SERVICE,
    topics.AREA_REPARTITION.name: topics.EVENT_SERVICE,
    topics.RULED_AREA_REPARTITION.name: topics.EVENT_SERVICE,
    topics.RESERVE_SEAT.name: topics.EVENT_SERVICE,
    topics.RELEASE_SEATS.name: topics.EVENT_SERVICE,
    topics.CHANGE_EVENT.name: topics.EVENT_SERVICE,
    topics.CREATE_RESERVATION.name: topics.RESERVATION_SERVICE,
    topics.RESERVATION_RESULT.name: topics.RESERVATION_SERVICE,
    topics.CHANGE_RESERVATION.name: topics.RESERVATION_SERVICE,
    topics.CANCEL_EVENT.name: topics.RESERVATION_SERVICE,
}


class Log(Protocol):
    """What an audit needs of a broker, or of the file of one."""

    def reader(self, sources: Mapping[TopicPartition, int]) -> Consumer:
        """A consumer outside any group, of given partitions from given offsets on."""

    async def start_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset of the first record that is kept, for each partition."""

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset behind the last record, for each partition."""

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offsets that a group will read; without those where it never committed."""


async def read_books(log: Log, partitions: int, settle_ms: int, on_progress: Progress) -> Books:
    """The books as of now; what is under way is given up to ``settle_ms`` to come to its end."""
    books = Books()
    sources = [source for topic in topics.ALL_TOPICS for source in partitions_of(topic.name, partitions)]
    starts = await log.start_offsets(sources)
    for source, offset in starts.items():
        books.starts_at(source, offset)
    positions, ends = dict(starts), await log.end_offsets(sources)
    start_sum, records = sum(starts.values()), 0
    loop = asyncio.get_running_loop()
    deadline, since = loop.time() + settle_ms / 1000, loop.time()
    reader = log.reader(positions)
    try:
        while True:
            batches = await reader.poll(_POLL_MS)
            if not batches:
                for source, offset in (await skip_removed(log, positions)).items():
                    books.starts_at(source, offset)
            for batch in batches:
                books.take(batch)
                positions[batch.source] = batch.next_offset
                records += len(batch.records)
                if loop.time() - since >= _STEP_S:
                    await asyncio.sleep(0)
                    since = loop.time()
            on_progress("reading", records, sum(ends.values()) - start_sum, sum(positions.values()) - start_sum)
            if _is_behind(positions, ends):
                continue
            ends = await log.end_offsets(sources)
            if not _is_behind(positions, ends) and (
                not (books.undecided() or books.unopened() or books.releasing() or books.cancelling()) or loop.time() >= deadline
            ):
                return books
    finally:
        await reader.stop()


async def batches_up_to(log: Log, positions: dict[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> AsyncGenerator[list[Batch]]:
    """All batches from positions on, at least up to ends, a poll's at once; moves the positions behind them. Close it (``aclosing``)."""
    reader = log.reader(positions)
    try:
        while _is_behind(positions, ends):
            batches = await reader.poll(_POLL_MS)
            if not batches:
                await skip_removed(log, positions)
            for batch in batches:
                positions[batch.source] = batch.next_offset
            yield batches
    finally:
        await reader.stop()


async def skip_removed(log: Log, positions: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Moves positions past what retention has removed before it was read, lest it is waited for; returns those that it has moved."""
    starts = await log.start_offsets(list(positions))
    moved = {source: start for source, start in starts.items() if start > positions[source]}
    positions.update(moved)
    return moved


def _is_behind(positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> bool:
    return any(positions[source] < end for source, end in ends.items())


async def not_worked_off(log: Log, partitions: int, books: Books) -> set[bytes]:
    """Keys of what is under way only because a role has not come to its next record yet: it will, when it runs."""
    committed: dict[TopicPartition, int] = {}
    for topic, group in _READERS.items():
        committed |= await log.committed(group, partitions_of(topic, partitions))
    unread = {key for key, step in books.next_steps() if step.offset >= committed.get(TopicPartition(step.topic, step.partition), 0)}
    return unread.union(books.being_cancelled())


async def removed_unread(log: Log, partitions: int) -> Finding | None:
    """Records that retention removed before their role had read them, by the committed offsets; None: there are none.

    Of a group that has committed nothing at all it is not known what it has read: Kafka forgets the offsets of groups that rest for long.
    """
    lost, examples = 0, list[Example]()
    for group in dict.fromkeys(_READERS.values()):
        sources = [source for topic, reader in _READERS.items() if reader == group for source in partitions_of(topic, partitions)]
        # In this order: a role that reads meanwhile must not look as if it had read less than there is.
        starts, committed = await log.start_offsets(sources), await log.committed(group, sources)
        for source in sources if committed else ():
            start, read = starts[source], committed.get(source, 0)
            if read < start:
                lost += start - read
                text = f"{group} had read {source.topic}-{source.partition} up to {read}, the log begins at {start}"
                examples.append(Example(text, (At(source.topic, source.partition, start),)))
    return Finding(_REMOVED_UNREAD, lost, examples[:_EXAMPLES_MAX]) if lost else None
