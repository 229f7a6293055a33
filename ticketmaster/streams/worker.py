"""A role at work in this process: a group member, and a runner for each partition it owns.

One loop reads all partitions and hands batches to the runners' queues, so that a slow task delays no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator

from ticketmaster.broker.port import NO_CLAIMS, Assignment, Broker, Membership
from ticketmaster.errors import Retriable
from ticketmaster.state.port import StateStore
from ticketmaster.streams.jobs import cancel, finish
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.runner import Lag, TaskRunner
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.topology import Topology
from ticketmaster.telemetry.observer import Observer

OpenStore = Callable[[str, str, int], StateStore]


class StreamWorker:
    """Runs the tasks of one topology that the group assigns to this process."""

    def __init__(
        self,
        topology: Topology,
        broker: Broker,
        open_store: OpenStore,
        settings: StreamSettings,
        observer: Observer,
        membership: Membership = NO_CLAIMS,
    ) -> None:
        """``open_store(application id, store name, partition)`` opens a task's state."""
        self.application_id = topology.application_id
        self.topics = topology.sources
        self._topology = topology
        self._broker = broker
        self._open_store = open_store
        self._settings = settings
        self._observer = observer
        self._membership = membership
        self._pace = Pace(settings.commit_interval_max_ms)
        self._runners: dict[int, TaskRunner] = {}
        self._jobs: dict[int, asyncio.Task[None]] = {}
        # Runners of partitions that went away, on their way out.
        self._closing: dict[int, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] | None = None
        self._generation = -1
        self._assigned = False

    @property
    def ready(self) -> bool:
        """Whether every partition it owns is served."""
        return self._assigned and all(runner.serving for runner in self._runners.values())

    @property
    def partitions(self) -> int:
        """How many partitions it owns."""
        return len(self._runners)

    def lags(self) -> Iterator[Lag]:
        """How far it is behind, by source of each task."""
        for runner in self._runners.values():
            yield from runner.lags()

    async def run(self) -> None:
        """Works until cancelled, then commits and closes; raises what stops the work."""
        self._failed = asyncio.get_running_loop().create_future()
        topology = self._topology
        self._consumer = self._broker.group_consumer(topology.application_id, topology.sources, self, self._membership)
        reading = asyncio.create_task(self._read(), name=f"{topology.application_id}-read")
        try:
            await asyncio.wait({reading, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (reading, self._failed):
                if ended.done():
                    ended.result()
        finally:
            # A signal to stop that comes while it ends of a failure must not keep it from leaving its group.
            await finish(self._end(reading))

    async def _end(self, reading: asyncio.Task[None]) -> None:
        assert self._failed
        await cancel(self._failed, reading)
        self._assigned = False
        for partition in tuple(self._runners):
            self._close(partition)
        # A store that can't be written any more must not keep the others from closing; whoever wrote to it has reported why.
        await asyncio.gather(*self._closing.values(), return_exceptions=True)
        await self._consumer.stop()

    async def _read(self) -> None:
        poll, runners = self._consumer.poll, self._runners
        while True:
            try:
                batches = await poll(self._settings.poll_timeout_ms)
            except Retriable as reason:
                self._observer.reading_failed(self._topology.application_id, str(reason))
                await asyncio.sleep(self._settings.restart_backoff_ms / 1000)
                continue
            for batch in batches:
                runner = runners.get(batch.source.partition)
                if runner:
                    runner.deliver(batch)

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Suspends the runners, each after the commit it has under way: they may come straight back."""
        self._assigned = False
        await asyncio.gather(*(runner.suspend() for runner in self._runners.values()))

    def on_assigned(self, assignment: Assignment) -> None:
        """Goes on with what came straight back, closes what did not, starts what is new."""
        partitions = assignment.partitions
        self._observer.partitions_assigned(self._topology.application_id, sorted(partitions), assignment.generation)
        # With a generation in between, somebody else may have worked on the partition.
        straight_back = assignment.generation == self._generation + 1
        self._generation = assignment.generation
        for partition in tuple(self._runners):
            if not (straight_back and partition in partitions):
                self._close(partition)
        for partition in partitions:
            if partition in self._runners:
                self._runners[partition].resume()
            else:
                self._start(partition)
        self._assigned = True

    def _start(self, partition: int) -> None:
        topology = self._topology
        runner = TaskRunner(
            topology,
            partition,
            self._broker,
            self._consumer,
            lambda: self._open_store(topology.application_id, topology.store, partition),
            self._settings,
            self._observer,
            self._pace,
        )
        self._runners[partition] = runner
        job = asyncio.create_task(self._run(runner, partition), name=f"{topology.application_id}-{partition}")
        job.add_done_callback(self._note_failure)
        self._jobs[partition] = job

    async def _run(self, runner: TaskRunner, partition: int) -> None:
        predecessor = self._closing.get(partition)
        if predecessor:
            # It holds the same store.
            await asyncio.wait([predecessor])
        await runner.run()

    def _close(self, partition: int) -> None:
        runner, job = self._runners.pop(partition), self._jobs.pop(partition)
        earlier = self._closing.get(partition)

        async def close() -> None:
            if earlier:
                await asyncio.wait([earlier])
            await runner.stop(job)

        closing = self._closing[partition] = asyncio.create_task(close(), name=f"{self._topology.application_id}-{partition}-close")
        closing.add_done_callback(lambda done: self._closed(partition, done))

    def _closed(self, partition: int, closing: asyncio.Task[None]) -> None:
        if self._closing.get(partition) is closing:
            del self._closing[partition]
        self._note_failure(closing)

    def _note_failure(self, job: asyncio.Task[None]) -> None:
        if not job.cancelled() and (failure := job.exception()) and self._failed and not self._failed.done():
            self._failed.set_exception(failure)
