"""Bugs of the engine and the broker, to be planted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.simulation.planting import Mutants, replaced
from tests.support.stores import write
from ticketmaster.broker.embedded import superseded
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.consumer import Reader
from ticketmaster.broker.embedded.log import PartitionLog
from ticketmaster.broker.embedded.producers import LogTransactions
from ticketmaster.broker.port import NO_RECORD_HEADERS, Batch, Pair, TopicPartition
from ticketmaster.errors import Retriable, TaskCorrupted
from ticketmaster.simulation.disk import SimulatedStores, _File
from ticketmaster.simulation.network import LinkedBroker
from ticketmaster.state.overlay import Overlay, Overlays
from ticketmaster.state.port import Steps, Update
from ticketmaster.streams import restoration
from ticketmaster.streams.lifecycle import PartitionState
from ticketmaster.streams.partition import PartitionWork
from ticketmaster.streams.runner import TaskRunner
from ticketmaster.streams.table import _TablePartition
from ticketmaster.streams.task import Task

MUTANTS = Mutants()
mutant = MUTANTS.add
# The kinds of faults that show a bug best, where not all of them are wanted.
SHOWN_BY = {
    "retention deletes what nobody has read": ("processes",),
    "what is read ahead begins behind what is durable, whether that was read or not": ("network", "processes"),
}


@mutant("the store is written before the commit")
def _store_first() -> AbstractContextManager[Any]:
    decide = Task.decide

    def decide_and_write(self: Task, records_max: int, *more: Any) -> Any:
        plan = decide(self, records_max, *more)
        for name, overlay in self.overlays.items():
            if overlay.open_writes and overlay.position is not None:
                update = Update(dict(overlay.open_writes), overlay.position + len(overlay.open_writes))
                write(self.overlays._stores, {name: update})
        return plan

    return replaced(Task, "decide", decide_and_write)


@mutant("offsets are committed outside the transaction")
def _offsets_outside() -> AbstractContextManager[Any]:
    async def commit(
        self: Any, outputs: Mapping[TopicPartition, Sequence[Pair]], offsets: Mapping[TopicPartition, int], group: str, _headers: Any = ()
    ) -> dict[TopicPartition, int]:
        if self._epoch is None or self._broker.is_fenced(self._id, self._epoch):
            raise Retriable("fenced")
        ends: dict[TopicPartition, int] = await self._broker.commit(outputs, {}, group, NO_RECORD_HEADERS)
        await self._broker.until_durable(ends)
        await self._broker.commit({}, offsets, group, NO_RECORD_HEADERS)
        return ends

    return replaced(LogTransactions, "commit", commit)


@mutant("retention deletes what nobody has read")
def _retention_ahead() -> AbstractContextManager[Any]:
    return replaced(EmbeddedBroker, "consumed_to", lambda self, source: self.end(source, ahead=False))


@mutant("compaction keeps the oldest record of a key")
def _oldest_kept() -> AbstractContextManager[Any]:
    def compare(keys: Sequence[bytes], offsets: Sequence[int], newest: dict[bytes, int], found: superseded.Offsets) -> None:
        for key, offset in sorted(zip(keys, offsets, strict=True), key=lambda record: record[1]):
            if newest.setdefault(key, offset) != offset:
                found.add(offset)

    return replaced(superseded, "_compare", compare)


@mutant("offsets are committed before the records")
def _offsets_first() -> AbstractContextManager[Any]:
    async def commit(
        self: Any, outputs: Mapping[TopicPartition, Sequence[Pair]], offsets: Mapping[TopicPartition, int], group: str, _headers: Any = ()
    ) -> dict[TopicPartition, int]:
        if self._epoch is None or self._broker.is_fenced(self._id, self._epoch):
            raise Retriable("fenced")
        await self._broker.commit({}, offsets, group, NO_RECORD_HEADERS)
        await self._broker.append({})
        ends: dict[TopicPartition, int] = await self._broker.commit(outputs, {}, group, NO_RECORD_HEADERS)
        return ends

    return replaced(LogTransactions, "commit", commit)


@mutant("nobody is fenced")
def _no_fencing() -> AbstractContextManager[Any]:
    return replaced(EmbeddedBroker, "is_fenced", lambda *_: False)


@mutant("the state is restored before the predecessor is fenced")
def _restored_first() -> AbstractContextManager[Any]:
    async def take_over(self: TaskRunner) -> None:
        task = self.task
        self._lifecycle.move_to(PartitionState.FENCING)
        self._committed = await self._broker.committed(self._topology.application_id, task.sources)
        self._starts, self._ends = await self._broker.start_offsets(task.sources), await self._broker.end_offsets(task.sources)
        self._lifecycle.move_to(PartitionState.RESTORING)
        stores = self._open_stores()
        try:
            await restoration.restore(self._broker, self._changelogs, stores, self.name, self._observer)
            overlays = Overlays(stores, tuple(self._changelogs))
            await self._look_over(overlays)
            self._producer = self._broker.transactional_producer(self.name)
            await self._producer.start()
            self._check_assigned()
            self._begin(overlays)
        except BaseException:
            stores.close()
            raise
        self.overlays = overlays
        self._lifecycle.move_to(PartitionState.RUNNING)
        self._seek()

    return replaced(TaskRunner, "_take_over", take_over)


@mutant("a restoration stops early")
def _restored_half() -> AbstractContextManager[Any]:
    read = restoration._Restoration._read

    async def read_half(self: Any, checkpoints: Any, starts: Any, ends: Mapping[TopicPartition, int]) -> None:
        await read(self, checkpoints, starts, {source: max(0, end - 3) for source, end in ends.items()})

    return replaced(restoration._Restoration, "_read", read_half)


@mutant("a commit whose outcome is unknown is sent again")
def _commit_again() -> AbstractContextManager[Any]:
    work = TaskRunner._work

    async def work_twice(self: TaskRunner) -> None:
        producer = self._producer
        assert producer
        commit = producer.commit

        async def commit_twice(*plan: Any) -> Any:
            try:
                return await commit(*plan)
            except Retriable:
                return await commit(*plan)

        producer.commit = commit_twice  # type: ignore[method-assign,assignment]
        await work(self)

    return replaced(TaskRunner, "_work", work_twice)


@mutant("an aborted transaction leaks into the state")
def _leak() -> AbstractContextManager[Any]:
    writing_all = Overlays.writing_all

    def writing_all_of_it(self: Overlays) -> Steps:
        for overlay in self.values():
            overlay._newer.update(overlay._open)
        return writing_all(self)

    return replaced(Overlays, "writing_all", writing_all_of_it)


@mutant("the store claims more than it has")
def _ahead() -> AbstractContextManager[Any]:
    def all_of_it(self: Overlay) -> Update | None:
        return None if self._position is None else Update(dict(self._older), self._position)

    return replaced(Overlay, "due", all_of_it)


@mutant("a damaged store is read as if it were whole")
def _damage_ignored() -> AbstractContextManager[Any]:
    def check(self: _File) -> None:
        if self.damaged:
            self.damaged = False
            for table in self.tables.values():
                for key in sorted(table.values)[::2]:
                    del table.values[key]

    return replaced(_File, "check", check)


@mutant("a task that comes straight back begins where it once began")
def _resumed_behind() -> AbstractContextManager[Any]:
    suspend = TaskRunner.suspend

    async def suspend_and_forget(self: TaskRunner) -> None:
        await suspend(self)
        self._positions = {source: max(0, offset - 2) for source, offset in self._positions.items()}

    return replaced(TaskRunner, "suspend", suspend_and_forget)


@mutant("a restarted task leaves out what it lost")
def _skipped() -> AbstractContextManager[Any]:
    release = TaskRunner._release

    async def release_and_skip(self: TaskRunner, state: PartitionState, *, write_behind: bool) -> None:
        if self.state is PartitionState.RUNNING and self.task.queued_records:
            self._skip = dict(self._positions)  # type: ignore[attr-defined]
        await release(self, state, write_behind=write_behind)

    seek = TaskRunner._seek

    def seek_further(self: TaskRunner) -> None:
        if getattr(self, "_skip", None):
            self._positions = {source: offset + 1 for source, offset in self._positions.items()}
            self._skip = None  # type: ignore[attr-defined]
        seek(self)

    @contextmanager
    def both() -> Iterator[None]:
        with replaced(TaskRunner, "_release", release_and_skip), replaced(TaskRunner, "_seek", seek_further):
            yield

    return both()


@mutant("a table begins at the end of its topic")
def _table_from_its_end() -> AbstractContextManager[Any]:
    async def open_at_the_end(self: _TablePartition) -> None:
        end = (await self._broker.end_offsets([self._source]))[self._source]
        self._lifecycle.move_to(PartitionState.FENCING)
        self._check_assigned()
        self._lifecycle.move_to(PartitionState.RESTORING)
        self.overlays = Overlays(self._open_stores(), (self._store,))
        self._lifecycle.move_to(PartitionState.RUNNING)
        self._following.seek({self._source: end})
        self._on_readable()

    return replaced(_TablePartition, "_take_over", open_at_the_end)


@mutant("a corrupted task is never mended")
def _never_mended() -> AbstractContextManager[Any]:
    def clear(_: SimulatedStores) -> None:
        raise TaskCorrupted("it can't be cleared either")

    return replaced(SimulatedStores, "clear", clear)


# The broker.


@mutant("answers are told before they are durable")
def _told_early() -> AbstractContextManager[Any]:
    begin = Reader.__init__

    def ahead(self: Reader, broker: Any, positions: Mapping[TopicPartition, int], **_: Any) -> None:
        begin(self, broker, positions, ahead=True)

    return replaced(Reader, "__init__", ahead)


@mutant("what is read ahead begins behind what is durable, whether that was read or not")
def _ahead_of_a_gap() -> AbstractContextManager[Any]:
    def read_ahead(self: PartitionLog, offset: int, bytes_max: int, storage: Any) -> tuple[list[Batch], int]:
        found, size = self.read(offset, bytes_max, storage)
        return [*found, *(batch for batch, _ in self.ahead if batch.offsets[0] >= offset)], size

    return replaced(PartitionLog, "read_ahead", read_ahead)


@mutant("a store is written before its log is durable")
def _store_ahead() -> AbstractContextManager[Any]:
    async def at_once(self: PartitionWork, positions: Mapping[str, int]) -> None:
        """Does not wait."""

    return replaced(PartitionWork, "_until_durable", at_once)


@mutant("a store leaves out values for the sake of later ones that are not durable")
def _left_out_too_early() -> AbstractContextManager[Any]:
    def of_what_is_due(self: Overlays) -> dict[str, int]:
        return {name: overlay._older_position or 0 for name, overlay in self.items()}

    return replaced(Overlays, "positions", property(of_what_is_due))


@mutant("offsets are asked for without a write")
def _asked_too_early() -> AbstractContextManager[Any]:
    transactional = LinkedBroker.transactional_producer

    def careless(self: LinkedBroker, transactional_id: str) -> Any:
        producer: Any = transactional(self, transactional_id)
        producer.committed = self.committed
        return producer

    return replaced(LinkedBroker, "transactional_producer", careless)
