"""What the embedded broker keeps its log in: a port of its own, and the adapter that forgets.

A :class:`Write` is applied whole or not at all, and is durable when :meth:`Storage.write` returns.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import IO, NamedTuple, Protocol

from ticketmaster.broker.port import NO_PLACED_HEADERS, Batch, Pair, TopicPartition, TopicSpec


class Replacement(NamedTuple):
    """Every batch that starts in [start, end) of a partition gives way to ``batches``; none means they are deleted."""

    source: TopicPartition
    start: int
    end: int
    batches: Sequence[Batch] = ()


class Cleaned(NamedTuple):
    """How far compaction has come: before ``offset`` each key is held once, in ``size_bytes`` of keys and values."""

    offset: int
    size_bytes: int


class Write(NamedTuple):
    """Changes that become durable together, in this order. ``sizes`` are bytes of keys and values, of each of ``batches``."""

    topics: list[TopicSpec]
    batches: list[Batch]
    sizes: list[int]
    replacements: list[Replacement]
    offsets: dict[tuple[str, TopicPartition], int]
    cleaned: dict[TopicPartition, Cleaned]
    subscriptions: list[tuple[str, TopicPartition]]

    @classmethod
    def empty(cls) -> Write:
        """A write to be filled."""
        return cls([], [], [], [], {}, {}, [])


class Extent(NamedTuple):
    """What a partition's log holds: the first offset, the one behind the last, bytes of keys and values.

    A compacted log starts at 0, whatever compaction has dropped: nothing that counts is missing before its first record.
    """

    start: int
    end: int
    size_bytes: int


class Contents(NamedTuple):
    """What a storage holds when it is opened. ``subscriptions``: groups that read a partition, whether or not they ever committed."""

    topics: list[TopicSpec]
    extents: dict[TopicPartition, Extent]
    offsets: dict[tuple[str, TopicPartition], int]
    cleaned: dict[TopicPartition, Cleaned]
    subscriptions: list[tuple[str, TopicPartition]]


class Span(NamedTuple):
    """A stored batch without its records; ``size_bytes`` of keys and values."""

    base_offset: int
    next_offset: int
    size_bytes: int


class KeyRange(NamedTuple):
    """A stored batch without its values."""

    base_offset: int
    next_offset: int
    offsets: Sequence[int]
    keys: Sequence[bytes]


class Storage(Protocol):
    """Where the log is kept. A failed write leaves the storage as it was and raises Fatal; so does any later one.

    What it costs to load does not depend on how much is stored. No read holds anything open once it has returned.
    """

    def load(self) -> Contents:
        """What is there. UsageError: it is not ours to read."""

    async def write(self, write: Write) -> None:
        """Applies a write; durable on return."""

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        """Batches of a partition from the one that holds ``offset`` on, at least one if there is any, up to about ``bytes_max``."""

    def spans(self, source: TopicPartition, start: int, end: int, count_max: int) -> list[Span]:
        """The first batches that start in [start, end), in order, without reading what they hold."""

    def keys(self, source: TopicPartition, start: int, end: int, records_max: int) -> list[KeyRange]:
        """The keys of the first batches that start in [start, end), in order: at least one if there is any, to about ``records_max``."""

    def spans_with_keys(
        self, source: TopicPartition, start: int, end: int, low: bytes, high: bytes, count_max: int
    ) -> tuple[list[Span], int]:
        """(those of the first ``count_max`` batches in [start, end) that may hold a key in [low, high], where to look on)."""

    def scratch(self) -> IO[bytes]:
        """A file for what does not fit into memory; it is gone when it is closed, or the process ends."""

    def close(self) -> None:
        """Releases what is held."""


def batch_bytes(batch: Batch) -> int:
    """Bytes of keys and values."""
    return sum([len(key) + len(value or b"") for key, value in batch.records])


def trimmed(batch: Batch, offset: int) -> Batch:
    """A batch without its records before ``offset``."""
    if not batch.offsets or batch.offsets[0] >= offset:
        return batch
    first = bisect_left(batch.offsets, offset)
    return batch.split(first)[1] if first < len(batch.offsets) else batch._replace(records=(), offsets=(), headers=NO_PLACED_HEADERS)


class MemoryStorage:
    """Keeps everything in lists: for tests and simulation."""

    def __init__(self) -> None:
        self._topics: list[TopicSpec] = []
        self._logs: dict[TopicPartition, list[Batch]] = defaultdict(list)
        self._offsets: dict[tuple[str, TopicPartition], int] = {}
        self._cleaned: dict[TopicPartition, Cleaned] = {}
        self._subscriptions: dict[tuple[str, TopicPartition], None] = {}

    def load(self) -> Contents:
        compacted = {topic.name for topic in self._topics if topic.compacted}
        extents = {
            source: Extent(0 if source.topic in compacted else log[0].offsets[0], log[-1].next_offset, sum(map(batch_bytes, log)))
            for source, log in self._logs.items()
            if log
        }
        return Contents(list(self._topics), extents, dict(self._offsets), dict(self._cleaned), list(self._subscriptions))

    async def write(self, write: Write) -> None:
        self._topics += write.topics
        for batch in write.batches:
            self._logs[batch.source].append(batch)
        for source, start, end, batches in write.replacements:
            log = self._logs[source]
            log[_index_of(log, start) : _index_of(log, end)] = batches
        self._offsets.update(write.offsets)
        self._cleaned.update(write.cleaned)
        self._subscriptions.update(dict.fromkeys(write.subscriptions))

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        found: list[Batch] = []
        size = 0
        log = self._logs[source]
        for at in range(max(_index_of(log, offset + 1) - 1, 0), len(log)):
            batch = log[at]
            if batch.offsets[-1] >= offset:
                found.append(batch)
                size += batch_bytes(batch)
                if size >= bytes_max:
                    break
        return found

    def spans(self, source: TopicPartition, start: int, end: int, count_max: int) -> list[Span]:
        return [Span(batch.offsets[0], batch.next_offset, batch_bytes(batch)) for batch in self._between(source, start, end, count_max)]

    def keys(self, source: TopicPartition, start: int, end: int, records_max: int) -> list[KeyRange]:
        found: list[KeyRange] = []
        records = 0
        # A batch has a record at least.
        for batch in self._between(source, start, end, records_max):
            found.append(KeyRange(batch.offsets[0], batch.next_offset, batch.offsets, [key for key, _ in batch.records]))
            records += len(batch.records)
            if records >= records_max:
                break
        return found

    def spans_with_keys(
        self, source: TopicPartition, start: int, end: int, low: bytes, high: bytes, count_max: int
    ) -> tuple[list[Span], int]:
        looked_at = self._between(source, start, end, count_max)
        found = [batch for batch in looked_at if any(low <= key <= high for key, _ in batch.records)]
        spans = [Span(batch.offsets[0], batch.next_offset, batch_bytes(batch)) for batch in found]
        return spans, looked_at[-1].next_offset if looked_at else end

    def _between(self, source: TopicPartition, start: int, end: int, count_max: int) -> list[Batch]:
        log = self._logs[source]
        first = _index_of(log, start)
        return log[first : min(_index_of(log, end), first + count_max)]

    def scratch(self) -> IO[bytes]:
        return io.BytesIO()

    def close(self) -> None:
        """Nothing is held."""


def _index_of(log: list[Batch], offset: int) -> int:
    """Where in a log the first batch is that starts at or behind an offset."""
    return bisect_left(log, offset, key=lambda batch: batch.offsets[0])


def pairs(keys: Sequence[bytes], values: Sequence[bytes | None]) -> list[Pair]:
    """Records from their columns."""
    return list(zip(keys, values, strict=True))
