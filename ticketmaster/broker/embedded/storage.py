"""What the embedded broker keeps its log in: a port of its own, and the adapter that forgets.

A :class:`Write` is applied whole or not at all, and is durable when :meth:`Storage.write` returns.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from ticketmaster.broker.port import NO_PLACED_HEADERS, Batch, Pair, TopicPartition, TopicSpec


class Replacement(NamedTuple):
    """Every batch that starts in [start, end) of a partition gives way to ``batches``; none means they are deleted."""

    source: TopicPartition
    start: int
    end: int
    batches: Sequence[Batch] = ()


class Write(NamedTuple):
    """Changes that become durable together, in this order."""

    topics: list[TopicSpec]
    batches: list[Batch]
    replacements: list[Replacement]
    offsets: dict[tuple[str, TopicPartition], int]

    @classmethod
    def empty(cls) -> Write:
        """A write to be filled."""
        return cls([], [], [], {})


class Extent(NamedTuple):
    """What a partition's log holds: the first offset, the one behind the last, bytes of keys and values."""

    start: int
    end: int
    size_bytes: int


class Contents(NamedTuple):
    """What a storage holds when it is opened."""

    topics: list[TopicSpec]
    extents: dict[TopicPartition, Extent]
    offsets: dict[tuple[str, TopicPartition], int]


class KeyRange(NamedTuple):
    """A stored batch without its values."""

    base_offset: int
    next_offset: int
    offsets: Sequence[int]
    keys: Sequence[bytes]


class Storage(Protocol):
    """Where the log is kept. A failed write leaves the storage as it was and raises Fatal; so does any later one."""

    def load(self) -> Contents:
        """What is there. UsageError: it is not ours to read."""

    async def write(self, write: Write) -> None:
        """Applies a write; durable on return."""

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        """Batches of a partition from the one that holds ``offset`` on, at least one if there is any, up to about ``bytes_max``."""

    def key_ranges(self, source: TopicPartition, start: int, end: int) -> Iterator[KeyRange]:
        """The keys of the batches that start in [start, end), in order."""

    def ranges_with_keys(self, source: TopicPartition, end: int, low: bytes, high: bytes) -> list[tuple[int, int]]:
        """(base, next) offsets of the batches before ``end`` that may hold a key in [low, high]."""

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

    def load(self) -> Contents:
        extents = {
            source: Extent(log[0].offsets[0], log[-1].next_offset, sum(map(batch_bytes, log))) for source, log in self._logs.items() if log
        }
        return Contents(list(self._topics), extents, dict(self._offsets))

    async def write(self, write: Write) -> None:
        self._topics += write.topics
        for batch in write.batches:
            self._logs[batch.source].append(batch)
        for source, start, end, batches in write.replacements:
            log = self._logs[source]
            before = [batch for batch in log if batch.offsets[0] < start]
            behind = [batch for batch in log if batch.offsets[0] >= end]
            self._logs[source] = [*before, *batches, *behind]
        self._offsets.update(write.offsets)

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        found: list[Batch] = []
        size = 0
        for batch in self._logs[source]:
            if batch.next_offset > offset and batch.offsets[-1] >= offset:
                found.append(batch)
                size += batch_bytes(batch)
                if size >= bytes_max:
                    break
        return found

    def key_ranges(self, source: TopicPartition, start: int, end: int) -> Iterator[KeyRange]:
        for batch in list(self._logs[source]):
            if start <= batch.offsets[0] < end:
                yield KeyRange(batch.offsets[0], batch.next_offset, batch.offsets, [key for key, _ in batch.records])

    def ranges_with_keys(self, source: TopicPartition, end: int, low: bytes, high: bytes) -> list[tuple[int, int]]:
        return [
            (batch.offsets[0], batch.next_offset)
            for batch in self._logs[source]
            if batch.offsets[0] < end and any(low <= key <= high for key, _ in batch.records)
        ]

    def close(self) -> None:
        """Nothing is held."""


def pairs(keys: Sequence[bytes], values: Sequence[bytes | None]) -> list[Pair]:
    """Records from their columns."""
    return list(zip(keys, values, strict=True))
