"""A member of a consumer group: the work on each partition that it owns, in this process.

One loop reads all partitions and hands batches to their work, so that a slow one delays no other.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Generic, TypeVar

from ticketmaster.broker.port import NO_CLAIMS, Assignment, Broker, Membership
from ticketmaster.errors import Retriable
from ticketmaster.streams.jobs import cancel, finish
from ticketmaster.streams.partition import Lag, PartitionWork, Surroundings
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.telemetry.observer import Observer

W = TypeVar("W", bound=PartitionWork)


def _nothing(_: Assignment) -> None:
    """Nobody asks who owns what."""


class Member(Generic[W]):
    """Runs the work on those partitions that the group assigns to this process."""

    def __init__(
        self,
        application_id: str,
        topics: Collection[str],
        broker: Broker,
        settings: StreamSettings,
        observer: Observer,
        new_work: Callable[[Surroundings, int], W],
        *,
        ahead: bool = False,
    ) -> None:
        """``ahead``: as of :meth:`Broker.group_consumer`."""
        self._application_id = application_id
        self._topics = topics
        self._broker = broker
        self._settings = settings
        self._observer = observer
        self._new_work = new_work
        self._ahead = ahead
        self._works: dict[int, W] = {}
        self._jobs: dict[int, asyncio.Task[None]] = {}
        # Of partitions that went away, on their way out.
        self._closing: dict[int, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] | None = None
        # Set when there are stores that have not been looked at.
        self._opened = asyncio.Event()
        self._generation = -1
        self._is_assigned = False
        self._is_ending = False
        # On the loop's clock; never yet.
        self._revoked_at = -math.inf
        self._on_assigned: Callable[[Assignment], None] = _nothing

    @property
    def works(self) -> Mapping[int, W]:
        """The work on each partition that it owns."""
        return self._works

    @property
    def ready(self) -> bool:
        """Whether every partition it owns is served."""
        return self._is_assigned and all(work.serving for work in self._works.values())

    @property
    def rebalancing(self) -> bool:
        """Whether nothing but a rebalance keeps it from being ready: one that is under way, or partitions that the last one has brought.

        One that takes too long is none: a member that is cut off from the brokers waits for it without end.
        """
        if self._is_assigned:
            return not any(work.in_trouble for work in self._works.values())
        return asyncio.get_running_loop().time() - self._revoked_at < self._settings.rebalance_max_ms / 1000

    def lags(self) -> Iterator[Lag]:
        """How far it is behind, by source of each partition."""
        for work in self._works.values():
            yield from work.lags()

    async def run(self, membership: Membership = NO_CLAIMS, on_assigned: Callable[[Assignment], None] = _nothing) -> None:
        """Works until cancelled, then commits and closes; raises what stops the work. ``on_assigned`` is told who owns what."""
        self._on_assigned = on_assigned
        self._failed = asyncio.get_running_loop().create_future()
        consumer = self._broker.group_consumer(self._application_id, self._topics, self, membership, ahead=self._ahead)
        self._consumer = consumer
        self._around = Surroundings(self._application_id, self._broker, consumer, self._settings, self._observer, self._opened.set)
        reading = asyncio.create_task(self._read(), name=f"{self._application_id}-read")
        checking = asyncio.create_task(self._check_stores(), name=f"{self._application_id}-check")
        try:
            await asyncio.wait({reading, checking, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (reading, checking, self._failed):
                if ended.done():
                    ended.result()
        finally:
            # A signal to stop that comes while it ends of a failure must not keep it from leaving its group.
            await finish(self._end(reading, checking))

    async def _end(self, *jobs: asyncio.Task[None]) -> None:
        assert self._failed
        self._is_ending = True
        await cancel(self._failed, *jobs)
        self._is_assigned, self._revoked_at = False, -math.inf
        for partition in tuple(self._works):
            self._close(partition)
        # What goes wrong with one partition must not keep the others from closing, nor this member in its group.
        await asyncio.gather(*self._closing.values(), return_exceptions=True)
        await self._consumer.stop()

    async def _read(self) -> None:
        poll, works = self._consumer.poll, self._works
        while True:
            try:
                batches = await poll(self._settings.poll_timeout_ms)
            except Retriable as reason:
                self._observer.reading_failed(self._application_id, str(reason))
                await asyncio.sleep(self._settings.restart_backoff_ms / 1000)
                continue
            for batch in batches:
                if work := works.get(batch.source.partition):
                    work.deliver(batch)

    async def _check_stores(self) -> None:
        """Looks through the stores that were opened, a little at a time: to read them when they are opened would take seconds."""
        settings = self._settings
        while True:
            await asyncio.sleep(settings.check_rest_ms / 1000)
            if not any(work.check_stores(settings.check_rows_max) for work in self._works.values()):
                await self._opened.wait()
                self._opened.clear()

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Suspends the work, each after the commit it has under way: it may come straight back."""
        if self._is_assigned:
            self._revoked_at = asyncio.get_running_loop().time()
        self._is_assigned = False
        await asyncio.gather(*(work.suspend() for work in self._works.values()))

    def on_assigned(self, assignment: Assignment) -> None:
        """Goes on with what came back, closes what did not, starts what is new."""
        if self._is_ending:
            # It was joining when it was told to stop, and leaves at once: nobody would close what is started now.
            return
        partitions = assignment.partitions
        self._observer.partitions_assigned(self._application_id, sorted(partitions), assignment.generation)
        straight_back = assignment.generation == self._generation + 1
        self._generation = assignment.generation
        for partition, work in tuple(self._works.items()):
            if partition not in partitions or not work.outlives(straight_back=straight_back):
                self._close(partition)
        for partition in partitions:
            if partition in self._works:
                self._works[partition].resume()
            else:
                self._start(partition)
        self._is_assigned = True
        self._on_assigned(assignment)

    def _start(self, partition: int) -> None:
        work = self._works[partition] = self._new_work(self._around, partition)
        job = asyncio.create_task(self._run(work, partition), name=work.name)
        job.add_done_callback(self._note_failure)
        self._jobs[partition] = job

    async def _run(self, work: W, partition: int) -> None:
        predecessor = self._closing.get(partition)
        if predecessor:
            # It holds the same stores.
            await asyncio.wait([predecessor])
        await work.run()

    def _close(self, partition: int) -> None:
        work, job = self._works.pop(partition), self._jobs.pop(partition)
        earlier = self._closing.get(partition)

        async def close() -> None:
            if earlier:
                await asyncio.wait([earlier])
            await work.stop(job)

        closing = self._closing[partition] = asyncio.create_task(close(), name=f"{work.name}-close")
        closing.add_done_callback(lambda done: self._closed(partition, done))

    def _closed(self, partition: int, closing: asyncio.Task[None]) -> None:
        if self._closing.get(partition) is closing:
            del self._closing[partition]
        self._note_failure(closing)

    def _note_failure(self, job: asyncio.Task[None]) -> None:
        if not job.cancelled() and (failure := job.exception()) and self._failed and not self._failed.done():
            self._failed.set_exception(failure)
