"""Runs one task: takes the partition over, then commits one transaction after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ticketmaster.broker.port import Batch, Broker, Consumer, TopicPartition, TransactionalProducer
from ticketmaster.errors import Retriable, TaskCorrupted, TaskMigrated
from ticketmaster.state.overlay import Overlay
from ticketmaster.state.port import StateStore
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.restoration import restore
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.task import Task, TaskState
from ticketmaster.streams.topology import CommitPlan, Topology
from ticketmaster.telemetry.observer import Observer
from ticketmaster.telemetry.tracing import NOT_TRACED, Kind, Span


class Lag(NamedTuple):
    """How many records of a partition are not worked off, and since when the oldest one that was fetched waits; None: none does."""

    source: TopicPartition
    records: int
    oldest_ms: int | None


class TaskRunner:
    """The asynchronous half of a task."""

    def __init__(
        self,
        topology: Topology,
        partition: int,
        broker: Broker,
        consumer: Consumer,
        open_store: Callable[[], StateStore],
        settings: StreamSettings,
        observer: Observer,
        pace: Pace,
    ) -> None:
        self.task = Task(topology, partition, observer.tracer)
        self._topology = topology
        self._name = f"{topology.application_id}-{partition}"
        self._broker = broker
        self._consumer = consumer
        self._open_store = open_store
        self._settings = settings
        self._observer = observer
        self._pace = pace
        self._producer: TransactionalProducer | None = None
        self._wake = asyncio.Event()
        # Cleared while the partition may be another member's: nothing is begun then.
        self._assigned = asyncio.Event()
        self._assigned.set()
        # Where each source goes on, behind what is committed; and where those go on that the queue's limit has paused.
        self._positions: dict[TopicPartition, int] = {}
        self._paused: dict[TopicPartition, int] = {}
        self._corrupted = False
        self._written_at = 0.0
        # Held while a commit is under way: who suspends or closes the task waits for it.
        self._committing = asyncio.Lock()

    @property
    def serving(self) -> bool:
        """Whether records of the partition are worked on."""
        return self.task.state is TaskState.RUNNING and self._assigned.is_set()

    def deliver(self, batch: Batch) -> None:
        """Queues what was fetched; past the limit the partition delivers nothing until the queue is worked off."""
        if not self.serving:
            return
        self.task.queue(batch)
        self._wake.set()
        if self.task.queued_records > self._settings.queued_records_max:
            self._paused[batch.source] = batch.next_offset
            self._consumer.pause(batch.source)

    async def run(self) -> None:
        """Works until cancelled. Fatal errors end the process's work."""
        settings = self._settings
        while True:
            try:
                await self._assigned.wait()
                await self._take_over()
                await self._work()
            except TaskMigrated as reason:
                # Most likely another member owns the partition by now, and the group is about to tell. If it does not, it is ours.
                self._observer.task_migrated(self._name, str(reason))
                self._release(write_behind=True)
                self.task.move_to(TaskState.FENCING)
                await asyncio.sleep(settings.migrated_backoff_ms / 1000)
            except (Retriable, TaskCorrupted) as reason:
                # Whatever the producer and the open transaction were, they are thrown away; the log says where to go on.
                self._observer.task_restarted(self._name, str(reason))
                self._corrupted = isinstance(reason, TaskCorrupted)
                self._release(write_behind=not self._corrupted)
                self.task.move_to(TaskState.FENCING)
                await asyncio.sleep(settings.restart_backoff_ms / 1000)

    async def _take_over(self) -> None:
        # Fence, offsets, restore, seek, in this order: whatever a predecessor can still commit is seen by the steps behind the fence.
        task = self.task
        task.move_to(TaskState.FENCING)
        if self._producer:
            await self._producer.stop()
        self._producer = self._broker.transactional_producer(self._name)
        await self._producer.start()
        offsets = await self._producer.committed(self._topology.application_id, task.sources)
        task.move_to(TaskState.RESTORING)
        store = self._open_store()
        try:
            if self._corrupted:
                store.clear()
                self._corrupted = False
            restored = await restore(self._broker, task.changelog, store, self._name, self._observer)
            overlay = Overlay(store)
        except BaseException:
            store.close()
            raise
        task.start(overlay)
        self._observer.task_restored(self._name, restored)
        self._positions = {source: offsets.get(source, 0) for source in task.sources}
        if self._assigned.is_set():
            self._seek()

    def _seek(self) -> None:
        self._paused.clear()
        for source, offset in self._positions.items():
            self._consumer.seek(source, offset)

    async def _work(self) -> None:
        task, settings, group, loop = self.task, self._settings, self._topology.application_id, asyncio.get_running_loop()
        assert self._producer is not None
        commit = self._producer.commit
        while True:
            await self._wake.wait()
            queued = task.queued_records
            plan = task.decide(settings.transaction_records_max)
            self._pace.note(queued - task.queued_records, loop.time())
            if plan.dead_letters:
                self._observer.dead_letters(self._name, plan.dead_letters)
            if not task.queued_records:
                self._wake.clear()
                self._resume_paused()
            if not plan.offsets:
                continue
            async with self._committing:
                began, records = loop.time(), task.in_plan
                with self._span(plan, records):
                    ends = await commit(plan.outputs, plan.offsets, group, plan.outputs.headers)
                task.committed(ends)
                self._positions.update(plan.offsets)
            self._observer.transaction_committed(group, records, plan.outputs.outcomes, loop.time() - began)
            self._write_behind_if_due()
            # Not while more waits than one transaction takes.
            if task.queued_records < settings.transaction_records_max and (rest_s := self._pace.rest_s(loop.time())):
                await asyncio.sleep(rest_s)

    def _span(self, plan: CommitPlan, records: Mapping[str, int]) -> Span:
        """The transaction's own span, where it serves traced records: a child of the first one's, linked to those of all others."""
        if not plan.spans:
            return NOT_TRACED
        first, *others = (span.headers for span in plan.spans)
        attributes: dict[str, str | int] = {"ticketmaster.task": self._name, "messaging.batch.message_count": sum(records.values())}
        return self._observer.tracer.start(f"transaction {self._name.partition('-')[0]}", Kind.PRODUCER, first, attributes, others)

    def _resume_paused(self) -> None:
        while self._paused:
            self._consumer.seek(*self._paused.popitem())

    def _write_behind_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        settings = self._settings
        if (
            self.task.overlay.unwritten >= settings.write_behind_records
            or now - self._written_at >= settings.write_behind_interval_ms / 1000
        ):
            self.task.overlay.write_behind()
            self._written_at = now

    def lags(self) -> Iterator[Lag]:
        """How far each source is behind its log, while the partition is served: before that nobody here knows."""
        if not self.serving:
            return
        undone = self.task.undone
        for source in self.task.sources:
            records, oldest_ms = undone.get(source, (0, None))
            yield Lag(source, records + self._consumer.behind(source), oldest_ms)

    async def suspend(self) -> None:
        """Begins no more transactions; returns when the one under way has ended."""
        self._assigned.clear()
        if self.task.state is TaskState.RUNNING:
            self.task.drop_queue()
        self._wake.clear()
        self._paused.clear()
        async with self._committing:
            pass

    def resume(self) -> None:
        """The partition has come straight back: goes on behind what it has committed, with its state and its producer."""
        self._assigned.set()
        if self.task.state is TaskState.RUNNING:
            self._seek()

    async def stop(self, job: asyncio.Task[None]) -> None:
        """Awaits the commit under way, then closes."""
        async with self._committing:
            job.cancel()
        await cancel(job)
        if self.task.state is not TaskState.CLOSED:
            self._release(write_behind=True)
            self.task.move_to(TaskState.CLOSED)
        if self._producer:
            await self._producer.stop()

    def _release(self, *, write_behind: bool) -> None:
        if self.task.state is TaskState.RUNNING:
            self.task.drop_queue()
            self._wake.clear()
            self.task.overlay.close(write_behind=write_behind)
