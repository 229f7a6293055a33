"""The embedded broker: appends become durable in groups, one storage write for all that came since the last.

A transaction's records enter the log when it commits, in the same write as its offsets. So the log holds neither markers nor
aborted records, and a record that is durable is committed. Appends reach the disk in the order of the log: a crash
takes a suffix of it. So those who do nothing but transactions on it read ahead, and a reservation passes all roles in one write.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ticketmaster.broker.embedded.cleaner import Cleaner, Retention
from ticketmaster.broker.embedded.consumer import GroupMember, Reader
from ticketmaster.broker.embedded.groups import Group
from ticketmaster.broker.embedded.log import PartitionLog
from ticketmaster.broker.embedded.producers import LogProducer, LogTransactions
from ticketmaster.broker.embedded.storage import Cleaned, Extent, Replacement, Storage, Write
from ticketmaster.broker.port import (
    NO_CLAIMS,
    NO_PLACED_HEADERS,
    NO_RECORD_HEADERS,
    Batch,
    Consumer,
    Membership,
    Pair,
    Producer,
    RebalanceListener,
    RecordHeaders,
    TopicPartition,
    TopicSpec,
    TransactionalProducer,
    partitions_of,
)
from ticketmaster.clock import Clock, SteadyClock
from ticketmaster.errors import Fatal, UsageError

_NOTHING = Extent(0, 0, 0)
_UNCLEANED = Cleaned(0, 0)


class Pace(NamedTuple):
    """How writes are grouped: the next one starts so long after the last, by how many records that had.

    Few records go at once. From about 1 / ``us_per_record`` on, each write has more than the one before, up to the longest
    interval: what costs by the write, and by each area it changes, is then shared by many records.
    """

    us_per_record: float = 40.0
    interval_max_ms: float = 20.0


_PACE = Pace()
_RETENTION = Retention()
# A write begins when nothing was appended for so many turns of the loop, or after so long: a task hands on what it was given within a few.
_QUIET_TURNS = 4
_GATHER_S = 0.002


class EmbeddedBroker:
    """A broker in the process, for its own roles only."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        pace: Pace = _PACE,
        retention: Retention = _RETENTION,
        tail_bytes_max: int = 32 << 20,
        ahead_bytes_max: int = 8 << 20,
    ) -> None:
        """``tail_bytes_max`` bounds the newest durable batches kept in memory, over all partitions.

        A transaction that finds more than ``ahead_bytes_max`` waiting for the next write waits for it, too.
        """
        self._storage = storage
        self._clock = SteadyClock(clock)
        self._pace = pace
        self._tail_bytes_max = tail_bytes_max
        self._ahead_bytes_max = ahead_bytes_max
        self._tail: deque[tuple[PartitionLog, int]] = deque()
        self._tail_bytes = 0
        self._logs: dict[TopicPartition, PartitionLog] = {}
        self._topics: dict[str, TopicSpec] = {}
        # The offset that each group has committed of a partition; None of a group that reads it and never did.
        self._consumed: dict[TopicPartition, dict[str, int | None]] = defaultdict(dict)
        self._epochs: dict[str, int] = {}
        self._groups: dict[str, Group] = {}
        self._members = 0
        self._readers: list[Reader] = []
        self._write = Write.empty()
        # What waits for the next write, and what waits for the one under way.
        self._written: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._records_waiting = 0
        self._bytes_waiting = 0
        self._wake = asyncio.Event()
        self._job: asyncio.Task[None] | None = None
        self._cleaner = Cleaner(self, storage, retention)
        self.failure: Fatal | None = None

    async def start(self) -> None:
        """Reads what the storage holds, and begins to write."""
        contents = self._storage.load()
        self._topics = {topic.name: topic for topic in contents.topics}
        for topic in contents.topics:
            self._add_logs(topic, contents.extents, contents.cleaned)
        for group, source in contents.subscriptions:
            self._consumed[source][group] = None
        for (group, source), offset in contents.offsets.items():
            self._consumed[source][group] = offset
        self._job = asyncio.create_task(self._write_groups(), name="broker-write")

    async def close(self) -> None:
        """Writes what waits, then releases the storage. Whatever still waits by then, and whatever comes later, is refused: Fatal."""
        try:
            if self._job and not self.failure:
                await self._flushed()
        finally:
            if self._job:
                self._job.cancel()
                await asyncio.gather(self._job, return_exceptions=True)
            # Behind the last write, which wakes it.
            await self._cleaner.stop()
            self.fail(Fatal("the broker is closed"))
            self._storage.close()

    # The port.

    async def create_topics(self, specs: Collection[TopicSpec]) -> None:
        for spec in specs:
            existing = self._topics.get(spec.name)
            if existing is None:
                self._topics[spec.name] = spec
                self._add_logs(spec, {}, {})
                self._write.topics.append(spec)
            elif existing.partitions != spec.partitions:
                raise UsageError(f"topic {spec.name} has {existing.partitions} partitions, not {spec.partitions}")
        await self._flushed()

    def producer(self) -> Producer:
        return LogProducer(self)

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return LogTransactions(self, transactional_id)

    def group_consumer(
        self, group: str, topics: Collection[str], listener: RebalanceListener, membership: Membership = NO_CLAIMS, *, ahead: bool = False
    ) -> GroupMember:
        self._members += 1
        for source in (source for topic in topics for source in partitions_of(topic, self._topics[topic].partitions)):
            if group not in self._consumed[source]:
                # Written with whatever comes next: nothing is deleted before a later write says that others have read it.
                self._consumed[source][group] = None
                self._write.subscriptions.append((group, source))
        return GroupMember(self, f"{group}-{self._members}", group, topics, listener, membership, ahead=ahead)

    def reader(self, sources: Mapping[TopicPartition, int]) -> Consumer:
        return Reader(self, sources)

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self.raise_if_failed()
        offsets = ((source, self._consumed[source].get(group)) for source in sources)
        return {source: offset for source, offset in offsets if offset is not None}

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self.raise_if_failed()
        return {source: self._logs[source].durable_end for source in sources}

    async def start_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {source: self._logs[source].start for source in sources}

    async def until_durable(self, ends: Mapping[TopicPartition, int]) -> None:
        while any(self._logs[source].durable_end < end for source, end in ends.items()):
            self.raise_if_failed()
            if self._writing and not self._writing.done():
                await asyncio.shield(self._writing)
            else:
                await self._flushed()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    # For the producers, consumers and the cleaner.

    @property
    def logs(self) -> Collection[PartitionLog]:
        """Every partition's log."""
        return self._logs.values()

    def log(self, source: TopicPartition) -> PartitionLog:
        """A partition's log."""
        return self._logs[source]

    def consumed_to(self, source: TopicPartition) -> int:
        """Where the slowest group stands of those that read this partition; one that never committed has read nothing."""
        return min((offset or 0 for offset in self._consumed[source].values()), default=0)

    def group(self, name: str, topics: Collection[str]) -> Group:
        """A consumer group; the first member's topics say how many partitions there are."""
        if name not in self._groups:
            self._groups[name] = Group(max(self._topics[topic].partitions for topic in topics))
        return self._groups[name]

    def read(self, source: TopicPartition, offset: int, bytes_max: int, *, ahead: bool = False) -> tuple[list[Batch], int]:
        """(batches from ``offset`` on, their bytes), up to about ``bytes_max``; only durable ones, or ``ahead``."""
        log = self._logs[source]
        return (log.read_ahead if ahead else log.read)(offset, bytes_max, self._storage)

    def end(self, source: TopicPartition, *, ahead: bool) -> int:
        """Behind the last durable record, or behind the last one."""
        log = self._logs[source]
        return log.end if ahead else log.durable_end

    def add_reader(self, reader: Reader) -> None:
        """A reader wants to be woken when there is something new."""
        self._readers.append(reader)

    def remove_reader(self, reader: Reader) -> None:
        """A reader is gone."""
        if reader in self._readers:
            self._readers.remove(reader)

    def fence(self, transactional_id: str) -> int:
        """The epoch of a new producer: from here on older ones can't commit."""
        # Kept in memory only: a producer lives no longer than the broker's process.
        epoch = self._epochs.get(transactional_id, -1) + 1
        self._epochs[transactional_id] = epoch
        return epoch

    def is_fenced(self, transactional_id: str, epoch: int) -> bool:
        """Whether a later producer of this id was started."""
        return self._epochs[transactional_id] != epoch

    async def append(self, outputs: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS) -> None:
        """Appends in one write; returns once that is durable, and with it all that was appended before."""
        self._take(outputs, headers)
        await self._flushed()

    async def commit(
        self,
        outputs: Mapping[TopicPartition, Sequence[Pair]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        headers: RecordHeaders = NO_RECORD_HEADERS,
    ) -> dict[TopicPartition, int]:
        """Appends and commits in one write; returns, before it is durable, the ends of the logs behind the records."""
        ends = self._take(outputs, headers)
        for source, offset in offsets.items():
            self._write.offsets[group, source] = offset
        if self._bytes_waiting > self._ahead_bytes_max:
            await self._flushed()
        else:
            self._ask_for_write()
            # A turn for all others: the next transaction may be there already.
            await asyncio.sleep(0)
        return ends

    def _take(self, outputs: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders) -> dict[TopicPartition, int]:
        """Appends to the logs and to the next write, and wakes those who read ahead."""
        self.raise_if_failed()
        now = self._clock.now_ms()
        write = self._write
        ends: dict[TopicPartition, int] = {}
        # All of them first: where one does not exist, nothing is written.
        for log, records in [(self._logs[source], records) for source, records in outputs.items() if records]:
            # Headers are in memory only: a trace that is not written down in a moment is none.
            batch, size = log.append(records, now, headers.get(log.source, NO_PLACED_HEADERS))
            write.batches.append(batch)
            write.sizes.append(size)
            ends[log.source] = batch.next_offset
            self._records_waiting += len(records)
            self._bytes_waiting += size
        for reader in self._readers:
            if reader.ahead and not ends.keys().isdisjoint(reader.positions):
                reader.wake()
        return ends

    async def replace(self, replacement: Replacement) -> None:
        """Rewrites stored batches, for the cleaner."""
        self.raise_if_failed()
        self._write.replacements.append(replacement)
        await self._flushed()

    async def mark_cleaned(self, source: TopicPartition, cleaned: Cleaned) -> None:
        """Compaction has come so far."""
        self.raise_if_failed()
        self._logs[source].cleaned = self._write.cleaned[source] = cleaned
        await self._flushed()

    def raise_if_failed(self) -> None:
        """Fatal: a write failed; nothing can be acknowledged any more."""
        if self.failure:
            raise Fatal(str(self.failure)) from self.failure

    # Writing.

    def _add_logs(self, topic: TopicSpec, extents: Mapping[TopicPartition, Extent], cleaned: Mapping[TopicPartition, Cleaned]) -> None:
        for source in partitions_of(topic.name, topic.partitions):
            extent, came_to = extents.get(source, _NOTHING), cleaned.get(source, _UNCLEANED)
            self._logs[source] = PartitionLog(source, extent, came_to, compacted=topic.compacted)

    def _ask_for_write(self) -> None:
        """There is something to write."""
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        self._wake.set()

    async def _flushed(self) -> None:
        """Everything appended so far is durable."""
        self.raise_if_failed()
        self._ask_for_write()
        assert self._written is not None
        # Shielded: the future is everybody's, and a waiter may be cancelled.
        await asyncio.shield(self._written)

    async def _until_quiet(self) -> None:
        """Whatever follows at once from what was appended is appended as well."""
        loop = asyncio.get_running_loop()
        until_s, turns, seen = loop.time() + _GATHER_S, 0, self._records_waiting
        while turns < _QUIET_TURNS and loop.time() < until_s:
            await asyncio.sleep(0)
            turns, seen = (turns + 1 if self._records_waiting == seen else 0), self._records_waiting

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            await self._until_quiet()
            self._wake.clear()
            write, written, records = self._write, self._written, self._records_waiting
            self._write, self._written, self._records_waiting, self._bytes_waiting = Write.empty(), None, 0, 0
            assert written is not None
            # Kept where fail() finds it: close() cancels this job in the middle of a write.
            self._writing = written
            started = loop.time()
            try:
                await self._storage.write(write)
                self._publish(write)
            except Exception as cause:  # noqa: BLE001 - whatever it is, the log can't be trusted to take more
                self.fail(cause)
                return
            if not written.done():
                written.set_result(None)
            # Each once, in an order: a set's is another one in each process.
            self._cleaner.wake(dict.fromkeys([*(batch.source for batch in write.batches), *(source for _, source in write.offsets)]))
            interval_s = min(records * self._pace.us_per_record / 1e6, self._pace.interval_max_ms / 1e3)
            if (rest_s := started + interval_s - loop.time()) > 0.001:
                await asyncio.sleep(rest_s)

    def fail(self, cause: Exception) -> None:
        """Nothing is acknowledged from here on: the log can't be written, or read back."""
        self.failure = self.failure or (cause if isinstance(cause, Fatal) else Fatal(f"the log failed: {cause!r}"))
        for written in (self._writing, self._written):
            if written and not written.done():
                written.set_exception(Fatal(str(self.failure)))
                written.exception()  # it may be that nobody waits any more
        for reader in self._readers:
            reader.wake()

    def _publish(self, write: Write) -> None:
        for (group, source), offset in write.offsets.items():
            self._consumed[source][group] = offset
        for batch, size in zip(write.batches, write.sizes, strict=True):
            log = self._logs[batch.source]
            log.made_durable(batch)
            self._tail.append((log, size))
            self._tail_bytes += size
        while self._tail_bytes > self._tail_bytes_max and len(self._tail) > 1:
            log, size = self._tail.popleft()
            log.tail.popleft()
            self._tail_bytes -= size
        changed = {batch.source for batch in write.batches}
        for reader in self._readers:
            if not reader.ahead and not changed.isdisjoint(reader.positions):
                reader.wake()
