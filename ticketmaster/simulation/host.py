"""The machine of the broker: the real embedded broker, on storage that survives it, and a witness of every write."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.cleaner import Retention
from ticketmaster.broker.embedded.storage import MemoryStorage, Write
from ticketmaster.broker.port import Batch, Pair, TopicPartition, TopicSpec
from ticketmaster.simulation.clock import SimulatedClock
from ticketmaster.simulation.journal import Journal
from ticketmaster.simulation.loop import Process
from ticketmaster.simulation.network import Link, LinkedBroker, Weather
from ticketmaster.streams.dead_letters import dead_letter_topic
from ticketmaster.wire import topics

_SESSION_S = 6.0
_HEARTBEAT_S = 1.0
_LOOKS, _LOOK_S = 500, 0.001
_STOPS_EARLY = 0.3
# How many commits old an answer may be to who asks for offsets without a write.
_STALE_COMMITS = 4
# So little stays in memory that slow readers read from storage.
_TAIL_BYTES_MAX = 20_000
# So small that logs are cut and compacted all the time.
_RETENTION = Retention(consumed_bytes_max=3_000, uncleaned_bytes_max=2_000, merged_batch_bytes=1_000, piece_keys_max=50, step_bytes=1_000)

Witness = Callable[[Write], None]


class _Storage(MemoryStorage):
    """Takes its time for a write, so that much happens while one is under way; shows each to the witness."""

    def __init__(self, random: Random, witness: Witness) -> None:
        super().__init__()
        self._random = random
        self.witness = witness
        self.pending: Write | None = None
        # Nothing reaches the disk any more.
        self.is_over = False

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        # A storage counts bytes in a way of its own, and may stop earlier than others would.
        found = super().read(source, offset, bytes_max)
        return found[: self._random.randrange(len(found)) + 1] if found and self._random.random() < _STOPS_EARLY else found

    async def write(self, write: Write) -> None:
        self.pending = write
        await asyncio.sleep(self._random.choice((0.0, 0.002, 0.01, 0.05)))
        await self.finish()

    async def finish(self) -> None:
        """The write that is under way reaches the disk."""
        write, self.pending = self.pending, None
        if write and not self.is_over:
            await super().write(write)
            self.witness(write)


class _Connected(NamedTuple):
    process: Process
    broker: LinkedBroker
    link: Link


class Host:
    """The broker's machine, and what it knows of its clients."""

    def __init__(self, partitions: int, random: Random, journal: Journal, witness: Witness) -> None:
        self._partitions = partitions
        self._random = random
        self._journal = journal
        # What each group has ever committed.
        self._offsets: dict[tuple[str, TopicPartition], list[int]] = defaultdict(list)

        def remember(write: Write) -> None:
            for at, offset in write.offsets.items():
                self._offsets[at].append(offset)
            witness(write)

        self._storage = _Storage(random, remember)
        self._connected: list[_Connected] = []
        self._watching: asyncio.Task[None] | None = None
        self._lost: list[Process] = []
        self.broker: EmbeddedBroker
        self.is_up = False
        self.on_offsets_lost: Callable[[str], None] = lambda _: None

    async def start(self) -> None:
        """Starts a broker on what the storage holds."""
        started = asyncio.get_running_loop().create_future()
        broker = EmbeddedBroker(self._storage, SimulatedClock(self._random), retention=_RETENTION, tail_bytes_max=_TAIL_BYTES_MAX)
        self._process = Process("broker")

        async def serve() -> None:
            await broker.start()
            started.set_result(None)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await broker.close()

        self._process.start(serve())
        await started
        specs = [TopicSpec(topic.name, self._partitions, topic.compacted) for topic in topics.ALL_TOPICS]
        letters = [TopicSpec(dead_letter_topic(topic.name), self._partitions) for topic in topics.ALL_TOPICS]
        await broker.create_topics([*specs, *letters])
        self.broker = broker
        self.is_up = True
        self._watching = asyncio.create_task(self._watch_sessions())

    def link(self, name: str, weather: Weather, random: Random) -> Link:
        """A process's way to this machine."""
        return Link(name, weather, random, self._journal)

    def connect(self, process: Process, link: Link, clock: SimulatedClock) -> LinkedBroker:
        """The broker as a process sees it, which must be heard of from now on, or its members are expelled from their groups."""
        broker = LinkedBroker(self.broker, link, self._once_committed, clock)
        self._connected.append(_Connected(process, broker, link))
        return broker

    def expel(self, process: Process) -> None:
        """The groups of a process go on without it."""
        for connected in self._connected:
            if connected.process is process:
                for member in connected.broker.members:
                    member.expel()

    async def send(self, source: TopicPartition, pairs: Sequence[Pair]) -> None:
        """Somebody outside writes to the log."""
        await self.broker.producer().send({source: pairs})

    async def _watch_sessions(self) -> None:
        silent_s: dict[str, float] = {}
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            for process, broker, link in self._connected:
                silence_s = silent_s.get(process.name, 0.0) + _HEARTBEAT_S if process.frozen or link.cut else 0.0
                silent_s[process.name] = silence_s
                if silence_s >= _SESSION_S:
                    if silence_s == _SESSION_S:
                        self._journal.note("broker", f"expels {process.name}")
                    # Again and again: it may have come back for less than a heartbeat.
                    for member in broker.members:
                        member.expel()

    def _once_committed(self, group: str, source: TopicPartition) -> int | None:
        """Where a group was some commits ago: what a coordinator of Kafka may answer that has just moved."""
        offsets = self._offsets[group, source]
        return self._random.choice(offsets[-_STALE_COMMITS:]) if offsets else None

    def lose_offsets(self, group: str) -> None:
        for consumed in self.broker._consumed.values():  # noqa: SLF001 - a fault, not a use
            if group in consumed:
                consumed[group] = None
        for known in (self._storage._offsets, self._offsets):  # noqa: SLF001 - as above
            for at in [at for at in known if at[0] == group]:
                del known[at]
        self.on_offsets_lost(group)

    async def until_writing(self) -> None:
        """Waits for the moment in which a failure hurts most: a write is under way. Not for long."""
        for _ in range(_LOOKS):
            if self._storage.pending:
                return
            await asyncio.sleep(_LOOK_S)

    async def lose_power(self) -> None:
        """The machine stops. A write that was under way has reached the disk, or has not; nothing else is left of this broker."""
        self.is_up = False
        self._process.freeze_after(0)
        self._lost.append(self._process)
        await asyncio.sleep(0)
        if self._random.random() < 0.5:
            await self._storage.finish()
        self._storage.pending = None
        await self._forget_clients()

    async def _forget_clients(self) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._connected.clear()

    def wake_the_dead(self) -> None:
        """Lets brokers that lost their power go on, so that jobs that wait for them can be unwound.

        What they write reaches no disk: two of them would clean one log.
        """
        self._storage.is_over = True
        for process in self._lost:
            process.thaw()

    async def close(self) -> None:
        """Unwinds everything."""
        await self._forget_clients()
        for process in (*self._lost, self._process):
            await process.end()
