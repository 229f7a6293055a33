"""Bugs of the engine and the broker, to be planted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.simulation.planting import Mutants, replaced
from ticketmaster.broker.embedded import broker as embedded
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.log import PartitionLog
from ticketmaster.broker.port import Batch, Pair, TopicPartition
from ticketmaster.errors import Retriable, TaskCorrupted
from ticketmaster.simulation.disk import SimulatedStore
from ticketmaster.simulation.network import LinkedBroker
from ticketmaster.state.overlay import Overlay
from ticketmaster.streams import restoration, runner
from ticketmaster.streams.runner import TaskRunner
from ticketmaster.streams.table import OwnedTable
from ticketmaster.streams.task import Task, TaskState

MUTANTS = Mutants()
mutant = MUTANTS.add


@mutant("the store is written before the commit")
def _store_first() -> AbstractContextManager[Any]:
    decide = Task.decide

    def decide_and_write(self: Task, records_max: int) -> Any:
        plan = decide(self, records_max)
        overlay = self.overlay
        if overlay.open_writes and overlay.position is not None:
            overlay._store.write(dict(overlay.open_writes), overlay.position + len(overlay.open_writes))
        return plan

    return replaced(Task, "decide", decide_and_write)


@mutant("offsets are committed outside the transaction")
def _offsets_outside() -> AbstractContextManager[Any]:
    async def commit(
        self: Any, outputs: Mapping[TopicPartition, Sequence[Pair]], offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[TopicPartition, int]:
        if self._epoch is None or self._broker.is_fenced(self._id, self._epoch):
            raise Retriable("fenced")
        ends: dict[TopicPartition, int] = await self._broker.append(outputs)
        await self._broker.append({}, offsets, group)
        return ends

    return replaced(embedded._TransactionalProducer, "commit", commit)


@mutant("offsets are committed before the records")
def _offsets_first() -> AbstractContextManager[Any]:
    async def commit(
        self: Any, outputs: Mapping[TopicPartition, Sequence[Pair]], offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[TopicPartition, int]:
        if self._epoch is None or self._broker.is_fenced(self._id, self._epoch):
            raise Retriable("fenced")
        await self._broker.append({}, offsets, group)
        ends: dict[TopicPartition, int] = await self._broker.append(outputs)
        return ends

    return replaced(embedded._TransactionalProducer, "commit", commit)


@mutant("nobody is fenced")
def _no_fencing() -> AbstractContextManager[Any]:
    return replaced(EmbeddedBroker, "is_fenced", lambda *_: False)


@mutant("the state is restored before the predecessor is fenced")
def _restored_first() -> AbstractContextManager[Any]:
    async def take_over(self: TaskRunner) -> None:
        task = self.task
        task.move_to(TaskState.FENCING)
        offsets = await self._broker.committed(self._topology.application_id, task.sources)
        task.move_to(TaskState.RESTORING)
        store = self._open_store()
        try:
            await restoration.restore(self._broker, task.changelog, store, self._name, self._observer)
            overlay = Overlay(store)
            self._producer = self._broker.transactional_producer(self._name)
            await self._producer.start()
        except BaseException:
            store.close()
            raise
        task.start(overlay)
        self._positions = {source: offsets.get(source, 0) for source in task.sources}
        if self._assigned.is_set():
            self._seek()

    return replaced(TaskRunner, "_take_over", take_over)


@mutant("a restoration stops early")
def _restored_half() -> AbstractContextManager[Any]:
    read = restoration._read

    async def read_half(broker: Any, changelog: Any, position: int, end: int, *others: Any) -> int:
        return await read(broker, changelog, position, max(position, end - 3), *others)

    return replaced(restoration, "_read", read_half)


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
    close = Overlay.close

    def close_all(self: Overlay, *, write_behind: bool = True) -> None:
        self._newer.update(self._open)
        close(self, write_behind=write_behind)

    return replaced(Overlay, "close", close_all)


@mutant("the store claims more than it has")
def _ahead() -> AbstractContextManager[Any]:
    def write_behind(self: Overlay) -> None:
        if self._position is not None:
            self._store.write(dict(self._older), self._position)
        self._older, self._older_position, self._newer = self._newer, self._position, {}

    return replaced(Overlay, "write_behind", write_behind)


@mutant("a damaged store is read as if it were whole")
def _damage_ignored() -> AbstractContextManager[Any]:
    def check(self: SimulatedStore) -> None:
        if self._file.damaged:
            self._file.damaged = False
            for key in sorted(self._file.values)[::2]:
                del self._file.values[key]

    return replaced(SimulatedStore, "_check", check)


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

    def release_and_skip(self: TaskRunner, *, write_behind: bool) -> None:
        if self.task.state is TaskState.RUNNING and self.task.queued_records:
            self._skip = dict(self._positions)  # type: ignore[attr-defined]
        release(self, write_behind=write_behind)

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
    async def open_at_the_end(self: OwnedTable, partition: int, *, anew: bool) -> None:
        source = TopicPartition(self._topic, partition)
        end = (await self._broker.end_offsets([source]))[source]
        if partition not in self._overlays:
            self._overlays[partition] = Overlay(self._open_store(self.application_id, self._store, partition))
        self._consumer.seek(source, end)

    return replaced(OwnedTable, "_open", open_at_the_end)


@mutant("a corrupted task is never mended")
def _never_mended() -> AbstractContextManager[Any]:
    @contextmanager
    def both() -> Iterator[None]:
        async def restore(broker: Any, changelog: Any, store: Any, *others: Any) -> int:
            end = (await broker.end_offsets([changelog]))[changelog]
            return await restoration._read(broker, changelog, store.checkpoint() or 0, end, store, *others)

        def clear(_: SimulatedStore) -> None:
            raise TaskCorrupted("it can't be cleared either")

        with replaced(runner, "restore", restore), replaced(SimulatedStore, "clear", clear):
            yield

    return both()


# The broker.


@mutant("records are delivered before they are durable")
def _visible_early() -> AbstractContextManager[Any]:
    read, append, early = PartitionLog.read, PartitionLog.append, dict[TopicPartition, list[Batch]]()

    def read_ahead(self: PartitionLog, offset: int, bytes_max: int, storage: Any) -> tuple[list[Batch], int]:
        found = read(self, offset, bytes_max, storage)
        return found if found[0] else ([batch for batch in early.get(self.source, ()) if batch.offsets[0] == offset], 0)

    def append_and_show(self: PartitionLog, *arguments: Any) -> Batch:
        batch = append(self, *arguments)
        early[self.source] = [batch]
        return batch

    @contextmanager
    def both() -> Iterator[None]:
        with replaced(PartitionLog, "read", read_ahead), replaced(PartitionLog, "append", append_and_show):
            yield

    return both()


@mutant("offsets are asked for without a write")
def _asked_too_early() -> AbstractContextManager[Any]:
    transactional = LinkedBroker.transactional_producer

    def careless(self: LinkedBroker, transactional_id: str) -> Any:
        producer: Any = transactional(self, transactional_id)
        producer.committed = self.committed
        return producer

    return replaced(LinkedBroker, "transactional_producer", careless)
