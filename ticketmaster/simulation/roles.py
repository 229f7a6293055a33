"""A process of one role, or of all three: the real parts, put together as the program does it, on a simulated machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple, TypeVar

from ticketmaster.broker.port import Membership
from ticketmaster.errors import Retriable, TicketmasterError
from ticketmaster.event.lagging import StatusPace
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.reservation.rules import KnownRules
from ticketmaster.simulation.clock import SimulatedClock
from ticketmaster.simulation.disk import Disk, SimulatedStores
from ticketmaster.simulation.hosting import Hosting
from ticketmaster.simulation.journal import Journal
from ticketmaster.simulation.loop import Process
from ticketmaster.simulation.network import Weather
from ticketmaster.state.port import Update
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.table import GlobalTable, OwnedTable
from ticketmaster.streams.topology import Topology
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.observer import DeadLetter, Observer
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.dispatching import Dispatcher
from ticketmaster.ticket.forwarding import AskOwner, Post
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.routes import Routes
from ticketmaster.wire import topics

# Small, so that every limit is met: queues that pause, transactions of a part of the queue, many writes behind.
SETTINGS = StreamSettings(
    transaction_records_max=40,
    queued_records_max=30,
    write_behind_records=25,
    write_behind_interval_ms=2_000,
    poll_timeout_ms=4_000,
    table_age_max_ms=8_000,
    table_wait_max_ms=12_000,
)
# A few areas.
TRANSACTION_BYTES_MAX = 400
# Simulated areas are small, and these wait like large ones.
STATUS_PACE = StatusPace(bytes_min=1, bytes_per_ms=0.2)
_CONNECT_AGAIN_S = 0.5
LIMITS = TicketLimits(long_poll_ms=4_000, drain_ms=3_000)

OnStored = Callable[[str, str, int, Mapping[str, Update], Mapping[str, int]], None]
# ``on_restored(process, task, disk)``: a task begins on what the disk holds of its stores.
OnRestored = Callable[[str, str, Disk], None]
Part = StreamWorker | GlobalTable | OwnedTable
P = TypeVar("P", StreamWorker, GlobalTable, OwnedTable)


class Notes(Observer):
    """The engine's reports, in the journal."""

    def __init__(self, who: str, journal: Journal, on_restored: Callable[[str], None]) -> None:
        self._who = who
        self._journal = journal
        self._on_restored = on_restored

    def partitions_assigned(self, application_id: str, partitions: Sequence[int], generation: int) -> None:
        self._journal.note(self._who, f"owns {list(partitions)} of {application_id}, generation {generation}")

    def reading_failed(self, application_id: str, reason: str) -> None:
        self._journal.note(self._who, f"could not read for {application_id}: {reason}")

    def dead_letters(self, task: str, letters: Sequence[DeadLetter]) -> None:
        self._journal.note(self._who, f"{task} puts aside {[tuple(letter) for letter in letters]}")

    def task_restored(self, task: str, records: int) -> None:
        self._journal.note(self._who, f"{task} restored by {records} records")
        self._on_restored(task)

    def task_restarted(self, task: str, reason: str) -> None:
        self._journal.note(self._who, f"{task} starts over: {reason}")

    def task_migrated(self, task: str, reason: str) -> None:
        self._journal.note(self._who, f"{task} has migrated: {reason}")


class Surroundings(NamedTuple):
    """What all processes of a deployment share."""

    host: Hosting
    partitions: int
    seed: str
    weather: Weather
    journal: Journal
    # ``ask(asking process, address, id)``, or, behind them, what another process is to do.
    ask: Callable[[RoleProcess, str, bytes, Post | None], None]
    # ``on_stored(process, application, partition, updates, before)``: this was written to stores, which had come so far, by their names.
    on_stored: OnStored
    on_restored: OnRestored


def _failure_of(job: asyncio.Task[None]) -> BaseException | None:
    """What a job has ended of; nobody cancels one while its process works."""
    return asyncio.CancelledError("a job was cancelled by nobody") if job.cancelled() else job.exception()


class RoleProcess:
    """One process: it ends when it is stopped, when a job of it fails, or in the middle of anything, when it is frozen for good."""

    def __init__(self, roles: Sequence[str], name: str, disk: Disk, around: Surroundings, clock_shift_s: float = 0.0) -> None:
        self.roles = tuple(roles)
        self.name = name
        self.disk = disk
        self.process = Process(name)
        self.ended = False
        self.killed = False
        # What it has died of, if of itself.
        self.failure: BaseException | None = None
        self.dispatcher: Dispatcher | None = None
        self.gateway: Gateway | None = None
        # When it was last known not to do its work: who waits for it then waits in vain.
        self.disturbed_at_s = -1.0
        random = Random(f"{around.seed} {name}")
        self.clock = SimulatedClock(random, clock_shift_s)
        self.link = around.host.link(name, around.weather, random)
        self._around = around
        self._broker = around.host.connect(self.process, self.link, self.clock)
        self._parts: list[Part] = []
        self._stopping = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return not self.ended and not self.process.frozen and all(part.ready for part in self._parts)

    def start(self) -> None:
        """Begins to work."""
        self._around.journal.note(self.name, "starts")
        self.process.start(self._run())

    def expel(self) -> None:
        """Its groups go on without it."""
        self._around.host.expel(self.process)

    async def stop(self) -> None:
        """Asks it to end in order, and waits until it has."""
        self.process.call(self._stopping.set)
        await asyncio.gather(self.process.job, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while not await self._connected():
                await asyncio.sleep(_CONNECT_AGAIN_S)
            await self._work()
        finally:
            await self._broker.close()
            self.ended = True
            self._around.journal.note(self.name, "has ended")

    async def _connected(self) -> bool:
        try:
            await self._broker.start()
        except Retriable as reason:
            self._around.journal.note(self.name, f"could not connect: {reason}")
            return False
        return True

    async def _work(self) -> None:
        jobs = [asyncio.create_task(work) for work in self._compose()]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stopping, *jobs], return_when=asyncio.FIRST_COMPLETED)
            self.failure = next((_failure_of(job) for job in jobs if job.done()), None)
            if self.failure:
                told = isinstance(self.failure, TicketmasterError)
                self._around.journal.note(self.name, f"dies: {self.failure if told else repr(self.failure)}")
                if self.gateway:
                    await self.gateway.fail()
            elif self.gateway:
                await self.gateway.drain()
        finally:
            for job in (stopping, *jobs):
                job.cancel()
            await asyncio.gather(stopping, *jobs, return_exceptions=True)

    def _compose(self) -> list[Coroutine[Any, Any, None]]:
        work: list[Coroutine[Any, Any, None]] = []
        for role in self.roles:
            work += {"event": self._event, "reservation": self._reservation, "ticket": self._ticket}[role]()
        return work

    def _event(self) -> list[Coroutine[Any, Any, None]]:
        return [self._added(self._worker(event_topology(self._around.partitions, TRANSACTION_BYTES_MAX, STATUS_PACE))).run()]

    def _reservation(self) -> list[Coroutine[Any, Any, None]]:
        areas, rules = AreaCache(self._around.partitions, lambda: statuses.fresh), KnownRules(lambda: events.fresh)
        statuses = self._added(self._table(topics.AREA_STATUS, areas.apply, rest=True))
        events = self._added(self._table(topics.EVENT, rules.apply, rest=False))
        worker = self._added(self._worker(reservation_topology(self._around.partitions, areas, rules)))
        return [events.before(worker.run), statuses.run(), events.run()]

    def _ticket(self) -> list[Coroutine[Any, Any, None]]:
        table = OwnedTable(
            topics.TICKET_SERVICE, topics.USER_RESERVATION.name, "Reservation", self._broker, self._open_stores, SETTINGS, self._notes
        )
        ask: AskOwner = lambda address, key, post=None: self._around.ask(self, address, key, post)  # noqa: E731 - one word more says less
        catalog = Catalog(lambda: areas.ready and events.ready)
        gateway = Gateway(self._broker.producer(), table, catalog, self._around.partitions, self.clock, LIMITS, ask)
        areas = self._added(self._table(topics.AREA_STATUS, gateway.on_areas, rest=False))
        events = self._added(self._table(topics.EVENT, gateway.on_events, rest=False))
        self.gateway = gateway
        self.dispatcher = Dispatcher(Routes(gateway, lambda: self.ready, LIMITS), None)
        membership = self._membership(topics.TICKET_SERVICE)
        return [
            self._added(table).run(gateway.on_reservations, gateway.on_table_opened, gateway.on_assigned, membership),
            areas.run(),
            events.run(),
            gateway.hand_over(Pace(SETTINGS.commit_interval_max_ms)),
            gateway.sweep(),
        ]

    @property
    def _notes(self) -> Notes:
        return Notes(self.name, self._around.journal, lambda task: self._around.on_restored(self.name, task, self.disk))

    def _added(self, part: P) -> P:
        self._parts.append(part)
        return part

    def _worker(self, topology: Topology) -> StreamWorker:
        membership = self._membership(topology.application_id)
        return StreamWorker(topology, self._broker, self._open_stores, SETTINGS, self._notes, membership)

    def _membership(self, application_id: str) -> Membership:
        return Membership(self.name, partial(self.disk.stored, application_id), self.disk.note_member)

    def _table(self, topic: topics.Topic, apply: Callable[..., Any], *, rest: bool) -> GlobalTable:
        return GlobalTable(self._broker, topic.name, self._around.partitions, apply, SETTINGS, self._notes, rest=rest)

    def _open_stores(self, application_id: str, names: Sequence[str], partition: int) -> SimulatedStores:
        return self.disk.open(application_id, names, partition, partial(self._around.on_stored, self.name, application_id, partition))
