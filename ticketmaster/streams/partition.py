"""The work on one partition that a member of a group owns: opened, done, given up and begun anew, always in the same order."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ticketmaster.broker.port import Batch, Broker, Consumer, TopicPartition
from ticketmaster.errors import Fatal, Refused, Retriable, TaskCorrupted, TaskMigrated, TicketmasterError
from ticketmaster.state.overlay import Overlays
from ticketmaster.state.port import StateStores
from ticketmaster.streams.following import Following
from ticketmaster.streams.jobs import cancel, take_steps
from ticketmaster.streams.lifecycle import Lifecycle, PartitionState
from ticketmaster.streams.restoration import Suspended, restore
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.telemetry.observer import Observer

# So long the commit under way is waited for at the end.
_COMMIT_S = 2.0


class Lag(NamedTuple):
    """How many records of a partition are not worked off, and since when the oldest one that was fetched waits; None: none does."""

    source: TopicPartition
    records: int
    oldest_ms: int | None


class Surroundings(NamedTuple):
    """What all partitions of a member have in common."""

    application_id: str
    broker: Broker
    consumer: Consumer
    settings: StreamSettings
    observer: Observer
    on_opened: Callable[[], None]
    """Called when a partition has opened its stores."""


class PartitionWork(ABC):
    """The asynchronous side of one partition. What is done with it is its subclasses' business, when it is done is not."""

    def __init__(
        self, around: Surroundings, partition: int, changelogs: Mapping[str, TopicPartition], open_stores: Callable[[], StateStores]
    ) -> None:
        """``changelogs`` by the names of the stores."""
        self.name = f"{around.application_id}-{partition}"
        self.overlays: Overlays | None = None
        self._lifecycle = Lifecycle(f"partition {self.name}")
        self._broker = around.broker
        self._consumer = around.consumer
        self._settings = around.settings
        self._observer = around.observer
        self._following = Following(around.consumer, around.application_id, around.observer)
        self._on_opened = around.on_opened
        self._changelogs = changelogs
        self._open_stores = open_stores
        # Cleared while the partition may be another member's: nothing is begun then.
        self._assigned = asyncio.Event()
        self._assigned.set()
        self._wake = asyncio.Event()
        # What was found wrong with the stores, other than by the work itself.
        self._found: TaskCorrupted | None = None
        self._is_corrupted = False
        self._failures = 0
        self._written_at = 0.0
        # Held while a commit is under way: suspending and closing wait for it.
        self._committing = asyncio.Lock()

    @property
    def state(self) -> PartitionState:
        """Where the work stands."""
        return self._lifecycle.state

    @property
    def serving(self) -> bool:
        """Whether records of the partition are worked on."""
        return self.state is PartitionState.RUNNING and self._assigned.is_set()

    @property
    def in_trouble(self) -> bool:
        """Whether it does not serve since something failed; it may also not serve yet, or be suspended."""
        return self._failures > 0 and not self.serving

    # What subclasses do.

    @abstractmethod
    def deliver(self, batch: Batch) -> None:
        """Takes what was fetched, or drops it: it does not follow."""

    @abstractmethod
    def lags(self) -> Iterator[Lag]:
        """How far each source is behind its log."""

    @abstractmethod
    def outlives(self, *, straight_back: bool) -> bool:
        """Whether the work goes on after a rebalance; ``straight_back``: no generation of the group was without this owner."""

    @abstractmethod
    async def _fence(self) -> Mapping[TopicPartition, int]:
        """Whatever must be done before the changelogs are read; returns ends before which none of them ends."""

    @abstractmethod
    async def _look_over(self, overlays: Overlays) -> None:
        """The stores are restored: whether the work may begin. Fatal: what they hold forbids it."""

    @abstractmethod
    def _begin(self, overlays: Overlays) -> None:
        """Begins to run."""

    @abstractmethod
    def _seek(self) -> None:
        """Asks for records from where the work stands."""

    @abstractmethod
    async def _work(self) -> None:
        """Works until cancelled or failed."""

    @abstractmethod
    def _drop(self) -> None:
        """Forgets what was taken and is not worked off."""

    @abstractmethod
    async def _end(self) -> None:
        """Releases what is held, other than the stores."""

    @abstractmethod
    def _note_failure(self, reason: TicketmasterError) -> None:
        """The work has failed and will begin anew."""

    # When it is done.

    async def run(self) -> None:
        """Works until cancelled. Fatal errors end the process's work."""
        settings = self._settings
        while True:
            try:
                await self._assigned.wait()
                await self._take_over()
                await self._work()
            except Suspended:
                await self._release(PartitionState.FENCING, write_behind=True)
            except TaskMigrated as reason:
                # Most likely another member owns the partition by now, and the group is about to tell. If it does not, it is ours.
                self._observer.task_migrated(self.name, str(reason))
                await self._release(PartitionState.FENCING, write_behind=True)
                await asyncio.sleep(settings.migrated_backoff_ms / 1000)
            except (Retriable, Refused, TaskCorrupted) as reason:
                # Whatever the open transaction was, it is thrown away; the log says where to go on.
                self._observer.task_restarted(self.name, str(reason))
                if isinstance(reason, TaskCorrupted):
                    self._is_corrupted = True
                else:
                    self._note_failure(reason)
                await self._release(PartitionState.FENCING, write_behind=not self._is_corrupted)
                await asyncio.sleep(self._backoff_s())

    def _backoff_s(self) -> float:
        """What fails again and again is tried ever more rarely; :attr:`_failures` are since the last success."""
        self._failures += 1
        backoff_ms = self._settings.restart_backoff_ms << min(self._failures - 1, 10)
        return min(backoff_ms, self._settings.restart_backoff_max_ms) / 1000

    async def _take_over(self) -> None:
        # Fence, restore, run, in this order: whatever a predecessor can still commit is seen by the steps behind the fence.
        self._lifecycle.move_to(PartitionState.FENCING)
        ends = await self._fence()
        self._check_assigned()
        self._lifecycle.move_to(PartitionState.RESTORING)
        stores = self._open_stores()
        try:
            if self._is_corrupted:
                stores.clear()
                self._is_corrupted = False
            restored = await restore(self._broker, self._changelogs, stores, self.name, self._observer, self._assigned.is_set, ends)
            overlays = Overlays(stores, tuple(self._changelogs))
            await self._look_over(overlays)
            self._check_assigned()
            self._begin(overlays)
        except BaseException:
            stores.close()
            raise
        self.overlays, self._found = overlays, None
        self._lifecycle.move_to(PartitionState.RUNNING)
        self._observer.task_restored(self.name, restored)
        self._on_opened()
        self._seek()

    def _check_assigned(self) -> None:
        """Suspended: another member may have the partition by now, and must not be disturbed."""
        if not self._assigned.is_set():
            raise Suspended

    def check_stores(self, rows_max: int) -> bool:
        """Looks at the next rows of the stores; False when all have been looked at. Damage ends the work, which begins anew."""
        if self.overlays is None:
            return False
        try:
            return self.overlays.check(rows_max)
        except TaskCorrupted as found:
            self.corrupt(found)
            return False

    def corrupt(self, found: TaskCorrupted) -> None:
        """The stores can't be trusted: they are cleared and restored."""
        self._found = found
        self._wake.set()

    def _takes(self, batch: Batch) -> bool:
        """Whether a batch follows what was taken."""
        if self._following.takes(batch):
            return True
        if self._following.gap:
            self._wake.set()
        return False

    def _raise_found(self) -> None:
        """What was found wrong meanwhile ends the work, which begins anew."""
        if self._found:
            raise self._found
        if self._following.gap:
            raise Retriable(self._following.gap)

    async def _write_behind_if_due(self) -> None:
        now, settings, overlays = asyncio.get_running_loop().time(), self._settings, self.overlays
        assert overlays is not None
        if overlays.unwritten >= settings.write_behind_records or now - self._written_at >= settings.write_behind_interval_ms / 1000:
            await self._until_durable(overlays.positions)
            await take_steps(overlays.writing_behind())
            self._written_at = now
            self._failures = 0

    async def _until_durable(self, positions: Mapping[str, int]) -> None:
        """The changelogs are durable up to these positions, by the names of the stores: a store may never be ahead of its log."""
        await self._broker.until_durable({self._changelogs[name]: position for name, position in positions.items()})

    async def suspend(self) -> None:
        """Begins nothing more; returns when the commit under way has ended."""
        self._assigned.clear()
        self._following.forget()
        self._drop()
        async with self._committing:
            pass

    def resume(self) -> None:
        """The partition has come back: goes on behind what it has committed."""
        self._assigned.set()
        if self.state is PartitionState.RUNNING:
            self._seek()

    async def stop(self, job: asyncio.Task[None]) -> None:
        """Awaits the commit under way, but no broker that does not answer; then closes everything, whatever fails meanwhile."""
        # A commit that is given up may have happened or not: whoever comes next asks the log.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMMIT_S), self._committing:
                job.cancel()
        await cancel(job)
        try:
            if self.state is not PartitionState.CLOSED:
                await self._release(PartitionState.CLOSED, write_behind=True)
        finally:
            await self._end()

    async def _release(self, state: PartitionState, *, write_behind: bool) -> None:
        """Serves nothing from now on, and lets go of the stores. The log has it all: no trouble of theirs is anybody else's.

        ``write_behind``: what is committed is written to them before, as they can be trusted.
        """
        self._following.forget()
        self._drop()
        self._lifecycle.move_to(state)
        overlays, self.overlays = self.overlays, None
        if overlays is None:
            return
        try:
            if write_behind:
                async with asyncio.timeout(_COMMIT_S):
                    await self._until_durable(overlays.positions)
                await take_steps(overlays.writing_all())
        except TimeoutError:
            self._observer.state_not_written(self.name, f"the log was not durable within {_COMMIT_S:.0f} s")
        except TaskCorrupted as reason:
            self._is_corrupted = True
            self._observer.state_not_written(self.name, str(reason))
        except Fatal as reason:
            self._observer.state_not_written(self.name, str(reason))
        finally:
            overlays.close()
