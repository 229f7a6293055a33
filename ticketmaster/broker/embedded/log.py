"""One partition's log as the broker sees it: offsets, what is durable, what is not yet, and the newest batches in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from ticketmaster.broker.embedded.storage import Cleaned, Extent, Storage, batch_bytes, trimmed
from ticketmaster.broker.port import NO_PLACED_HEADERS, Batch, Pair, PlacedHeaders, TopicPartition


class PartitionLog:
    """Records get their offsets when they are appended. Until they are durable, only those get them who read ahead."""

    __slots__ = (
        "ahead",
        "cleaned",
        "compacted",
        "durable_end",
        "end",
        "sifted_to",
        "size_bytes",
        "source",
        "start",
        "tail",
        "unsifted_bytes",
    )

    def __init__(self, source: TopicPartition, extent: Extent, cleaned: Cleaned, *, compacted: bool) -> None:
        self.source = source
        self.compacted = compacted
        self.start = extent.start
        self.end = extent.end
        self.durable_end = extent.end
        self.size_bytes = extent.size_bytes
        # Batches that are not durable yet, and the newest that are, with their bytes.
        self.ahead: deque[tuple[Batch, int]] = deque()
        self.tail: deque[tuple[Batch, int]] = deque()
        # Before here each key is held once. What an earlier run of the process left behind it is looked at together with what comes.
        self.cleaned = cleaned
        # Up to here a record was dropped if its key came again soon, and so many bytes came since.
        self.sifted_to = extent.end
        self.unsifted_bytes = 0

    def sifted(self, offset: int) -> None:
        """What was appended up to ``offset``, the end, is being looked through."""
        self.sifted_to = offset
        self.unsifted_bytes = 0

    def append(self, records: Sequence[Pair], timestamp_ms: int, headers: PlacedHeaders = NO_PLACED_HEADERS) -> tuple[Batch, int]:
        """Gives ``records`` (at least one) the next offsets; returns them and their bytes."""
        base = self.end
        self.end = base + len(records)
        batch = Batch(self.source, records, range(base, self.end), self.end, timestamp_ms, headers)
        size_bytes = batch_bytes(batch)
        self.ahead.append((batch, size_bytes))
        return batch, size_bytes

    def made_durable(self, batch: Batch) -> None:
        """A batch that was appended is durable, and so is all before it."""
        oldest, size_bytes = self.ahead.popleft()
        assert batch is oldest, "batches become durable in the order of their offsets"
        self.durable_end = batch.next_offset
        self.size_bytes += size_bytes
        self.unsifted_bytes += size_bytes
        self.tail.append((batch, size_bytes))

    def read(self, offset: int, bytes_max: int, storage: Storage) -> tuple[list[Batch], int]:
        """(durable batches from ``offset`` on, their bytes): none if there are no more, else at least one, up to about ``bytes_max``."""
        if offset >= self.durable_end:
            return [], 0
        tail = self.tail
        if not tail or offset < tail[0][0].offsets[0]:
            # The storage may hold what is being written and is not durable yet.
            found = [
                batch for batch in storage.read(self.source, max(offset, self.start), bytes_max) if batch.next_offset <= self.durable_end
            ]
            size = sum(map(batch_bytes, found))
        else:
            found, size = _from(tail, offset, bytes_max)
        if found:
            found[0] = trimmed(found[0], offset)
            if not found[0].records:
                del found[0]
        return found, size

    def read_ahead(self, offset: int, bytes_max: int, storage: Storage) -> tuple[list[Batch], int]:
        """As :meth:`read`, and behind what is durable what is not yet."""
        found, size = self.read(offset, bytes_max, storage)
        # Only behind all that is durable: a read may end before that, by the storage's own count of bytes.
        reached = found[-1].next_offset if found else offset
        if self.ahead and size < bytes_max and reached >= self.durable_end:
            more, more_bytes = _from(self.ahead, offset, bytes_max - size)
            if more:
                more[0] = trimmed(more[0], offset)
            return found + more, size + more_bytes
        return found, size


def _from(batches: deque[tuple[Batch, int]], offset: int, bytes_max: int) -> tuple[list[Batch], int]:
    """(the batches from the one that holds ``offset`` on, their bytes), up to about ``bytes_max``."""
    # From the newest back: a reader that keeps up finds its place at once.
    place = len(batches)
    for batch, _ in reversed(batches):
        if batch.next_offset <= offset:
            break
        place -= 1
    found: list[Batch] = []
    size = 0
    for batch, batch_size in islice(batches, place, None):
        if batch.offsets[-1] < offset:
            # Only what compaction removed at its end is behind the offset.
            continue
        found.append(batch)
        size += batch_size
        if size >= bytes_max:
            break
    return found, size
