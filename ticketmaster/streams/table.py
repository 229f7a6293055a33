"""Tables: the last value of each key of a compacted topic, followed as it grows.

Of an :class:`OwnedTable` each partition lives in one process, which keeps it in a store; a :class:`GlobalTable` is followed whole
by every process, which keeps of it what it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from ticketmaster.broker.port import (
    NO_CLAIMS,
    Assignment,
    Batch,
    Broker,
    Consumer,
    Membership,
    Pair,
    PlacedHeaders,
    TopicPartition,
    partitions_of,
)
from ticketmaster.errors import Retriable, TaskCorrupted, TicketmasterError
from ticketmaster.state.overlay import Overlays
from ticketmaster.state.port import Scanned, StateStores
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.member import Member
from ticketmaster.streams.partition import Lag, PartitionWork, Surroundings
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.worker import OpenStores
from ticketmaster.telemetry.observer import DeadLetter, Observer

# So many records in one poll are not what came since the last one.
_MANY = 5_000
# A poll of Kafka may have all that was prefetched: so many records are applied until the loop's other jobs get a turn.
_STEP_RECORDS = 2_000
# How often a broker is asked where logs end, within the age that a fresh table may have; and for how long after its start, and after
# somebody wanted to know: a sale may have pauses.
_ASKED_PER_AGE = 4
_WANTED_S = 10.0
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
        # How far each partition is applied.
        self._positions = dict.fromkeys(self._sources, 0)
        # Where logs ended when the broker was last asked, of those that are not applied so far.
        self._behind: dict[TopicPartition, int] = {}
        self._caught_up = asyncio.Event()
        # Set when somebody wants to know how fresh it is; and when somebody last did.
        self._wanted = asyncio.Event()
        self._wanted_s = -inf
        # By the loop's time, a moment whose every record it has.
        self._has_all_of_s = -inf
        self._is_there = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether it has all that was there when it began."""
        return self._has_all_of_s > -inf

    @property
    def age_s(self) -> float:
        """It has every record that could be read so long ago; what came since it may not have."""
        return asyncio.get_running_loop().time() - self._has_all_of_s

    @property
    def fresh(self) -> bool:
        """Whether it is not older than ``table_age_max_ms``: what it says was so a moment ago.

        Not at first, where nobody has asked for so long: that it is fresh is found out as long as somebody asks.
        """
        self._wanted_s = asyncio.get_running_loop().time()
        self._wanted.set()
        return self.age_s * 1000 <= self._settings.table_age_max_ms

    async def run(self) -> None:
        """Follows the topic until cancelled."""
        reader = self._broker.reader(dict.fromkeys(self._sources, 0))
        jobs = [asyncio.create_task(work) for work in (self._follow(reader), self._ask())]
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        finally:
            await cancel(*jobs)
            await reader.stop()

    async def before(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Does work that is to begin when the table has all that was there, or when that takes longer than ``table_wait_max_ms``."""
        waited_ms = self._settings.table_wait_max_ms
        try:
            async with asyncio.timeout(waited_ms / 1000):
                await self._is_there.wait()
        except TimeoutError:
            late = f"after {waited_ms / 1000:,g} s not all of its records have come: what waits for them begins without the rest"
            self._observer.reading_failed(self._topic, late)
        await work()

    async def _follow(self, reader: Consumer) -> None:
        while True:
            try:
                batches = await reader.poll(self._settings.poll_timeout_ms)
            except Retriable as reason:
                self._observer.reading_failed(self._topic, str(reason))
                await asyncio.sleep(self._settings.restart_backoff_ms / 1000)
                continue
            applied = 0
            for batch in batches:
                if applied >= _STEP_RECORDS:
                    applied = 0
                    await asyncio.sleep(0)
                applied += len(batch.records)
                if batch.records and (unreadable := self._apply(batch.records)):
                    source, offsets = batch.source, batch.offsets
                    letters = [DeadLetter(*source, offsets[at], reason) for at, reason in unreadable]
                    self._observer.dead_letters(self._topic, letters)
                self._applied(batch.source, batch.next_offset)
            # Not while it is far behind.
            if self._rest_s and batches and self.ready and sum(len(batch.records) for batch in batches) < _MANY:
                await asyncio.sleep(self._rest_s)

    def _applied(self, source: TopicPartition, position: int) -> None:
        self._positions[source] = position
        if self._behind and position >= self._behind.get(source, position + 1):
            del self._behind[source]
            if not self._behind:
                self._caught_up.set()

    async def _ask(self) -> None:
        """Asks again and again where the logs end: a table that has come so far has all that was there when the broker was asked.

        A poll that returns nothing proves nothing: a fetch may have failed without a word. While nobody wants to know, nobody is asked.
        """
        age_max_s = self._settings.table_age_max_ms / 1000
        interval_s = age_max_s / _ASKED_PER_AGE
        time = asyncio.get_running_loop().time
        while True:
            # The answer may be late: it is true of this moment, or a later one.
            asked_s = time()
            try:
                ends = await self._broker.end_offsets(self._sources)
            except Retriable as reason:
                self._observer.reading_failed(self._topic, str(reason))
            else:
                # Nothing newer is asked before it is there: a table that is always a little behind would never be.
                await self._catch_up(ends, interval_s)
                if not self.ready:
                    # Soon somebody will.
                    self._wanted_s = time()
                self._has_all_of_s = asked_s
                self._is_there.set()
            await asyncio.sleep(asked_s + interval_s - time())
            if self.ready and time() - self._wanted_s > _WANTED_S:
                self._wanted.clear()
                await self._wanted.wait()

    async def _catch_up(self, ends: Mapping[TopicPartition, int], interval_s: float) -> None:
        """Waits until all before these offsets is applied."""
        self._behind = {source: end for source, end in ends.items() if self._positions[source] < end}
        self._caught_up.clear()
        while self._behind:
            try:
                async with asyncio.timeout(interval_s):
                    await self._caught_up.wait()
            except TimeoutError:
                # Retention may have removed what is waited for.
                await self._skip_removed()

    async def _skip_removed(self) -> None:
        with suppress(Retriable):
            for source, start in (await self._broker.start_offsets(list(self._behind))).items():
                self._applied(source, max(start, self._positions[source]))


class OwnedTable:
    """The partitions of a compacted topic that the group assigns to this process, each with a store."""

    def __init__(
        self,
        application_id: str,
        topic: str,
        store: str,
        broker: Broker,
        open_stores: OpenStores,
        settings: StreamSettings,
        observer: Observer,
    ) -> None:
        self.application_id = application_id
        self.topics = (topic,)
        self._store = store
        self._open_stores = open_stores
        self._on_records: OnRecords = _unseen
        self._on_opened: Callable[[], None] = _nothing
        self.member = Member(application_id, self.topics, broker, settings, observer, self._new_partition)

    @property
    def ready(self) -> bool:
        """Whether every partition it owns can be looked up."""
        return self.member.ready

    @property
    def rebalancing(self) -> bool:
        """Whether nothing but a rebalance keeps it from being ready."""
        return self.member.rebalancing

    @property
    def partitions(self) -> int:
        """How many partitions it owns."""
        return len(self.member.works)

    def lags(self) -> Iterator[Lag]:
        """How far it is behind, by partition."""
        return self.member.lags()

    def get(self, partition: int, key: bytes) -> bytes | None:
        """The value of a key of an owned partition; None: it has none, or the partition is not owned, or not open (yet)."""
        work = self.member.works.get(partition)
        return work.get(key) if work else None

    def scan(self, partition: int, after: bytes, part: bytes, rows_max: int) -> Scanned | None:
        """The next keys of a partition behind ``after`` whose value has ``part``; None: the partition is not served (any more)."""
        work = self.member.works.get(partition)
        return work.scan(after, part, rows_max) if work and work.serving else None

    def serves(self, partition: int) -> bool:
        """Whether a key that :meth:`get` does not find has no value."""
        work = self.member.works.get(partition)
        return work is not None and work.serving

    async def run(
        self,
        on_records: OnRecords,
        on_opened: Callable[[], None],
        on_assigned: Callable[[Assignment], None] = lambda _: None,
        membership: Membership = NO_CLAIMS,
    ) -> None:
        """Follows the owned partitions until cancelled, then closes them.

        ``on_records`` sees records as soon as they can be looked up; ``on_opened`` is told when many can be at once that it did not
        see, because a partition was opened. ``on_assigned`` is told who owns what.
        """
        self._on_records, self._on_opened = on_records, on_opened
        await self.member.run(membership, on_assigned)

    def _new_partition(self, around: Surroundings, partition: int) -> _TablePartition:
        source = TopicPartition(self.topics[0], partition)
        open_stores = lambda: self._open_stores(self.application_id, (self._store,), partition)  # noqa: E731 - no name says more
        return _TablePartition(around, source, self._store, open_stores, self._on_records, self._on_opened)


def _unseen(_records: Sequence[Pair], _headers: PlacedHeaders) -> None:
    """Nobody looks."""


def _nothing() -> None:
    """Nobody is told."""


class _TablePartition(PartitionWork):
    """One partition of an owned table: its store follows the topic, which is its own changelog."""

    def __init__(
        self,
        around: Surroundings,
        source: TopicPartition,
        store: str,
        open_stores: Callable[[], StateStores],
        on_records: OnRecords,
        on_opened: Callable[[], None],
    ) -> None:
        super().__init__(around, source.partition, {store: source}, open_stores)
        self._source = source
        self._store = store
        self._application_id = around.application_id
        self._on_records = on_records
        self._on_readable = on_opened

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None too while the store is not open."""
        if self.overlays is None or self._found:
            return None
        try:
            return self.overlays[self._store].get(key)
        except TaskCorrupted as found:
            self.corrupt(found)
            return None

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Scanned | None:
        """As :meth:`OwnedTable.scan`."""
        if self.overlays is None or self._found:
            return None
        try:
            return self.overlays[self._store].scan(after, part, rows_max)
        except TaskCorrupted as found:
            self.corrupt(found)
            return None

    @property
    def serving(self) -> bool:
        return super().serving and self._found is None

    def deliver(self, batch: Batch) -> None:
        overlays = self.overlays
        if overlays is None or not self._takes(batch):
            return
        # Woken once an interval, not for each batch.
        if overlays.are_written or overlays.unwritten >= self._settings.write_behind_records:
            self._wake.set()
        overlays[self._store].apply(batch.records, batch.next_offset)
        self._observer.records_applied(self._application_id, self._source.topic, len(batch.records))
        self._on_records(batch.records, batch.headers)

    def lags(self) -> Iterator[Lag]:
        if self.overlays is not None:
            yield Lag(self._source, self._consumer.behind(self._source), None)

    def outlives(self, *, straight_back: bool) -> bool:
        # It follows the log, whoever owned the partition meanwhile.
        return True

    async def _fence(self) -> Mapping[TopicPartition, int]:
        # Nobody writes to a table.
        return {}

    async def _look_over(self, overlays: Overlays) -> None:
        """A table is what its topic says."""

    def _begin(self, overlays: Overlays) -> None:
        """It may be looked up as it is."""

    def _seek(self) -> None:
        assert self.overlays is not None
        self._following.seek({self._source: self.overlays[self._store].position or 0})
        self._on_readable()

    async def _work(self) -> None:
        overlays, interval_s = self.overlays, self._settings.write_behind_interval_ms / 1000
        assert overlays is not None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if overlays.are_written else interval_s):
                    await self._wake.wait()
            self._raise_found()
            self._wake.clear()
            await self._write_behind_if_due()

    def _note_failure(self, reason: TicketmasterError) -> None:
        """Nothing but the pause depends on it."""

    def _drop(self) -> None:
        """Nothing waits."""

    async def _end(self) -> None:
        """Nothing but the store is held."""
