"""A role at work in this process: a group member, and a runner for each partition it owns.

One loop reads all partitions and hands batches to the runners' queues, so that a slow task delays no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from ticketmaster.broker.port import Broker
from ticketmaster.state.port import StateStore
from ticketmaster.streams.runner import TaskRunner
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.task import TaskState
from ticketmaster.streams.topology import Topology
from ticketmaster.telemetry.observer import Observer

OpenStore = Callable[[str, str, int], StateStore]


class StreamWorker:
    """Runs the tasks of one topology that the group assigns to this process."""

    def __init__(self, topology: Topology, broker: Broker, open_store: OpenStore, settings: StreamSettings, observer: Observer) -> None:
        """``open_store(application id, store name, partition)`` opens a task's state."""
        self._topology = topology
        self._broker = broker
        self._open_store = open_store
        self._settings = settings
        self._observer = observer
        self._runners: dict[int, TaskRunner] = {}
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] | None = None
        self._assigned = False

    @property
    def ready(self) -> bool:
        """Whether every partition it owns is served."""
        return self._assigned and all(runner.task.state is TaskState.RUNNING for runner in self._runners.values())

    async def run(self) -> None:
        """Works until cancelled, then commits and closes; raises what stops the work."""
        self._failed = asyncio.get_running_loop().create_future()
        self._consumer = self._broker.group_consumer(self._topology.application_id, self._topology.sources, self)
        reading = asyncio.create_task(self._read(), name=f"{self._topology.application_id}-read")
        try:
            await asyncio.wait({reading, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (reading, self._failed):
                if ended.done():
                    ended.result()
        finally:
            self._failed.cancel()
            reading.cancel()
            await asyncio.gather(reading, self._failed, return_exceptions=True)
            await self.on_revoked(tuple(self._runners))
            await self._consumer.stop()

    async def _read(self) -> None:
        poll, runners = self._consumer.poll, self._runners
        while True:
            for batch in await poll(self._settings.poll_timeout_ms):
                runner = runners.get(batch.source.partition)
                if runner:
                    runner.deliver(batch)

    def on_assigned(self, partitions: Collection[int], generation: int) -> None:
        """Starts a runner for each partition."""
        self._observer.partitions_assigned(self._topology.application_id, sorted(partitions), generation)
        for partition in partitions:
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
        )
        self._runners[partition] = runner
        job = asyncio.create_task(runner.run(), name=f"{topology.application_id}-{partition}")
        job.add_done_callback(self._note_failure)
        self._jobs[partition] = job

    def _note_failure(self, job: asyncio.Task[None]) -> None:
        if not job.cancelled() and (failure := job.exception()) and self._failed and not self._failed.done():
            self._failed.set_exception(failure)

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Closes the runners, each after the commit it has under way."""
        self._assigned = False
        stopping = [self._runners[partition].stop(self._jobs[partition]) for partition in partitions]
        # A store that can't be written any more must not keep the others from closing; whoever wrote to it has reported why.
        await asyncio.gather(*stopping, return_exceptions=True)
        # Not before: if this is cancelled, :meth:`run` still finds what it has to stop.
        for partition in partitions:
            del self._runners[partition], self._jobs[partition]
