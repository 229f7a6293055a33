"""Tables: the last value of each key of a compacted topic, followed as it grows.

Of an :class:`OwnedTable` each partition lives in one process, which keeps it in a store; a :class:`GlobalTable` is followed whole
by every process, which keeps of it what it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial

from ticketmaster.broker.port import NO_CLAIMS, Assignment, Broker, Membership, Pair, PlacedHeaders, TopicPartition, partitions_of
from ticketmaster.errors import Fatal, Retriable, TaskCorrupted
from ticketmaster.state.overlay import Overlay
from ticketmaster.streams.jobs import cancel, finish
from ticketmaster.streams.restoration import restore
from ticketmaster.streams.runner import Lag
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.worker import OpenStore
from ticketmaster.telemetry.observer import DeadLetter, Observer

# So many records in one poll are not what came since the last one.
_MANY = 5_000
# Records that can be looked up from now on, with the headers of those that have any.
OnRecords = Callable[[Sequence[Pair], PlacedHeaders], None]
# Where in a batch a record stands that can't be read, and why.
Unreadable = tuple[int, str]


class GlobalTable:
    """Every partition of a topic, from the log's start on.

    ``apply`` is given the records in order, and returns those that it could not read; they are told to the observer and left alone,
    because every process would put them aside again at each start.
    """

    def __init__(
        self,
        broker: Broker,
        topic: str,
        partitions: int,
        apply: Callable[[Sequence[Pair]], Sequence[Unreadable]],
        settings: StreamSettings,
        observer: Observer,
        *,
        rest: bool = False,
    ) -> None:
        """``rest``: nobody waits for what it has, so that records may gather before they are fetched."""
        self._broker = broker
        self._topic = topic
        self._observer = observer
        self._sources = partitions_of(topic, partitions)
        self._apply = apply
        self._settings = settings
        self._rest_s = settings.table_rest_ms / 1000 if rest else 0.0
        self._behind: dict[TopicPartition, int] | None = None

    @property
    def ready(self) -> bool:
        """Whether it has all that was there when it began."""
        return self._behind is not None and not self._behind

    async def run(self) -> None:
        """Follows the topic until cancelled."""
        behind = self._behind = await self._ends()
        reader = self._broker.reader(dict.fromkeys(self._sources, 0))
        try:
            while True:
                try:
                    batches = await reader.poll(self._settings.poll_timeout_ms)
                except Retriable as reason:
                    await self._back_off(reason)
                    continue
                for batch in batches:
                    if batch.records and (unreadable := self._apply(batch.records)):
                        source, offsets = batch.source, batch.offsets
                        letters = [DeadLetter(*source, offsets[at], reason) for at, reason in unreadable]
                        self._observer.dead_letters(self._topic, letters)
                    if behind and batch.next_offset >= behind.get(batch.source, batch.next_offset + 1):
                        del behind[batch.source]
                # Not while it is far behind.
                if self._rest_s and batches and not behind and sum(len(batch.records) for batch in batches) < _MANY:
                    await asyncio.sleep(self._rest_s)
        finally:
            await reader.stop()

    async def _ends(self) -> dict[TopicPartition, int]:
        """Where the partitions that have something end now; retention may have left nothing, with an end above 0."""
        while True:
            try:
                starts, ends = await self._broker.start_offsets(self._sources), await self._broker.end_offsets(self._sources)
            except Retriable as reason:
                await self._back_off(reason)
            else:
                return {source: end for source, end in ends.items() if end > starts[source]}

    async def _back_off(self, reason: Retriable) -> None:
        self._observer.reading_failed(self._topic, str(reason))
        await asyncio.sleep(self._settings.restart_backoff_ms / 1000)


class OwnedTable:
    """The partitions of a compacted topic that the group assigns to this process, each with a store."""

    def __init__(
        self,
        application_id: str,
        topic: str,
        store: str,
        broker: Broker,
        open_store: OpenStore,
        settings: StreamSettings,
        observer: Observer,
    ) -> None:
        self.application_id = application_id
        self.topics = (topic,)
        self._topic = topic
        self._store = store
        self._broker = broker
        self._open_store = open_store
        self._settings = settings
        self._observer = observer
        self._overlays: dict[int, Overlay] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] | None = None
        self._written_at = 0.0
        self.assignment: Assignment | None = None

    @property
    def ready(self) -> bool:
        """Whether every partition it owns can be looked up."""
        return self.assignment is not None and not self._opening

    @property
    def partitions(self) -> int:
        """How many partitions it owns."""
        return len(self.assignment.partitions) if self.assignment else 0

    def lags(self) -> Iterator[Lag]:
        """How far it is behind, by partition."""
        for partition in self._overlays:
            source = TopicPartition(self._topic, partition)
            yield Lag(source, self._consumer.behind(source), None)

    def get(self, partition: int, key: bytes) -> bytes | None:
        """The value of a key of an owned partition; None: it has none, or the partition is not owned, or not open (yet)."""
        overlay = self._overlays.get(partition)
        if overlay is None:
            return None
        try:
            return overlay.get(key)
        except TaskCorrupted as reason:
            self._rebuild(partition, reason)
            return None

    async def run(
        self,
        on_records: OnRecords,
        on_opened: Callable[[], None],
        on_assigned: Callable[[Assignment], None] | None = None,
        membership: Membership = NO_CLAIMS,
    ) -> None:
        """Follows the owned partitions until cancelled, then closes them.

        ``on_records`` sees records as soon as they can be looked up; ``on_opened`` is told when many can be at once that it did not
        see, because a partition was opened. ``on_assigned`` is told who owns what.
        """
        self._on_opened, self._on_assigned = on_opened, on_assigned
        self._failed = asyncio.get_running_loop().create_future()
        self._consumer = self._broker.group_consumer(self.application_id, (self._topic,), self, membership)
        reading = asyncio.create_task(self._read(on_records), name=f"{self.application_id}-read")
        try:
            await asyncio.wait({reading, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (reading, self._failed):
                if ended.done():
                    ended.result()
        finally:
            await finish(self._end(reading))

    async def _end(self, reading: asyncio.Task[None]) -> None:
        assert self._failed
        await cancel(self._failed, reading)
        await self.on_revoked(())
        for partition in tuple(self._overlays):
            self._close(partition)
        await self._consumer.stop()

    async def _read(self, on_records: OnRecords) -> None:
        while True:
            try:
                batches = await self._consumer.poll(self._settings.poll_timeout_ms)
            except Retriable as reason:
                self._observer.reading_failed(self.application_id, str(reason))
                await asyncio.sleep(self._settings.restart_backoff_ms / 1000)
                continue
            for batch in batches:
                overlay = self._overlays.get(batch.source.partition)
                if overlay:
                    overlay.apply(batch.records, batch.next_offset)
                    self._observer.records_applied(self.application_id, self._topic, len(batch.records))
                    on_records(batch.records, batch.headers)
            self._write_behind_if_due()

    def _start_opening(self, partition: int, *, anew: bool = False) -> None:
        opening = self._open(partition, anew=anew)
        job = self._opening[partition] = asyncio.create_task(opening, name=f"{self.application_id}-{partition}-open")
        job.add_done_callback(partial(self._opened, partition))

    async def _open(self, partition: int, *, anew: bool) -> None:
        source = TopicPartition(self._topic, partition)
        name = f"{self.application_id}-{partition}"
        while partition not in self._overlays:
            store = self._open_store(self.application_id, self._store, partition)
            try:
                if anew:
                    store.clear()
                restored = await restore(self._broker, source, store, name, self._observer)
                overlay = Overlay(store)
            except (Retriable, TaskCorrupted) as reason:
                store.close()
                anew = isinstance(reason, TaskCorrupted)
                self._observer.task_restarted(name, str(reason))
                await asyncio.sleep(self._settings.restart_backoff_ms / 1000)
            except BaseException:
                store.close()
                raise
            else:
                self._overlays[partition] = overlay
                self._observer.task_restored(name, restored)
        # A table that was kept goes on where it stood: it follows the log, whoever owned the partition meanwhile.
        self._consumer.seek(source, self._overlays[partition].position or 0)

    def _rebuild(self, partition: int, reason: TaskCorrupted) -> None:
        """Its store can't be trusted any more: until it is made anew from the log, the partition is not open."""
        self._observer.task_restarted(f"{self.application_id}-{partition}", str(reason))
        self._overlays.pop(partition).close(write_behind=False)
        # Who is asked while nothing is assigned leaves the opening to the next assignment; a job under way will see that there is no more.
        if self.assignment and partition not in self._opening:
            self._start_opening(partition, anew=True)

    def _close(self, partition: int) -> None:
        """Whether its store can be written or not, the log has it all: the others must be closed, and the group left."""
        with suppress(Fatal, TaskCorrupted):
            self._overlays.pop(partition).close()

    def _opened(self, partition: int, job: asyncio.Task[None]) -> None:
        if job.cancelled():
            return
        failure = job.exception()
        if failure is None:
            if self._opening.get(partition) is job:
                del self._opening[partition]
            self._on_opened()
        elif self._failed and not self._failed.done():
            self._failed.set_exception(failure)

    def _write_behind_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        aged = now - self._written_at >= self._settings.write_behind_interval_ms / 1000
        for partition, overlay in tuple(self._overlays.items()):
            if aged or overlay.unwritten >= self._settings.write_behind_records:
                try:
                    overlay.write_behind()
                except TaskCorrupted as reason:
                    self._rebuild(partition, reason)
        if aged:
            self._written_at = now

    def on_assigned(self, assignment: Assignment) -> None:
        """Closes what went away, opens what is new; what is owned already can be looked up all the time."""
        self._observer.partitions_assigned(self.application_id, sorted(assignment.partitions), assignment.generation)
        self.assignment = assignment
        for partition in set(self._overlays).difference(assignment.partitions):
            self._close(partition)
        for partition in assignment.partitions:
            self._start_opening(partition)
        if self._on_assigned:
            self._on_assigned(assignment)

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Opens nothing more, until it is known what comes back."""
        self.assignment = None
        jobs = tuple(self._opening.values())
        self._opening.clear()
        await cancel(*jobs)
