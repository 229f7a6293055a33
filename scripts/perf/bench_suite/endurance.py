"""One long sale in one data directory: whether a reservation costs at its end what it cost at its beginning.

The three roles of `standalone` without its HTTP server, in this process. Every share of the sale has new areas of its own, so that
the work is the same all along; what differs is how much lies in the directory.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from rich.table import Table

from scripts.perf.bench_suite.calibration import calibrate
from scripts.perf.bench_suite.processes import MIB, disk_bytes
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import NO_PLACED_HEADERS, Pair, PlacedHeaders, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.datadir import LOG_FILE, locked_data_directory
from ticketmaster.domain.event import Area, Event
from ticketmaster.domain.reservation import ReservationType
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.state.port import StateStores
from ticketmaster.state.sqlite import SqliteStores
from ticketmaster.streams.settings import EMBEDDED
from ticketmaster.streams.table import GlobalTable, OwnedTable
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.observer import Observer
from ticketmaster.ticket.ids import IdMint
from ticketmaster.wire import topics
from ticketmaster.wire.events import encode_event
from ticketmaster.wire.reservations import encode_create, encode_seats, encode_who_and_where

_PARTITIONS = 1
_BATCH = 1_000
_IN_FLIGHT = 8_000
_SEATS = (1, 2, 3, 4)
_AREAS_PER_EVENT = 100
# A tenth more seats than are asked for, so that nearly all are reserved.
_SEATS_MORE = 1.1
_TICK_S = 0.001
_READY_TIMEOUT_S = 120.0
_PROGRESS_TIMEOUT_S = 120.0


class Plan(NamedTuple):
    """How long a sale, and of what."""

    reservations: int
    shares: int
    rows: int
    cols: int


class Share(NamedTuple):
    """What a share of the sale took, and what the directory held behind it."""

    sold: int
    cpu_us: float
    wall_us: float
    silence_ms: float
    step_ms: float
    calibration_us: float
    log_mib: float
    directory_mib: float


class Ended(NamedTuple):
    """The sale as a whole, and the start on what it left."""

    shares: list[Share]
    topics_mib: dict[str, float]
    load_ms: float
    start_ms: float

    @property
    def ratio(self) -> float:
        """The cost of a reservation in the last third over that in the first, without the very first share, which warms up.

        In units of the calibration loop, so that what others do to the machine meanwhile counts less.
        """
        third = max(1, (len(self.shares) - 1) // 3)
        costs = [share.cpu_us / share.calibration_us for share in self.shares]
        return sum(costs[-third:]) / sum(costs[1 : third + 1])


def endure(directory: Path, plan: Plan, say: Callable[[str], None]) -> Ended:
    """Sells, stops, and starts again on what is there."""
    return uvloop.run(_endure(directory, plan, say))


async def _endure(directory: Path, plan: Plan, say: Callable[[str], None]) -> Ended:
    shares: list[Share] = []
    per_share = plan.reservations // plan.shares
    with locked_data_directory(directory, _PARTITIONS):
        async with _running(directory) as roles:
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
            for number in range(plan.shares):
                shares.append(await roles.sell(f"sale-{number}", per_share, plan))
                say(f"{(number + 1) * per_share:,} of {plan.reservations:,} reservations, {shares[-1].cpu_us:.1f} µs of CPU each")
            sizes = {log.source.topic: log.size_bytes / MIB for log in roles.broker.logs}
        began = time.monotonic()
        storage = SqliteStorage(directory / LOG_FILE)
        storage.load()
        load_ms = 1_000 * (time.monotonic() - began)
        storage.close()
        began = time.monotonic()
        async with _running(directory):
            start_ms = 1_000 * (time.monotonic() - began)
    return Ended(shares, sizes, load_ms, start_ms)


@asynccontextmanager
async def _running(directory: Path) -> AsyncIterator[_Roles]:
    async with AsyncExitStack() as stack:
        roles = _Roles(directory)
        await roles.broker.start()
        stack.push_async_callback(roles.broker.close)
        await roles.broker.create_topics([TopicSpec(topic.name, _PARTITIONS, topic.compacted) for topic in topics.ALL_TOPICS])
        jobs = [asyncio.create_task(job) for job in roles.jobs()]
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                while not roles.ready:  # noqa: ASYNC110 - the parts become ready on their own
                    await asyncio.sleep(0.005)
            yield roles
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)


class _Roles:
    """The three roles on one embedded broker, and who sells through them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        clock, observer, areas = SystemClock(), Observer(), AreaCache(_PARTITIONS, lambda: self._areas.fresh)
        self.broker = broker = EmbeddedBroker(SqliteStorage(directory / LOG_FILE), clock)
        self._event = StreamWorker(event_topology(_PARTITIONS), broker, self._open_stores, EMBEDDED, observer)
        self._reservation = StreamWorker(reservation_topology(_PARTITIONS, areas), broker, self._open_stores, EMBEDDED, observer)
        self._table = OwnedTable(
            topics.TICKET_SERVICE, topics.USER_RESERVATION.name, "Reservation", broker, self._open_stores, EMBEDDED, observer
        )
        self._areas_seen: set[bytes] = set()

        def on_areas(records: Sequence[Pair]) -> list[tuple[int, str]]:
            areas.apply(records)
            self._areas_seen.update(key for key, _ in records)
            self._progress.set()
            return []

        self._areas = GlobalTable(broker, topics.AREA_STATUS.name, _PARTITIONS, on_areas, EMBEDDED, observer)
        self._mint = IdMint(clock, _PARTITIONS)
        self._decided = 0
        self._progress = asyncio.Event()

    def _open_stores(self, application_id: str, names: Sequence[str], partition: int) -> StateStores:
        folder = self._directory / "state" / application_id / str(partition)
        folder.mkdir(parents=True, exist_ok=True)
        return SqliteStores(folder / f"{names[0]}.db", names)

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs all the time."""
        return [self._areas.run(), self._table.run(self._on_decided, lambda: None), self._event.run(), self._reservation.run()]

    @property
    def ready(self) -> bool:
        """Whether everything is served."""
        return all(part.ready for part in (self._event, self._reservation, self._table, self._areas))

    def _on_decided(self, records: Sequence[Pair], _: PlacedHeaders = NO_PLACED_HEADERS) -> None:
        self._decided += len(records)
        self._progress.set()

    async def sell(self, name: str, reservations: int, plan: Plan) -> Share:
        """A share of the sale, in areas of its own."""
        seats = sum(_SEATS) / len(_SEATS) * reservations * _SEATS_MORE
        places = await self._announce(name, max(1, round(seats / (plan.rows * plan.cols))), plan)
        self._decided, sent = 0, 0
        before_us, silence = calibrate(), _Silence()
        ticking = asyncio.create_task(silence.watch())
        cpu_s, wall_s = time.process_time(), time.monotonic()
        asked = itertools.cycle(_SEATS)
        while self._decided < reservations:
            while sent < reservations and sent - self._decided < _IN_FLIGHT:
                count = min(_BATCH, reservations - sent)
                commands = [self._command(places, sent + at, next(asked)) for at in range(count)]
                await self.broker.producer().send({TopicPartition(topics.CREATE_RESERVATION.name, 0): commands})
                sent += count
            self._progress.clear()
            if self._decided < sent:
                await self._progressed()
        cpu_us, wall_us = (1e6 * spent / reservations for spent in (time.process_time() - cpu_s, time.monotonic() - wall_s))
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        log_mib = sum(file.stat().st_size for file in self._directory.glob(f"{LOG_FILE}*")) / MIB
        calibration_us = (before_us + calibrate()) / 2
        directory_mib = disk_bytes(self._directory) / MIB
        return Share(
            reservations, cpu_us, wall_us, 1e3 * silence.longest_s, 1e3 * silence.busiest_s, calibration_us, log_mib, directory_mib
        )

    async def _progressed(self) -> None:
        """TimeoutError: a role has ended, or stands still."""
        async with asyncio.timeout(_PROGRESS_TIMEOUT_S):
            await self._progress.wait()

    async def _announce(self, event: str, count: int, plan: Plan) -> list[tuple[str, str]]:
        places = [(f"{event}-{at // _AREAS_PER_EVENT}", f"area-{at % _AREAS_PER_EVENT}") for at in range(count)]
        for name, areas in itertools.groupby(places, key=lambda place: place[0]):
            shapes = tuple(Area(area, 100, plan.rows, plan.cols) for _, area in areas)
            record = name.encode(), encode_event(Event(name, "", 0, 1, 2, 3, shapes))
            await self.broker.producer().send({TopicPartition(topics.CREATE_EVENT.name, 0): [record]})
        wanted = {f"{name}#{area}".encode() for name, area in places}
        while not wanted <= self._areas_seen:
            self._progress.clear()
            await self._progressed()
        self._areas_seen.clear()
        return places

    def _command(self, places: Sequence[tuple[str, str]], number: int, seats: int) -> Pair:
        key, _ = self._mint.mint()
        who = encode_who_and_where(f"user-{number}", *places[number % len(places)])
        return key, encode_create(who, seats, ReservationType.RANDOM, encode_seats([]))


class _Silence:
    """The longest time for which the loop took no turn, and the most CPU of its thread from one to the next."""

    def __init__(self) -> None:
        self.longest_s = self.busiest_s = 0.0

    async def watch(self) -> None:
        last_s, last_cpu_s = time.monotonic(), time.thread_time()
        while True:
            await asyncio.sleep(_TICK_S)
            now_s, cpu_s = time.monotonic(), time.thread_time()
            self.longest_s = max(self.longest_s, now_s - last_s - _TICK_S)
            self.busiest_s = max(self.busiest_s, cpu_s - last_cpu_s)
            last_s, last_cpu_s = now_s, cpu_s


def told(ended: Ended) -> Table:
    """The figures as a table."""
    table = Table(title=f"CPU a reservation, last third over first: {ended.ratio:.3f}", box=None, title_justify="left")
    for name in (
        "reservations",
        "CPU, µs each",
        "wall, µs each",
        "loop: silence, ms",
        "CPU, ms",
        "calibration, µs",
        "log, MiB",
        "directory, MiB",
        "bytes each",
    ):
        table.add_column(name, justify="right")
    sold = 0
    for share in ended.shares:
        sold += share.sold
        numbers = (share.cpu_us, share.wall_us, share.silence_ms, share.step_ms, share.calibration_us, share.log_mib, share.directory_mib)
        table.add_row(f"{sold:,}", *(f"{number:,.2f}" for number in numbers), f"{share.directory_mib * MIB / sold:,.0f}")
    largest = sorted(ended.topics_mib.items(), key=lambda item: -item[1])
    table.caption = "\n".join(
        [
            f"log loaded in {ended.load_ms:,.1f} ms, all ready in {ended.start_ms:,.0f} ms",
            *(f"{mib:9,.1f} MiB  {name}" for name, mib in largest),
        ]
    )
    table.caption_justify = "left"
    return table
