"""Planted bugs: each breaks one thing that the engine, the broker or a role relies on, from outside, while it is planted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from ticketmaster.broker.embedded import broker as embedded
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.log import PartitionLog
from ticketmaster.broker.port import Batch, Pair, TopicPartition
from ticketmaster.errors import Retriable, TaskCorrupted
from ticketmaster.event import processor as event_role
from ticketmaster.event.processor import EventProcessor
from ticketmaster.reservation import processor as reservation_role
from ticketmaster.reservation.processor import ReservationProcessor
from ticketmaster.simulation.disk import SimulatedStore
from ticketmaster.state.overlay import Overlay
from ticketmaster.streams import restoration, runner
from ticketmaster.streams.runner import TaskRunner
from ticketmaster.streams.table import OwnedTable
from ticketmaster.streams.task import Task, TaskState
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.ids import IdMint
from ticketmaster.wire import reservations
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.binary import UNREADABLE

Plant = Callable[[], AbstractContextManager[Any]]
MUTANTS: dict[str, Plant] = {}


def mutant(name: str) -> Callable[[Plant], Plant]:
    """Adds a planted bug under its name."""

    def add(plant: Plant) -> Plant:
        MUTANTS[name] = plant
        return plant

    return add


def replaced(target: object, name: str, by: object) -> AbstractContextManager[Any]:
    """One attribute is another one for a while."""
    return patch.object(target, name, by)


# The engine.


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
            self._overlays[partition] = Overlay(self._open_store(self._application_id, self._store, partition))
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

    def read_ahead(self: PartitionLog, offset: int, storage: Any) -> list[Batch]:
        return read(self, offset, storage) or [batch for batch in early.get(self.source, ()) if batch.offsets[0] == offset]

    def append_and_show(self: PartitionLog, *arguments: Any) -> Batch:
        batch = append(self, *arguments)
        early[self.source] = [batch]
        return batch

    @contextmanager
    def both() -> Iterator[None]:
        with replaced(PartitionLog, "read", read_ahead), replaced(PartitionLog, "append", append_and_show):
            yield

    return both()


# The roles.


@mutant("an event that is announced again is new")
def _created_again() -> AbstractContextManager[Any]:
    def open_areas(self: EventProcessor, records: Sequence[Pair], state: Any, outputs: Any) -> None:
        for at, (key, value) in enumerate(records):
            try:
                if value is not None:
                    self._changed[key] = self._cache(key, value)
            except UNREADABLE as reason:
                outputs.reject(at, f"{reason}")

    return replaced(EventProcessor, "_open_areas", open_areas)


@mutant("a repeated command is another reservation")
def _repeated() -> AbstractContextManager[Any]:
    create = ReservationProcessor._create

    class Forgetful:
        def __init__(self, state: Any) -> None:
            self.put = state.put

        def get(self, _: bytes) -> None:
            return None

    def create_again(self: ReservationProcessor, records: Sequence[Pair], state: Any, outputs: Any) -> None:
        create(self, records, Forgetful(state), outputs)

    return replaced(ReservationProcessor, "_create", create_again)


@mutant("a decision is decided again")
def _decided_again() -> AbstractContextManager[Any]:
    decided = reservations.decided
    first: dict[bytes, bytes] = {}

    def decide(reservation: bytes | None, result: bytes) -> bytes | None:
        decision = decided(reservation, result)
        if decision is not None and reservation is not None:
            first[decision[:45]] = reservation
        elif reservation is not None:
            decision = decided(first.get(reservation[:45]), result)
        return decision

    return replaced(reservation_role, "decided", decide)


@mutant("seats that somebody has may be chosen")
def _chosen_twice() -> AbstractContextManager[Any]:
    return replaced(event_role, "pick_chosen", lambda *_: None)


@mutant("the last seat of a run stays free in the map")
def _one_too_few() -> AbstractContextManager[Any]:
    take_run = AreaImage.take_run

    def take_fewer(self: AreaImage, row: int, col: int, count: int) -> None:
        take_run(self, row, col, count - 1 if count > 2 else count)

    return replaced(AreaImage, "take_run", take_fewer)


@mutant("a status is not told now and then")
def _status_lost() -> AbstractContextManager[Any]:
    write_changed, told = EventProcessor._write_changed, [0]

    def write_some(self: EventProcessor, state: Any, statuses: list[Pair]) -> None:
        told[0] += 1
        write_changed(self, state, statuses if told[0] % 5 else [])

    return replaced(EventProcessor, "_write_changed", write_some)


# The gateway.


@mutant("a command is acknowledged before the log has it")
def _acknowledged_early() -> AbstractContextManager[Any]:
    async def hand_over(self: Gateway) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            commands, acknowledge = dict(self._commands), self._acknowledge
            self._commands.clear()
            self._acknowledge = []
            for responder, key in acknowledge:
                responder.response_bytes(200, [], key)
            try:
                await self._producer.send(commands)
            except Retriable:
                continue

    return replaced(Gateway, "hand_over", hand_over)


@mutant("who waits too long is never answered")
def _never_answered() -> AbstractContextManager[Any]:
    async def sweep(_: Gateway) -> None:
        await asyncio.get_running_loop().create_future()

    return replaced(Gateway, "sweep", sweep)


@mutant("an id is handed out twice")
def _same_id() -> AbstractContextManager[Any]:
    following, minted = IdMint._next, list[bytes]()

    def sometimes_the_last(self: IdMint) -> bytes:
        minted.append(following(self) if len(minted) % 20 else (minted or [following(self)])[-1])
        return minted[-1]

    return replaced(IdMint, "_next", sometimes_the_last)


@mutant("who waits is told of a reservation that is not decided")
def _told_early() -> AbstractContextManager[Any]:
    def get_reservation(self: Gateway, reservation_id: str, responder: Any) -> None:
        responder.response_bytes(200, [], b'{"reservationId":"' + reservation_id.encode() + b'","state":"PROCESSING"}')

    return replaced(Gateway, "get_reservation", get_reservation)
