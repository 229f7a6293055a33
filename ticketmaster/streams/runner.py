"""Runs one task: takes the partition over, then commits one transaction after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ticketmaster.broker.port import Batch, Broker, Consumer, TopicPartition
from ticketmaster.errors import Retriable, TaskCorrupted, TaskMigrated
from ticketmaster.state.overlay import Overlay
from ticketmaster.state.port import StateStore
from ticketmaster.streams.restoration import restore
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.task import Task, TaskState
from ticketmaster.streams.topology import Topology
from ticketmaster.telemetry.observer import Observer


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
    ) -> None:
        self.task = Task(topology, partition)
        self._topology = topology
        self._name = f"{topology.application_id}-{partition}"
        self._broker = broker
        self._consumer = consumer
        self._open_store = open_store
        self._settings = settings
        self._observer = observer
        self._wake = asyncio.Event()
        # Where each paused source goes on.
        self._paused: dict[TopicPartition, int] = {}
        self._corrupted = False
        self._written_at = 0.0
        # Held while a commit is under way: who closes the task waits for it.
        self._committing = asyncio.Lock()

    def deliver(self, batch: Batch) -> None:
        """Queues what was fetched; past the limit the partition delivers nothing until the queue is worked off."""
        if self.task.state is not TaskState.RUNNING:
            return
        self.task.queue(batch)
        self._wake.set()
        if self.task.queued_records > self._settings.queued_records_max:
            self._paused[batch.source] = batch.next_offset
            self._consumer.pause(batch.source)

    async def run(self) -> None:
        """Works until the task is taken over by another process. Fatal errors end the process's work."""
        while True:
            try:
                await self._take_over()
                await self._work()
            except TaskMigrated as reason:
                self._observer.task_migrated(self._name, str(reason))
                self._close()
                return
            except (Retriable, TaskCorrupted) as reason:
                # Whatever the producer and the open transaction were, they are thrown away; the log says where to go on.
                self._observer.task_restarted(self._name, str(reason))
                self._corrupted = isinstance(reason, TaskCorrupted)
                self._release(write_behind=not self._corrupted)
                self.task.move_to(TaskState.FENCING)
                await asyncio.sleep(self._settings.restart_backoff_ms / 1000)

    async def _take_over(self) -> None:
        task = self.task
        task.move_to(TaskState.FENCING)
        self._producer = self._broker.transactional_producer(self._name)
        await self._producer.start()
        offsets = {source: await self._broker.committed(self._topology.application_id, source) for source in task.sources}
        task.move_to(TaskState.RESTORING)
        store = self._open_store()
        try:
            if self._corrupted:
                store.clear()
                self._corrupted = False
            restored = await restore(self._broker, task.changelog, store)
            overlay = Overlay(store)
        except BaseException:
            store.close()
            raise
        task.start(overlay)
        self._observer.task_restored(self._name, restored)
        self._paused.clear()
        for source, offset in offsets.items():
            self._consumer.seek(source, offset or 0)

    async def _work(self) -> None:
        task, settings, group = self.task, self._settings, self._topology.application_id
        while True:
            await self._wake.wait()
            plan = task.decide(settings.transaction_records_max)
            if not task.queued_records:
                self._wake.clear()
                self._resume()
            if plan.offsets:
                async with self._committing:
                    task.committed(await self._producer.commit(plan.outputs, plan.offsets, group))
                self._write_behind_if_due()

    def _resume(self) -> None:
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

    async def stop(self, job: asyncio.Task[None]) -> None:
        """Awaits the commit under way, then closes."""
        async with self._committing:
            job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        self._close()

    def _close(self) -> None:
        if self.task.state is not TaskState.CLOSED:
            self._release(write_behind=True)
            self.task.move_to(TaskState.CLOSED)

    def _release(self, *, write_behind: bool) -> None:
        if self.task.state is TaskState.RUNNING:
            self.task.drop_queue()
            self._wake.clear()
            self.task.overlay.close(write_behind=write_behind)
