"""One partition of the simulated cluster: record batches as they came, markers, aborted transactions, and how far readers may go."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from ticketmaster.broker.port import Batch, Pair, TopicPartition
from ticketmaster.simulation.clock import true_ms
from ticketmaster.simulation.kafka import codes

# A leader remembers so many batches of a producer, to tell a batch that comes twice from one that is missing.
_REMEMBERED_BATCHES: Final = 5
_SEQUENCES: Final = 1 << 31
_BASE_OFFSET: Final = struct.Struct(">q")
_CRC_AT, _ATTRIBUTES_AT, _MAX_TIMESTAMP_AT = 17, 21, 35
_LOG_APPEND_TIME: Final = 0x08
_TRANSACTIONAL_CONTROL: Final = 0x30
_MAGIC: Final = 2

OnStable = Callable[[TopicPartition, Batch], None]


class Stored(NamedTuple):
    """A batch of the log. ``producer_id`` is -1 outside transactions."""

    base_offset: int
    next_offset: int
    producer_id: int
    data: bytes
    control: bool = False


class Aborted(NamedTuple):
    """An aborted transaction of a producer: where its first record is, and its marker."""

    producer_id: int
    first_offset: int
    marker_offset: int


class Appended(NamedTuple):
    """What became of a batch that was to be written: a code and, if that is 0, its first offset."""

    code: int
    offset: int = -1


class _Sequence:
    """What a leader knows of a producer: its epoch, and (first sequence, next sequence, first offset) of its last batches."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: deque[tuple[int, int, int]] = deque(maxlen=_REMEMBERED_BATCHES)


class PartitionLog:
    """A partition. ``on_stable`` is given each batch once all readers may see what became of it: without records, if they see none."""

    def __init__(self, source: TopicPartition, on_stable: OnStable, *, timed_by_log: bool) -> None:
        """``timed_by_log``: records have the time at which they come, not the one that their producer gives them."""
        self.source = source
        self._timed_by_log = timed_by_log
        self.end = 0
        # Before it everything is decided.
        self.stable_end = 0
        # Woken when the stable end moves.
        self.waiting: list[Callable[[], None]] = []
        self._on_stable = on_stable
        self._batches: list[Stored] = []
        self._bases: list[int] = []
        self._told = 0
        self._open: dict[int, int] = {}
        self._aborted: list[Aborted] = []
        # Producers whose transactions are committed, and whose markers are under way.
        self._committing: set[int] = set()
        self._sequences: dict[int, _Sequence] = {}

    def append(self, data: bytes) -> Appended:
        """Writes a batch of a producer, once however often it comes."""
        batch = DefaultRecordBatch(data)
        producer_id, epoch, first = batch.producer_id, batch.producer_epoch, batch.base_sequence
        count: int = batch.next_offset - batch.base_offset
        if producer_id >= 0:
            known = self._sequences.get(producer_id)
            if known is not None and epoch < known.epoch:
                return Appended(codes.INVALID_PRODUCER_EPOCH)
            if known is None or epoch > known.epoch:
                if first != 0 and known is not None:
                    return Appended(codes.OUT_OF_ORDER_SEQUENCE_NUMBER)
                known = self._sequences[producer_id] = _Sequence(epoch)
            for earlier, following, offset in known.batches:
                if (first, (first + count) % _SEQUENCES) == (earlier, following):
                    return Appended(codes.NONE, offset)
            if known.batches and first != known.batches[-1][1]:
                return Appended(codes.OUT_OF_ORDER_SEQUENCE_NUMBER)
            known.batches.append((first, (first + count) % _SEQUENCES, self.end))
        offset = self.end
        transactional = bool(batch.is_transactional)
        if transactional:
            self._open.setdefault(producer_id, offset)
        self._store(Stored(offset, offset + count, producer_id if transactional else -1, data))
        return Appended(codes.NONE, offset)

    def append_pairs(self, pairs: Sequence[Pair]) -> None:
        """Writes records of a program that is not simulated."""
        builder = DefaultRecordBatchBuilder(_MAGIC, 0, 0, -1, -1, -1, 1 << 20)
        for at, (key, value) in enumerate(pairs):
            builder.append(at, true_ms(), key=key, value=value, headers=[])
        self.append(bytes(builder.build()))

    def end_transaction(self, producer_id: int, epoch: int, *, commits: bool) -> None:
        """Writes the marker that ends what a producer has open here; from then on nothing of an earlier epoch is taken."""
        known = self._sequences.get(producer_id)
        if known is None or known.epoch < epoch:
            self._sequences[producer_id] = _Sequence(epoch)
        first = self._open.pop(producer_id, None)
        self._committing.discard(producer_id)
        if first is not None and not commits:
            self._aborted.append(Aborted(producer_id, first, self.end))
        self._store(Stored(self.end, self.end + 1, producer_id, _marker(producer_id, epoch, commits=commits), control=True))

    def will_commit(self, producer_id: int) -> None:
        """It is decided that a producer's transaction is committed. The marker follows."""
        self._committing.add(producer_id)

    def decided(self) -> list[Pair]:
        """Every record that is committed, whether or not that is marked yet."""
        undecided = [one for one in self._open.items() if one[0] not in self._committing]
        return [
            pair
            for stored in self._batches
            if not any(stored.producer_id == producer_id and stored.base_offset >= first for producer_id, first in undecided)
            for pair in self._decided(stored).records
        ]

    def _store(self, stored: Stored) -> None:
        at = stored.base_offset
        self._batches.append(stored._replace(data=_stamped(stored.data, at, timed_by_log=self._timed_by_log)))
        self._bases.append(at)
        self.end = stored.next_offset
        stable_end = min(self._open.values(), default=self.end)
        if stable_end > self.stable_end:
            self.stable_end = stable_end
            self._tell()
            waiting, self.waiting = self.waiting, []
            for wake in waiting:
                wake()

    def _tell(self) -> None:
        batches = self._batches
        while self._told < len(batches) and batches[self._told].next_offset <= self.stable_end:
            stored = batches[self._told]
            self._told += 1
            self._on_stable(self.source, self._decided(stored))

    def _decided(self, stored: Stored) -> Batch:
        records: list[Pair] = []
        if not stored.control and not self._is_aborted(stored):
            records = [(record.key or b"", record.value) for record in DefaultRecordBatch(stored.data)]
        (written_ms,) = struct.unpack_from(">q", stored.data, _MAX_TIMESTAMP_AT)
        return Batch(self.source, records, range(stored.base_offset, stored.next_offset), stored.next_offset, written_ms)

    def _is_aborted(self, stored: Stored) -> bool:
        return any(
            one.producer_id == stored.producer_id and one.first_offset <= stored.base_offset < one.marker_offset
            for one in reversed(self._aborted)
        )

    def read(self, offset: int, end: int, bytes_max: int) -> tuple[bytes, list[Aborted]]:
        """Batches from the one that holds ``offset`` on, before ``end``, at least one; and what was aborted among them."""
        if offset >= end:
            return b"", []
        found: list[bytes] = []
        size, last = 0, offset
        for stored in self._from(offset):
            if stored.next_offset > end or (found and size + len(stored.data) > bytes_max):
                break
            found.append(stored.data)
            size += len(stored.data)
            last = stored.next_offset
        aborted = [one for one in self._aborted if one.marker_offset >= offset and one.first_offset < last]
        return b"".join(found), aborted

    def _from(self, offset: int) -> Iterator[Stored]:
        at = max(bisect_right(self._bases, offset) - 1, 0)
        while at < len(self._batches):
            yield self._batches[at]
            at += 1


def producer_of(data: bytes) -> tuple[int, int]:
    """Who has written a batch: its producer's id and epoch."""
    batch = DefaultRecordBatch(data)
    return batch.producer_id, batch.producer_epoch


def keys_of(data: bytes) -> list[bytes]:
    """The keys of a batch."""
    return [record.key or b"" for record in DefaultRecordBatch(data)]


def _stamped(data: bytes, offset: int, *, timed_by_log: bool) -> bytes:
    """A batch as it is in the log: at its offset, and perhaps with the time at which it came (``message.timestamp.type=LogAppendTime``)."""
    stamped = bytearray(data)
    _BASE_OFFSET.pack_into(stamped, 0, offset)
    if timed_by_log:
        (attributes,) = struct.unpack_from(">h", data, _ATTRIBUTES_AT)
        struct.pack_into(">h", stamped, _ATTRIBUTES_AT, attributes | _LOG_APPEND_TIME)
        struct.pack_into(">q", stamped, _MAX_TIMESTAMP_AT, true_ms())
        struct.pack_into(">I", stamped, _CRC_AT, calc_crc32c(bytes(stamped[_ATTRIBUTES_AT:])))
    return bytes(stamped)


@lru_cache(maxsize=4_096)
def _marker(producer_id: int, epoch: int, *, commits: bool) -> bytes:
    """A control batch. Its checksum is of what follows it, which the offset does not."""
    builder = DefaultRecordBatchBuilder(_MAGIC, 0, 1, producer_id, epoch, -1, 1 << 10)
    builder.append(0, 0, key=struct.pack(">hh", 0, commits), value=struct.pack(">hi", 0, 0), headers=[])
    data = bytearray(builder.build())
    struct.pack_into(">h", data, _ATTRIBUTES_AT, _TRANSACTIONAL_CONTROL)
    struct.pack_into(">I", data, _CRC_AT, calc_crc32c(bytes(data[_ATTRIBUTES_AT:])))
    return bytes(data)
