"""One partition's log as the broker sees it: offsets, what is durable, and the newest batches in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ticketmaster.broker.embedded.storage import Cleaned, Extent, Storage, trimmed
from ticketmaster.broker.port import Batch, Pair, TopicPartition

_READ_BYTES_MAX = 1 << 20


class PartitionLog:
    """Records get their offsets when they are appended, and are delivered once they are durable."""

    __slots__ = (*("cleaned", "compacted", "durable_end", "end", "sifted_to", "size_bytes", "source", "start", "tail", "unsifted_bytes"),)

    def __init__(self, source: TopicPartition, extent: Extent, cleaned: Cleaned, *, compacted: bool) -> None:
        self.source = source
        self.compacted = compacted
        self.start = extent.start
        self.end = extent.end
        self.durable_end = extent.end
        self.size_bytes = extent.size_bytes
        self.tail: deque[Batch] = deque()
        # Before here each key is held once. What an earlier run of the process left behind it is looked at together with what comes.
        self.cleaned = cleaned
        # Up to here a record was dropped if its key came again soon, and so many bytes came since.
        self.sifted_to = extent.end
        self.unsifted_bytes = 0

    def sifted(self, offset: int) -> None:
        """What was appended up to ``offset``, the end, is being looked through."""
        self.sifted_to = offset
        self.unsifted_bytes = 0

    def append(self, records: Sequence[Pair], timestamp_ms: int) -> Batch:
        """Gives ``records`` (at least one) the next offsets. They are not delivered before :meth:`made_durable`."""
        base = self.end
        self.end = base + len(records)
        return Batch(self.source, records, range(base, self.end), self.end, timestamp_ms)

    def made_durable(self, batch: Batch, size_bytes: int) -> None:
        """A batch that was appended is durable, and so is all before it."""
        assert batch.offsets[0] == self.durable_end, "batches become durable in the order of their offsets"
        self.durable_end = batch.next_offset
        self.size_bytes += size_bytes
        self.unsifted_bytes += size_bytes
        self.tail.append(batch)

    def read(self, offset: int, storage: Storage) -> list[Batch]:
        """Durable batches from ``offset`` on; none if there are no more."""
        if offset >= self.durable_end:
            return []
        tail = self.tail
        if not tail or offset < tail[0].offsets[0]:
            found = storage.read(self.source, max(offset, self.start), _READ_BYTES_MAX)
            # The storage may hold what is being written and is not durable yet.
            found = [batch for batch in found if batch.next_offset <= self.durable_end]
        else:
            # From the newest back: a reader that keeps up finds its place at once.
            found = []
            for batch in reversed(tail):
                if batch.next_offset <= offset:
                    break
                found.append(batch)
            found.reverse()
        if found:
            found[0] = trimmed(found[0], offset)
            if not found[0].records:
                del found[0]
        return found
