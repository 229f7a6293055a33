"""Fetched bytes to the port's batches, without an object per record beyond its key and value.

aiokafka makes a ``ConsumerRecord`` of eleven fields for each record. Its fetcher only iterates over what was fetched;
:class:`BatchRecords` there yields one :class:`~ticketmaster.broker.port.Batch` per batch of the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka.errors import CorruptRecordException

from ticketmaster.broker.kafka.private import FetchedBatch, FetchedRecord, FetchedRecords
from ticketmaster.broker.port import BATCH_SPAN_MS, NO_PLACED_HEADERS, Batch, Headers, Pair, PlacedHeaders, TopicPartition

# What a record has whose writer gave it no key.
_NO_KEY = b""


class BatchRecords(FetchedRecords):
    """The batches of one partition in one fetch response; those of no committed records are empty, but move the position on."""

    # The base class's own: where it goes on.
    next_fetch_offset: int

    def __init__(self, fetched: Any, *, headers: bool) -> None:
        """``headers``: those of the records are read, too."""
        self._reads_headers = headers
        super().__init__(fetched)

    def _unpack_records(self) -> Iterator[Batch]:
        source = TopicPartition(*self.source)
        for batch in self.batches():
            if self.checks_checksums and not batch.validate_crc():
                raise CorruptRecordException(f"a batch of {source.topic}-{source.partition} does not match its checksum")
            found: Sequence[FetchedRecord] = ()
            if not self.is_aborted(batch) and not batch.is_control_batch:
                found = self._wanted(batch)
            follows = self.next_fetch_offset
            # Behind what compaction removed at the end of the batch, too.
            self.next_fetch_offset = batch.next_offset
            records = [(record.key or _NO_KEY, record.value) for record in found]
            headers = _headers(found) if self._reads_headers else NO_PLACED_HEADERS
            yield Batch(source, records, _offsets(found, batch), batch.next_offset, _oldest_ms(found, batch), headers, follows)

    def _wanted(self, batch: FetchedBatch) -> Sequence[FetchedRecord]:
        # Kept, for aiokafka's batch can be read once only.
        found = list(batch)
        if batch.base_offset >= self.next_fetch_offset:
            return found
        return [record for record in found if record.offset >= self.next_fetch_offset]


def _offsets(found: Sequence[FetchedRecord], batch: FetchedBatch) -> Sequence[int]:
    if len(found) == batch.next_offset - batch.base_offset:
        return range(batch.base_offset, batch.next_offset)
    # Compaction has left gaps, or the first ones were not wanted.
    return [record.offset for record in found]


def _oldest_ms(found: Sequence[FetchedRecord], batch: FetchedBatch) -> int:
    """When the oldest record was written. Our own producers give all of a batch one time, as brokers do that set it.

    Others' are looked at one by one, unless the first and the last one have the newest time.
    """
    newest_ms: int = batch.max_timestamp
    if batch.timestamp_type or not found or batch.first_timestamp == newest_ms == found[-1].timestamp:
        return newest_ms
    times_ms: list[int] = [record.timestamp for record in found]
    return min(times_ms)


def _headers(found: Sequence[FetchedRecord]) -> PlacedHeaders:
    """Of the records that have any; those without a value are left out."""
    return {at: [(name, value) for name, value in record.headers if value is not None] for at, record in enumerate(found) if record.headers}


def merged(batches: Sequence[Batch]) -> list[Batch]:
    """Batches of one partition that follow each other, as few: one, unless their records are of different seconds.

    The time of each is its oldest record's, so that what came in time never looks as if it was late, and hardly the other way round: not
    at all where it was to come before a whole second.
    """
    runs: list[list[Batch]] = [[]]
    second: int | None = None
    for batch in batches:
        if batch.records:
            last, second = second, batch.timestamp_ms // BATCH_SPAN_MS
            if last is not None and last != second:
                runs.append([])
        runs[-1].append(batch)
    return [_as_one(run) for run in runs]


def _as_one(batches: Sequence[Batch]) -> Batch:
    last = batches[-1]
    filled = [batch for batch in batches if batch.records]
    if len(filled) == 1:
        return filled[0]._replace(next_offset=last.next_offset, follows=batches[0].follows)
    records: list[Pair] = []
    offsets: list[int] = []
    headers: dict[int, Headers] = {}
    for batch in filled:
        for at, found in batch.headers.items():
            headers[len(records) + at] = found
        records += batch.records
        offsets += batch.offsets
    oldest_ms = min([batch.timestamp_ms for batch in filled], default=last.timestamp_ms)
    return Batch(last.source, records, offsets, last.next_offset, oldest_ms, headers, batches[0].follows)


def with_markers(batches: Sequence[Batch]) -> list[Batch]:
    """Batches of one partition that follow each other; those of no records, as markers are, only move the one before on."""
    found: list[Batch] = []
    for batch in batches:
        if found and not batch.records:
            found[-1] = found[-1]._replace(next_offset=batch.next_offset)
        else:
            found.append(batch)
    return found
