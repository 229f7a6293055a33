"""Bringing the stores of a task to the ends of their changelogs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from ticketmaster.broker.port import Batch, Broker, TopicPartition
from ticketmaster.errors import TaskCorrupted
from ticketmaster.state.port import StateStores, Update
from ticketmaster.streams.jobs import take_steps
from ticketmaster.telemetry.observer import Observer
from ticketmaster.telemetry.tracing import Kind

_POLL_MS = 1_000
_PROGRESS_S = 1.0
_NONE_KNOWN: Mapping[TopicPartition, int] = {}
# So many records are written in one transaction: in between, others have their turn.
_PIECE_RECORDS = 1_000


class Suspended(Exception):
    """The partition may be another member's by now: nothing more is done for it."""


async def restore(
    broker: Broker,
    changelogs: Mapping[str, TopicPartition],
    stores: StateStores,
    task: str,
    observer: Observer,
    is_ours: Callable[[], bool] = lambda: True,
    at_least: Mapping[TopicPartition, int] = _NONE_KNOWN,
) -> int:
    """Reads each store's changelog from its checkpoint to its end as of now; returns how many records that were.

    ``changelogs`` by the names of the stores; ``at_least`` are ends before which none ends, whatever a broker says. Stores that can't be
    read, or of which one needs more of its changelog than there is, are cleared and restored whole. ``observer`` is told once a second how
    far ``task`` has come. Suspended: ``is_ours`` has become false.
    """
    with observer.tracer.start_root(f"restore {task}", Kind.INTERNAL) as span:
        restoration = _Restoration(broker, changelogs, stores, task, observer, is_ours)
        restored = await restoration.run(at_least)
        span.set({"ticketmaster.records": restored})
    return restored


class _Restoration:
    def __init__(
        self,
        broker: Broker,
        changelogs: Mapping[str, TopicPartition],
        stores: StateStores,
        task: str,
        observer: Observer,
        is_ours: Callable[[], bool],
    ) -> None:
        self._broker = broker
        self._changelogs = changelogs
        self._stores = stores
        self._task = task
        self._observer = observer
        self._is_ours = is_ours
        self._restored = 0

    async def run(self, at_least: Mapping[TopicPartition, int]) -> int:
        sources = list(self._changelogs.values())
        starts, told = await self._broker.start_offsets(sources), await self._broker.end_offsets(sources)
        ends = {source: max(end, at_least.get(source, 0)) for source, end in told.items()}
        try:
            positions = self._checkpoints(ends)
            await self._read(positions, starts, ends)
        except TaskCorrupted:
            self._stores.clear()
            await self._read({}, starts, ends)
        return self._restored

    def _checkpoints(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Where each changelog goes on. TaskCorrupted: a store needs more of it than there is, so it is another log's."""
        positions = {}
        for name, source in self._changelogs.items():
            table = self._stores.table(name)
            checkpoint = table.checkpoint()
            if checkpoint is not None:
                positions[source] = checkpoint
                if table.reach() > ends[source]:
                    raise TaskCorrupted(f"{self._task}: the store {name} needs more of its changelog than there is")
        return positions

    async def _read(
        self, checkpoints: Mapping[TopicPartition, int], starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        loop = asyncio.get_running_loop()
        names = {source: name for name, source in self._changelogs.items()}
        # Of what retention has removed there is nothing to wait for.
        positions = {source: max(checkpoints.get(source, 0), starts[source]) for source in names}
        behind = [source for source, position in positions.items() if position < ends[source]]
        whole, told = sum(ends[source] - positions[source] for source in behind), loop.time()
        reader = self._broker.reader({source: positions[source] for source in behind})
        try:
            while behind:
                updates: dict[str, Update] = {}
                for updates, records in _pieces(await reader.poll(_POLL_MS), names):
                    if not self._is_ours():
                        raise Suspended
                    # Of a compacted log they lack what later records supersede, and those come with later pieces.
                    reaching = {name: update._replace(reach=ends[self._changelogs[name]]) for name, update in updates.items()}
                    await take_steps(self._stores.writing(reaching))
                    self._restored += records
                    positions |= {self._changelogs[name]: update.checkpoint for name, update in updates.items()}
                    await asyncio.sleep(0)
                if not self._is_ours():
                    raise Suspended
                if not updates:
                    # Retention may have removed meanwhile what is waited for.
                    starts = await self._broker.start_offsets(behind)
                    positions |= {source: max(positions[source], start) for source, start in starts.items()}
                behind = [source for source in behind if positions[source] < ends[source]]
                if loop.time() - told >= _PROGRESS_S:
                    told = loop.time()
                    left = sum(ends[source] - positions[source] for source in behind)
                    self._observer.task_restoring(self._task, self._restored, 1 - left / whole)
        finally:
            await reader.stop()


def _pieces(batches: Sequence[Batch], names: Mapping[TopicPartition, str]) -> Iterator[tuple[dict[str, Update], int]]:
    """What batches change, by the names of the stores, and how many records that are; piece by piece."""
    changes: dict[str, dict[bytes, bytes | None]] = {}
    checkpoints: dict[str, int] = {}
    gathered = 0
    for batch in batches:
        name, records, offsets = names[batch.source], batch.records, batch.offsets
        changed = changes.setdefault(name, {})
        start = 0
        while len(records) - start > _PIECE_RECORDS - gathered:
            end = start + _PIECE_RECORDS - gathered
            changed.update(records[start:end])
            checkpoints[name] = offsets[end]
            yield {store: Update(changes[store], checkpoint) for store, checkpoint in checkpoints.items()}, gathered + end - start
            changes, checkpoints, start, gathered = {}, {}, end, 0
            changed = changes.setdefault(name, {})
        changed.update(records[start:] if start else records)
        gathered += len(records) - start
        # Behind markers and gaps too, which have nothing but their offsets.
        checkpoints[name] = batch.next_offset
    if checkpoints:
        yield {store: Update(changes[store], checkpoint) for store, checkpoint in checkpoints.items()}, gathered
