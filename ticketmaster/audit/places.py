"""Where records are, as one number each, and how much of each partition's log there is to read."""

from __future__ import annotations

from ticketmaster.audit.report import At
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Batch, TopicPartition

_OFFSET_BITS = 40
_NONE = -1


def packed(partition: int, offset: int) -> int:
    """Partition and offset as one number of 63 bits."""
    return partition << _OFFSET_BITS | offset


def partition_at(number: int) -> int:
    """The partition of :func:`packed`."""
    return number >> _OFFSET_BITS


def unpacked(topic: str, number: int) -> At | None:
    """The place of :func:`packed`; None for -1."""
    return None if number == _NONE else At(topic, partition_at(number), number & ((1 << _OFFSET_BITS) - 1))


def is_placed(found: set[int], belongs_on: int | None) -> bool:
    """Whether the records of one key are where they belong, at least all in one place."""
    return len(found) < 2 if belongs_on is None else found <= {belongs_on}


class Places:
    """Which part of each log was read: whether its start was removed, and whether anything is missing in between."""

    def __init__(self) -> None:
        # Of each topic, by the logs whose starts are told; 0: nobody tells.
        self._partitions = 0
        self._starts: dict[TopicPartition, int] = {}
        # The offset that comes next where none was missing so far.
        self._next: dict[TopicPartition, int] = {}
        self._with_gaps: set[TopicPartition] = set()

    def starts_at(self, source: TopicPartition, offset: int) -> None:
        """What was before ``offset`` has been removed."""
        self._starts[source] = offset
        self._partitions = max(self._partitions, source.partition + 1)

    def take(self, batch: Batch) -> None:
        """Notes what was read."""
        if not batch.records:
            return
        source, first, last = batch.source, batch.offsets[0], batch.offsets[-1]
        self._starts.setdefault(source, first)
        if first != self._next.get(source, 0) or last - first + 1 != len(batch.records):
            self._with_gaps.add(source)
        self._next[source] = last + 1

    def belongs_on(self, key: bytes) -> int | None:
        """The partition of a key, in every topic; None where nobody has told how many there are."""
        return partition_of(key, self._partitions) if self._partitions else None

    def trimmed(self, source: TopicPartition) -> bool:
        """Whether records at the start of this log may have been removed."""
        return self._starts.get(source, 0) > 0

    def any_trimmed(self, topic: str) -> bool:
        """Whether that is so of any partition of a topic."""
        return any(start > 0 for source, start in self._starts.items() if source.topic == topic)

    def whole(self, source: TopicPartition) -> bool:
        """Whether every record is there, from offset 0 on. On Kafka it can't be told: what ends a transaction takes an offset, too."""
        return source not in self._with_gaps
