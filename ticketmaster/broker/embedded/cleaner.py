"""Keeping the log small: compaction of compacted topics, retention of consumed records of the others.

Both look at what is durable only and go through the broker's own writes, a bounded piece at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from ticketmaster.broker.embedded.log import PartitionLog
from ticketmaster.broker.embedded.storage import Replacement, Storage, batch_bytes
from ticketmaster.broker.port import Batch, Pair, TopicPartition


class Cleanable(Protocol):
    """What the cleaner needs of the broker."""

    @property
    def logs(self) -> Collection[PartitionLog]:
        """Every partition's log."""

    def consumed_to(self, source: TopicPartition) -> int | None:
        """Where the slowest group stands."""

    async def replace(self, replacements: Sequence[Replacement]) -> None:
        """Rewrites stored batches."""

    async def mark_cleaned(self, log: PartitionLog, offset: int) -> None:
        """Compaction has come to ``offset``."""

    def fail(self, cause: Exception) -> None:
        """The log can't be read through."""


class Retention(NamedTuple):
    """When a partition is cleaned, and what is kept."""

    # Records of commands and results that every group has read are kept up to this size, newest last.
    consumed_bytes_max: int = 256 << 20
    # A compacted partition is looked at when so much was appended to it, and no less than it held before: so it is at most twice
    # as large as need be, and a record is rewritten once for as many that come.
    uncleaned_bytes_max: int = 8 << 20
    # Survivors of compaction are merged into batches of about this size.
    merged_batch_bytes: int = 256 << 10
    # Compaction remembers the newest offset of so many keys at a time.
    piece_keys_max: int = 50_000
    # How much of a log is read in one step.
    step_bytes: int = 8 << 20


class Cleaner:
    """Cleans one partition after the other, in the background."""

    def __init__(self, broker: Cleanable, storage: Storage, retention: Retention) -> None:
        self._broker = broker
        self._storage = storage
        self._retention = retention
        self._job: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something was written: clean if it is time to, unless that is under way."""
        if self._job is None or self._job.done():
            due = [log for log in self._broker.logs if self._is_due(log)]
            if due:
                self._job = asyncio.create_task(self._clean(due), name="broker-clean")

    def _is_due(self, log: PartitionLog) -> bool:
        if log.compacted:
            return log.uncleaned_bytes > max(self._retention.uncleaned_bytes_max, log.size_bytes - log.uncleaned_bytes)
        return log.size_bytes > self._retention.consumed_bytes_max and log.start < (self._broker.consumed_to(log.source) or 0)

    async def stop(self) -> None:
        """Leaves what is under way; the next run of the process takes it up again."""
        if self._job:
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)

    async def _clean(self, due: Iterable[PartitionLog]) -> None:
        try:
            for log in due:
                await (self.compact(log) if log.compacted else self.expire(log))
        except Exception as cause:  # noqa: BLE001 - a log that can't be read through is damaged, whatever the reason
            self._broker.fail(cause)

    async def expire(self, log: PartitionLog) -> None:
        """Deletes the oldest batches that every group has read, until the partition is small enough."""
        source = log.source
        # The last batch stays: it is what says where the log ends.
        limit = min(self._broker.consumed_to(source) or 0, log.durable_end - 1)
        while log.size_bytes > self._retention.consumed_bytes_max and log.start < limit:
            start = log.start
            for batch in self._storage.read(source, start, self._retention.step_bytes):
                if batch.next_offset > limit or log.size_bytes <= self._retention.consumed_bytes_max:
                    limit = start
                    break
                start = batch.next_offset
                log.size_bytes -= batch_bytes(batch)
            if start > log.start:
                await self._broker.replace([Replacement(source, log.start, start)])
                log.start = start
            await asyncio.sleep(0)

    async def compact(self, log: PartitionLog) -> None:
        """Drops every record whose key has a later one, among all that is durable now."""
        end = log.durable_end
        while log.cleaned_to < end:
            start = log.cleaned_to
            newest, superseded, stop = await self._newest_offsets(log.source, start, end)
            if superseded:
                await self._drop_superseded(log, start, stop, newest)
            if newest:
                # Only at the edges of a piece do time-ordered keys meet older batches; other keys may be anywhere.
                for base, next_offset in self._storage.ranges_with_keys(log.source, start, min(newest), max(newest)):
                    await self._drop_superseded(log, base, next_offset, newest)
            await self._broker.mark_cleaned(log, stop)

    async def _newest_offsets(self, source: TopicPartition, start: int, end: int) -> tuple[dict[bytes, int], int, int]:
        """({key: its newest offset}, how many records have a later one, where the piece ends) of a bounded piece from ``start`` on."""
        newest: dict[bytes, int] = {}
        records = 0
        stop = end
        for index, found in enumerate(self._storage.key_ranges(source, start, end)):
            newest.update(zip(found.keys, found.offsets, strict=True))
            records += len(found.keys)
            if len(newest) > self._retention.piece_keys_max:
                stop = found.next_offset
                break
            if index % 64 == 63:
                await asyncio.sleep(0)
        return newest, records - len(newest), stop

    async def _drop_superseded(self, log: PartitionLog, start: int, end: int, newest: dict[bytes, int]) -> None:
        source, at = log.source, start
        while at < end:
            batches = [batch for batch in self._storage.read(source, at, self._retention.step_bytes) if batch.offsets[0] < end]
            if not batches:
                return
            first, at = batches[0].offsets[0], batches[-1].next_offset
            kept = [
                (offset, pair)
                for batch in batches
                for offset, pair in zip(batch.offsets, batch.records, strict=True)
                if newest.get(pair[0], offset) <= offset
            ]
            if len(kept) < sum(len(batch.records) for batch in batches) or len(batches) > 1:
                merged = self._merged(source, kept, at, max(batch.timestamp_ms for batch in batches))
                await self._broker.replace([Replacement(source, first, at, merged)])
                log.size_bytes -= sum(map(batch_bytes, batches)) - sum(map(batch_bytes, merged))
            await asyncio.sleep(0)

    def _merged(self, source: TopicPartition, kept: list[tuple[int, Pair]], end: int, timestamp_ms: int) -> list[Batch]:
        pieces: list[list[tuple[int, Pair]]] = []
        size = self._retention.merged_batch_bytes
        for item in kept:
            if size >= self._retention.merged_batch_bytes:
                pieces.append([])
                size = 0
            pieces[-1].append(item)
            key, value = item[1]
            size += len(key) + len(value or b"")
        if not pieces:
            return []
        nexts = [piece[0][0] for piece in pieces[1:]] + [end]
        return [
            Batch(source, [pair for _, pair in piece], [offset for offset, _ in piece], next_offset, timestamp_ms)
            for piece, next_offset in zip(pieces, nexts, strict=True)
        ]
