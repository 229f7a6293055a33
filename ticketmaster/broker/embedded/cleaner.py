"""Keeping the log small: compaction of compacted topics, retention of consumed records of the others.

Both look at what is durable only and go through the broker's own writes, a small step at a time. Between steps they rest, so that
cleaning takes a fixed share of the loop's time at most, whatever there is to clean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import compress, pairwise
from typing import NamedTuple, Protocol

from ticketmaster.broker.embedded.log import PartitionLog
from ticketmaster.broker.embedded.storage import Cleaned, Replacement, Span, Storage, batch_bytes
from ticketmaster.broker.embedded.superseded import KeyBuckets, Offsets
from ticketmaster.broker.port import Batch, Pair, TopicPartition

# A consumed log is cut to so much of its limit at once, so that a write at the limit costs nothing extra.
_CUT_TO = 7 / 8
# After a step of cleaning the loop is left alone for so many times as long as it took.
_REST = 3.0
_REST_MIN_S, _REST_MAX_S = 0.005, 0.25
_BEHIND = 2
_SPANS_MAX = 200
_STEP_KEYS = 5_000
# What need not be read is deleted in steps that are so many times larger: an area's status outdates whole batches before it.
_UNREAD_STEP = 32
# Few records are smaller.
_RECORD_BYTES = 40
# Batches are worth merging if they are so many times smaller than merged ones.
_SMALLER = 16


class Cleanable(Protocol):
    """What the cleaner needs of the broker."""

    def log(self, source: TopicPartition) -> PartitionLog:
        """A partition's log."""

    def consumed_to(self, source: TopicPartition) -> int:
        """Where the slowest group stands; 0 if none reads it."""

    async def replace(self, replacement: Replacement) -> None:
        """Rewrites stored batches."""

    async def mark_cleaned(self, source: TopicPartition, cleaned: Cleaned) -> None:
        """Compaction has come so far."""

    def fail(self, cause: Exception) -> None:
        """The log can't be read through."""


class Retention(NamedTuple):
    """When a partition is cleaned, and what is kept."""

    # Records of commands and results that every group has read are kept up to this size, newest last.
    consumed_bytes_max: int = 256 << 20
    # A piece of a compacted partition is sifted when so much was appended to it. All of it is compacted when so much has been added since
    # the last time, and no less than it held then: so a record is rewritten at most about once for each that comes.
    uncleaned_bytes_max: int = 8 << 20
    # Survivors of compaction are merged into batches of about this size.
    merged_batch_bytes: int = 256 << 10
    # How many keys compaction holds in memory.
    piece_keys_max: int = 100_000
    # How much is read, rewritten or deleted in one step.
    step_bytes: int = 512 << 10


class Cleaner:
    """Cleans partitions in the background, each by a job of its own: small ones need not wait for large ones."""

    def __init__(self, broker: Cleanable, storage: Storage, retention: Retention) -> None:
        self._broker = broker
        self._storage = storage
        self._retention = retention
        self._jobs: dict[TopicPartition, asyncio.Task[None]] = {}
        self._rest_s = 0.0

    def wake(self, sources: Iterable[TopicPartition]) -> None:
        """Something of these was written or consumed: clean those for which it is time, unless that is under way."""
        for source in sources:
            log = self._broker.log(source)
            if source not in self._jobs and (self._is_uncleaned(log) or self._is_too_large(log)):
                self._jobs[source] = asyncio.create_task(self._clean(log), name=f"broker-clean-{source.topic}-{source.partition}")

    async def stop(self) -> None:
        """Leaves what is under way; the next run of the process takes it up again."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _clean(self, log: PartitionLog) -> None:
        try:
            if not log.compacted:
                await self.expire(log)
            elif self._is_all_uncleaned(log):
                await self.compact(log)
            else:
                await self._sift(log)
        except Exception as cause:  # noqa: BLE001 - a log that can't be read through is damaged, whatever the reason
            self._broker.fail(cause)
        finally:
            del self._jobs[log.source]

    async def _rest(self, log: PartitionLog, began: float) -> None:
        """Leaves the loop to others for longer than was worked since ``began``; of steps too short for a timer, for several at once."""
        if not self._is_behind(log):
            self._rest_s += min((asyncio.get_running_loop().time() - began) * _REST, _REST_MAX_S)
        rest_s, self._rest_s = (self._rest_s, 0.0) if self._rest_s > _REST_MIN_S else (0.0, self._rest_s)
        await asyncio.sleep(rest_s)

    def _is_behind(self, log: PartitionLog) -> bool:
        """Whether a log grows faster than it is cleaned: then there is no rest."""
        if log.compacted:
            return log.unsifted_bytes > _BEHIND * self._retention.uncleaned_bytes_max
        return log.size_bytes > _BEHIND * self._retention.consumed_bytes_max

    # Retention.

    def _deletable_to(self, log: PartitionLog) -> int:
        # The last batch stays: it is what says where the log ends.
        return min(self._broker.consumed_to(log.source), log.durable_end - 1)

    def _is_too_large(self, log: PartitionLog) -> bool:
        limit = self._retention.consumed_bytes_max
        if log.compacted or log.size_bytes <= limit:
            return False
        # Where a group lags behind, it is not worth while to delete what it reads batch by batch. Records are taken to be of one size.
        deletable = log.size_bytes * (self._deletable_to(log) - log.start) / (log.durable_end - log.start)
        return deletable > limit - limit * _CUT_TO

    async def expire(self, log: PartitionLog) -> None:
        """Deletes the oldest batches that every group has read, until the partition is smaller than it may be, by an eighth."""
        kept_bytes, step_bytes = int(self._retention.consumed_bytes_max * _CUT_TO), self._retention.step_bytes
        loop, spans = asyncio.get_running_loop(), deque[Span]()
        while log.size_bytes > kept_bytes:
            began, limit = loop.time(), self._deletable_to(log)
            spans = spans or deque(self._storage.spans(log.source, log.start, limit, _SPANS_MAX))
            deleted, size_bytes = log.start, 0
            while spans and spans[0].next_offset <= limit and size_bytes < min(log.size_bytes - kept_bytes, step_bytes):
                span = spans.popleft()
                deleted, size_bytes = span.next_offset, size_bytes + span.size_bytes
            if deleted == log.start:
                return
            await self._rest(log, began)
            await self._broker.replace(Replacement(log.source, log.start, deleted))
            log.start, log.size_bytes = deleted, log.size_bytes - size_bytes

    # Compaction.

    def _is_uncleaned(self, log: PartitionLog) -> bool:
        return log.compacted and (log.unsifted_bytes > self._retention.uncleaned_bytes_max or self._is_all_uncleaned(log))

    def _is_all_uncleaned(self, log: PartitionLog) -> bool:
        added_bytes = log.size_bytes - log.cleaned.size_bytes - log.unsifted_bytes
        return added_bytes > max(self._retention.uncleaned_bytes_max, log.cleaned.size_bytes)

    async def compact(self, log: PartitionLog) -> None:
        """Drops every record whose key has a later one, among all that is durable now."""
        end = log.durable_end
        if log.cleaned.offset < end:
            log.sifted(end)
            await self._drop_superseded(log, log.cleaned.offset, end, with_older=True)
            await self._broker.mark_cleaned(log.source, Cleaned(end, log.size_bytes - log.unsifted_bytes))

    async def _sift(self, log: PartitionLog) -> None:
        """Drops every record whose key has a later one among what was appended since the last time."""
        end = log.durable_end
        start = log.sifted_to
        log.sifted(end)
        await self._drop_superseded(log, start, end, with_older=False)

    async def _drop_superseded(self, log: PartitionLog, start: int, end: int, *, with_older: bool) -> None:
        """``with_older``: what the records in [start, end) supersede before ``start`` is dropped as well."""
        # Compaction leaves gaps between offsets, so how many older records there are is guessed by their size as well.
        older = min(start, log.cleaned.size_bytes // _RECORD_BYTES) if with_older else 0
        buckets = KeyBuckets(end - start + older, self._retention.piece_keys_max, self._storage.scratch)
        try:
            ends = await self._take_keys(buckets, log, start, end)
            first = await self._take_older(buckets, log, start, *ends) if with_older and ends else start
            superseded, loop = Offsets(), asyncio.get_running_loop()
            began = loop.time()
            for _ in buckets.superseded(superseded):
                await self._rest(log, began)
                began = loop.time()
        finally:
            buckets.close()
        await self._rewrite(log, first, end, superseded)

    async def _take_keys(self, buckets: KeyBuckets, log: PartitionLog, start: int, end: int) -> tuple[bytes, bytes] | None:
        """Adds the keys of [start, end); returns the lowest and the highest, None if there are none."""
        loop, ends = asyncio.get_running_loop(), list[bytes]()
        while start < end:
            began = loop.time()
            found = self._storage.keys(log.source, start, end, _STEP_KEYS)
            if not found:
                break
            for batch in found:
                buckets.add(batch.keys, batch.offsets)
                ends = [min([*ends[:1], *batch.keys]), max([*ends[1:], *batch.keys])]
            start = found[-1].next_offset
            await self._rest(log, began)
        return (ends[0], ends[1]) if ends else None

    async def _take_older(self, buckets: KeyBuckets, log: PartitionLog, end: int, low: bytes, high: bytes) -> int:
        """Adds the keys of those batches before ``end`` that may have one in [low, high]; returns where the first of them starts."""
        # Time-ordered keys meet next to none; others may be anywhere.
        loop, start, first = asyncio.get_running_loop(), 0, end
        while start < end:
            began = loop.time()
            spans, start = self._storage.spans_with_keys(log.source, start, end, low, high, _SPANS_MAX)
            await self._rest(log, began)
            for neighbours in _neighbours(spans):
                first = min(first, neighbours[0].base_offset)
                await self._take_keys(buckets, log, neighbours[0].base_offset, neighbours[-1].next_offset)
        return first

    async def _rewrite(self, log: PartitionLog, start: int, end: int, superseded: Offsets) -> None:
        source, loop = log.source, asyncio.get_running_loop()
        while start < end:
            began = loop.time()
            spans = self._storage.spans(source, start, end, _SPANS_MAX)
            if not spans:
                return
            start = spans[-1].next_offset
            for run in self._runs(spans, superseded):
                replacement = self._rewritten(log.source, run, superseded)
                await self._rest(log, began)
                await self._broker.replace(replacement)
                log.size_bytes -= sum(span.size_bytes for span in run) - sum(map(batch_bytes, replacement.batches))
                began = loop.time()
            await self._rest(log, began)

    def _runs(self, spans: Iterable[Span], superseded: Offsets) -> Iterator[list[Span]]:
        """Neighbours that are worth rewriting together, each run of a bounded size; of those that go as a whole none is read."""
        run: list[Span] = []
        size_bytes, are_gone, any_touched = 0, False, False
        for span in spans:
            gone = superseded.count_between(span.base_offset, span.next_offset)
            is_gone = gone == span.next_offset - span.base_offset
            size_max = self._retention.step_bytes * (_UNREAD_STEP if are_gone else 1)
            if run and (is_gone != are_gone or size_bytes + span.size_bytes > size_max):
                if any_touched or self._is_scattered(run, size_bytes):
                    yield run
                run, size_bytes, any_touched = [], 0, False
            are_gone = is_gone
            run.append(span)
            size_bytes += span.size_bytes
            any_touched |= gone > 0
        if run and (any_touched or self._is_scattered(run, size_bytes)):
            yield run

    def _is_scattered(self, run: list[Span], size_bytes: int) -> bool:
        return len(run) > 1 and size_bytes * _SMALLER < len(run) * self._retention.merged_batch_bytes

    def _rewritten(self, source: TopicPartition, run: list[Span], superseded: Offsets) -> Replacement:
        start, end = run[0].base_offset, run[-1].next_offset
        if superseded.count_between(start, end) == end - start:
            # What goes as a whole need not be read.
            return Replacement(source, start, end)
        gone = superseded.between(start, end)
        offsets, records = list[int](), list[Pair]()
        at, timestamp_ms = start, 0
        while at < end:
            batches = [batch for batch in self._storage.read(source, at, self._retention.step_bytes) if batch.offsets[0] < end]
            if not batches:
                break
            for batch in batches:
                kept = [offset not in gone for offset in batch.offsets]
                offsets += compress(batch.offsets, kept)
                records += compress(batch.records, kept)
                at, timestamp_ms = batch.next_offset, max(timestamp_ms, batch.timestamp_ms)
        return Replacement(source, start, end, self._merged(source, offsets, records, end, timestamp_ms))

    def _merged(self, source: TopicPartition, offsets: list[int], records: list[Pair], end: int, timestamp_ms: int) -> list[Batch]:
        starts, size = list[int](), self._retention.merged_batch_bytes
        for index, (key, value) in enumerate(records):
            if size >= self._retention.merged_batch_bytes:
                starts.append(index)
                size = 0
            size += len(key) + len(value or b"")
        batches = []
        for first, behind in pairwise([*starts, len(records)]):
            next_offset = offsets[behind] if behind < len(offsets) else end
            batches.append(Batch(source, records[first:behind], offsets[first:behind], next_offset, timestamp_ms))
        return batches


def _neighbours(spans: Iterable[Span]) -> list[list[Span]]:
    """Runs of batches that follow each other."""
    runs: list[list[Span]] = []
    for span in spans:
        if runs and runs[-1][-1].next_offset == span.base_offset:
            runs[-1].append(span)
        else:
            runs.append([span])
    return runs
