"""The composition root: the only place that picks adapters and puts the roles together."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
import uvloop

import ticketmaster
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.cleaner import Retention
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import Pair, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.config.standalone import StandaloneConfig
from ticketmaster.datadir import locked_data_directory
from ticketmaster.domain.event import EventLimits
from ticketmaster.errors import Fatal, TicketmasterError
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.state.port import StateStore
from ticketmaster.state.sqlite import SqliteStore
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.table import GlobalTable, OwnedTable, Unreadable
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.logs import LogObserver, configure_logs
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.requests import RequestLog
from ticketmaster.ticket.routes import Routes
from ticketmaster.ticket.server import HttpServer
from ticketmaster.ticket.settings import ServerSettings
from ticketmaster.wire import topics

_GC_ALLOCATIONS = 50_000
_READY_POLL_S = 0.002


def run_standalone(config: StandaloneConfig, on_ready: Callable[[int], None]) -> int:
    """Runs until a signal (0) or a failure (1); ``on_ready`` is given the port. UsageError: it can't start."""
    configure_logs(config.log_level)
    with locked_data_directory(config.state_dir, config.partitions) as directory:
        return uvloop.run(_Standalone(config, directory).run(on_ready))


def log_ready(config: StandaloneConfig, url: str) -> None:
    """One line for machines: requests are served."""
    directory = str(config.state_dir.resolve())
    structlog.get_logger().info("ready", url=url, docs=f"{url}/docs", data_directory=directory, version=ticketmaster.__version__)


def _limits(config: StandaloneConfig) -> TicketLimits:
    return TicketLimits(
        event=EventLimits(
            areas_max=config.areas_per_event_max,
            seats_per_area_max=config.seats_per_area_max,
            seats_per_event_max=config.seats_per_event_max,
        ),
        request_body_bytes_max=config.request_body_bytes_max,
        seats_per_reservation_max=config.seats_per_reservation_max,
        waiting_requests_max=config.waiting_requests_max,
        commands_in_flight_max=config.commands_in_flight_max,
        requests_in_flight_max=config.max_threads,
        long_poll_ms=config.long_poll_ms,
        drain_ms=config.drain_ms,
    )


def _calm_garbage_collection() -> None:
    """Records are made and dropped by the thousand and form no cycles: look for cycles rarely, and never among modules."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 100)


class _Standalone:
    """The three roles on the embedded broker, in one process."""

    def __init__(self, config: StandaloneConfig, directory: Path) -> None:
        clock, settings, observer, partitions = SystemClock(), StreamSettings(), LogObserver(), config.partitions
        self._directory = directory
        self._partitions = partitions
        self._log = structlog.get_logger()
        self._broker = broker = EmbeddedBroker(
            SqliteStorage(directory / "log.db"), clock, retention=Retention(consumed_bytes_max=config.consumed_log_bytes_max)
        )
        limits = _limits(config)
        areas = AreaCache(partitions)
        self._event = StreamWorker(event_topology(partitions), broker, self._open_store, settings, observer)
        self._reservation = StreamWorker(reservation_topology(partitions, areas), broker, self._open_store, settings, observer)
        self._reservations = OwnedTable(
            topics.TICKET_SERVICE, topics.USER_RESERVATION.name, "Reservation", broker, self._open_store, settings, observer
        )
        self._gateway = gateway = Gateway(broker.producer(), self._reservations, Catalog(), partitions, clock, limits)

        def on_areas(records: Sequence[Pair]) -> list[Unreadable]:
            # One reader for both tables of areas: the filter's and the gateway's.
            areas.apply(records)
            return gateway.on_areas(records)

        self._areas = GlobalTable(broker, topics.AREA_STATUS.name, partitions, on_areas, settings, observer)
        routes = Routes(gateway, lambda: self._ready, limits)
        server_settings = ServerSettings(config.bind, config.port, config.selectors, connections_max=config.connections_max)
        self._server = HttpServer(routes, server_settings, RequestLog(clock) if config.request_logging else None)

    def _open_store(self, application_id: str, store: str, partition: int) -> StateStore:
        folder = self._directory / "state" / application_id / str(partition)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise Fatal(f"the state {folder} can't be created: {cause.strerror}") from cause
        return SqliteStore(folder / f"{store}.db")

    @property
    def _ready(self) -> bool:
        return all(part.ready for part in (self._event, self._reservation, self._reservations, self._areas))

    async def run(self, on_ready: Callable[[int], None]) -> int:
        """Starts everything, waits, and stops everything in the opposite order."""
        await self._broker.start()
        try:
            specs = [TopicSpec(topic.name, self._partitions, topic.compacted) for topic in topics.ALL_TOPICS]
            await self._broker.create_topics(specs)
            return await self._serve(on_ready)
        finally:
            await self._broker.close()

    async def _serve(self, on_ready: Callable[[int], None]) -> int:
        signals: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, signals.put_nowait, number.name)
        port = await self._server.start()
        gateway = self._gateway
        work = {
            "areas": self._areas.run(),
            "reservations": self._reservations.run(gateway.on_reservations, gateway.on_table_opened),
            "event": self._event.run(),
            "reservation": self._reservation.run(),
            "hand-over": gateway.hand_over(),
            "sweep": gateway.sweep(),
        }
        jobs = {asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()}
        stopping = asyncio.create_task(signals.get(), name="signals")
        try:
            # The parts become ready on their own, in no order: a look at all of them is simpler than an event in each.
            while not self._ready and not stopping.done() and not any(job.done() for job in jobs):  # noqa: ASYNC110
                await asyncio.sleep(_READY_POLL_S)
            if self._ready:
                _calm_garbage_collection()
                on_ready(port)
            await asyncio.wait({stopping, *jobs}, return_when=asyncio.FIRST_COMPLETED)
            failure = next((job.exception() for job in jobs if job.done()), None)
            if failure:
                self._report(failure)
                gateway.fail()
            else:
                self._log.info("stopping", signal=stopping.result())
                await gateway.drain()
        finally:
            await self._server.stop()
            for job in (stopping, *jobs):
                job.cancel()
            await asyncio.gather(stopping, *jobs, return_exceptions=True)
        self._log.info("stopped")
        return 1 if failure else 0

    def _report(self, failure: BaseException) -> None:
        if isinstance(failure, TicketmasterError):
            self._log.error("failed", reason=str(failure), advice="what was acknowledged is kept: mend the cause and start again")
        else:
            self._log.error("failed", reason="a defect of the program", exc_info=failure)
