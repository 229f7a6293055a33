"""A sale simulated from a seed: the real roles on the embedded broker, and processes that die, hang and come back.

Every wait is virtual, every choice is drawn from the seed: a seed that fails fails again.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from random import Random

from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.storage import MemoryStorage, Write
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec, TransactionalProducer
from ticketmaster.domain.event import Area, Event
from ticketmaster.domain.reservation import ReservationType
from ticketmaster.errors import Retriable
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.simulation.loop import Process, VirtualClock
from ticketmaster.state.memory import MemoryStore
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.table import GlobalTable
from ticketmaster.streams.topology import Topology
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.observer import Observer
from ticketmaster.wire import topics
from ticketmaster.wire.events import encode_event
from ticketmaster.wire.reservations import encode_create, encode_seats, encode_who_and_where

_SETTINGS = StreamSettings(transaction_records_max=20, queued_records_max=15, write_behind_records=12, write_behind_interval_ms=400)
_DECIDED_WITHIN_S = 2_000.0
_SESSION_S = 20.0
_ROWS, _COLS = 4, 6

Stores = dict[tuple[str, int], MemoryStore]


class SlowStorage(MemoryStorage):
    """Takes its time for a write, so that much happens while one is under way."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    async def write(self, write: Write) -> None:
        await asyncio.sleep(self._random.choice((0.0, 0.001, 0.02)))
        await super().write(write)


class UnreliableBroker(EmbeddedBroker):
    """Its transactional producers fail now and then, before or after the transaction was written: nobody can tell."""

    def __init__(self, storage: MemoryStorage, random: Random, troubles: Counter[str]) -> None:
        super().__init__(storage, VirtualClock(), tail_bytes_max=2_000)
        self._random = random
        self._troubles = troubles
        self.reliable = False

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return _UnreliableProducer(super().transactional_producer(transactional_id), self)

    def maybe_fail(self, when: str) -> None:
        if not self.reliable and self._random.random() < 0.03:
            self._troubles[f"failed {when}"] += 1
            raise Retriable(f"{when}")


class _UnreliableProducer:
    def __init__(self, producer: TransactionalProducer, broker: UnreliableBroker) -> None:
        self._producer = producer
        self._broker = broker

    async def start(self) -> None:
        self._broker.maybe_fail("at the start")
        await self._producer.start()

    async def commit(
        self, outputs: Mapping[TopicPartition, Sequence[Pair]], offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[TopicPartition, int]:
        self._broker.maybe_fail("before the commit")
        ends = await self._producer.commit(outputs, offsets, group)
        self._broker.maybe_fail("after the commit")
        return ends

    async def stop(self) -> None:
        await self._producer.stop()


class _Notes(Observer):
    def __init__(self, troubles: Counter[str]) -> None:
        self._troubles = troubles

    def task_restarted(self, task: str, reason: str) -> None:
        self._troubles["restarted"] += 1

    def task_migrated(self, task: str, reason: str) -> None:
        self._troubles["migrated"] += 1


class RoleProcess:
    """A role's process, with stores of its own as it would have a disk of its own."""

    def __init__(self, role: str, number: int, stores: Stores) -> None:
        self.role = role
        self.stores = stores
        self.process = Process(f"{role}-{number}")
        self.worker: StreamWorker | None = None
        self.failure: BaseException | None = None

    def open_store(self, application_id: str, store: str, partition: int) -> MemoryStore:
        return self.stores.setdefault((application_id, partition), MemoryStore())

    async def run(self, worker: StreamWorker, table: GlobalTable | None) -> None:
        self.worker = worker
        following = asyncio.create_task(table.run()) if table else None
        try:
            await worker.run()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the process has died of it
            self.failure = failure
        finally:
            if following:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


class Sale:
    """One simulated sale."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.troubles: Counter[str] = Counter()
        self.partitions = self.random.choice((1, 2, 3))
        self.broker = UnreliableBroker(SlowStorage(self.random), self.random, self.troubles)
        self.processes: list[RoleProcess] = []
        self.live: dict[str, list[RoleProcess]] = {"event": [], "reservation": []}
        self.areas = [(f"event-{event}", f"area-{area}") for event in range(2) for area in range(2)]
        self.ids = [b"reservation-%03d" % number for number in range(self.random.randrange(20, 100))]
        self._later: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Sells, and lets every command be decided; what became of it is asked afterwards."""
        await self.broker.start()
        await self.broker.create_topics([TopicSpec(topic.name, self.partitions, topic.compacted) for topic in topics.ALL_TOPICS])
        for role in self.live:
            self._start(role, {})
        sessions = asyncio.create_task(self._expire_sessions())
        loads = [asyncio.create_task(self._announce()), asyncio.create_task(self._demand()), asyncio.create_task(self._trouble())]
        await asyncio.gather(*loads)
        self.broker.reliable = True
        for role, live in self.live.items():
            if not live:
                self._start(role, {})
        await self._decided()
        # The one that decided last may have died of it: long enough for another one to take over.
        await asyncio.sleep(100)
        sessions.cancel()
        for live in self.live.values():
            await asyncio.gather(*(one.process.end() for one in live))

    async def close(self) -> None:
        """Lets the dead unwind, now that nobody looks at what they do."""
        for one in self.processes:
            await one.process.end()
        await self.broker.close()

    # What the outside does.

    async def _announce(self) -> None:
        for name in ("event-0", "event-1"):
            await asyncio.sleep(self.random.random() * 3)
            areas = tuple(Area(area, 100, _ROWS, _COLS) for event, area in self.areas if event == name)
            value = encode_event(Event(name, "artist", 0, 0, 0, 0, areas))
            # Announced twice: the second one changes nothing.
            for _ in range(2):
                await self._send(topics.CREATE_EVENT.name, name.encode(), value)

    async def _demand(self) -> None:
        random = self.random
        for reservation_id in self.ids:
            await asyncio.sleep(random.choice((0.0, 0.0, 0.003, 0.5, 3.0)))
            command = self._command()
            # A client that got no answer sends its command again.
            for _ in range(random.choice((1, 1, 1, 2))):
                await self._send(topics.CREATE_RESERVATION.name, reservation_id, command)

    def _command(self) -> bytes:
        random = self.random
        event, area = random.choice([*self.areas, ("event-0", "nowhere")])
        who = encode_who_and_where("somebody", event, area)
        kind = random.choice((ReservationType.RANDOM, ReservationType.RANDOM, ReservationType.SELF_PICK, ReservationType.INVALID))
        chosen = [(random.randrange(_ROWS + 1), random.randrange(_COLS)) for _ in range(random.randrange(3))]
        if kind is ReservationType.SELF_PICK:
            return encode_create(who, len(chosen), kind, encode_seats(chosen))
        return encode_create(who, random.randrange(4), kind, encode_seats([]))

    async def _send(self, topic: str, key: bytes, value: bytes) -> None:
        source = TopicPartition(topic, partition_of(key, self.partitions))
        await self.broker.producer().send({source: [(key, value)]})

    async def _expire_sessions(self) -> None:
        """What heartbeats do on Kafka, and the embedded broker needs not, whose members die with it: throws out who stands still."""
        while True:
            await asyncio.sleep(_SESSION_S)
            for one in self.processes:
                consumer = getattr(one.worker, "_consumer", None)
                if one.process.frozen and consumer:
                    consumer._group.remove(consumer._name)

    async def _decided(self) -> None:
        sources = [TopicPartition(topics.USER_RESERVATION.name, number) for number in range(self.partitions)]
        reader = self.broker.reader(dict.fromkeys(sources, 0))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DECIDED_WITHIN_S
        waiting = set(self.ids)
        while waiting:
            assert loop.time() < deadline, f"not decided: {sorted(waiting)}"
            assert not self._failures(), self._failures()
            for batch in await reader.poll(1_000):
                waiting -= {key for key, _ in batch.records}
        await reader.stop()

    def _failures(self) -> list[str]:
        return [f"{one.process.name}: {one.failure!r}" for one in self.processes if one.failure]

    # What becomes of the processes.

    def _start(self, role: str, stores: Stores) -> None:
        one = RoleProcess(role, len(self.processes), stores)
        areas = AreaCache(self.partitions)
        topology: Topology = event_topology(self.partitions) if role == "event" else reservation_topology(self.partitions, areas)
        worker = StreamWorker(topology, self.broker, one.open_store, _SETTINGS, _Notes(self.troubles))
        table = None
        if role == "reservation":
            table = GlobalTable(self.broker, topics.AREA_STATUS.name, self.partitions, areas.apply, _SETTINGS, Observer())
        self.processes.append(one)
        self.live[role].append(one)
        one.process.start(one.run(worker, table))

    async def _trouble(self) -> None:
        kinds: list[Callable[[str], None]] = [self._die, self._die, self._hang, self._hang, self._join, self._leave]
        for _ in range(self.random.randrange(3, 9)):
            await asyncio.sleep(self.random.choice((0.05, 1.0, 20.0, 70.0)))
            role = self.random.choice(("event", "reservation"))
            kind = self.random.choice(kinds)
            if self.live[role] or kind == self._join:
                self.troubles[kind.__name__] += 1
                kind(role)
        await asyncio.gather(*self._later)

    def _die(self, role: str) -> None:
        """One process dies at any await; another one takes its place, with its disk or without."""
        one = self._removed(role)
        one.process.freeze_after(self.random.randrange(150))
        self._after(self.random.choice((0.5, 1.0)), lambda: self._start(role, self._disk_of(one)))

    def _hang(self, role: str) -> None:
        """One process stands still until the others have thrown it out, or not quite so long."""
        one = self._removed(role)
        one.process.freeze_after(self.random.randrange(150))
        self._after(0.5, lambda: self._start(role, self._disk_of(one)))

        def goes_on() -> None:
            one.process.thaw()
            self.live[role].append(one)

        self._after(self.random.choice((1.0, 50.0, 62.0, 100.0)), goes_on)

    def _join(self, role: str) -> None:
        self._start(role, {})

    def _leave(self, role: str) -> None:
        """One process is asked to stop, and is started again."""
        one = self._removed(role)

        async def stop_and_start() -> None:
            await one.process.end()
            self._start(role, one.stores)

        self._later.append(asyncio.create_task(stop_and_start()))

    def _removed(self, role: str) -> RoleProcess:
        live = self.live[role]
        return live.pop(self.random.randrange(len(live)))

    def _disk_of(self, one: RoleProcess) -> Stores:
        """A copy: what hangs still has its own."""
        return self.random.choice(({}, copy.deepcopy(one.stores)))

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        async def act() -> None:
            await asyncio.sleep(seconds)
            action()

        self._later.append(asyncio.create_task(act()))

    # What became of it.

    def log_of(self, topic: str) -> dict[int, list[tuple[int, Pair]]]:
        """Every (offset, record) of a topic, by partition."""
        found: dict[int, list[tuple[int, Pair]]] = defaultdict(list)
        for log in self.broker.logs:
            if log.source.topic == topic:
                position = 0
                while batches := self.broker.read(log.source, position):
                    for batch in batches:
                        found[log.source.partition] += zip(batch.offsets, batch.records, strict=True)
                    position = batches[-1].next_offset
        return found
