"""The three roles on the embedded broker, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from ticketmaster.bootstrap.limits import server_settings, ticket_limits
from ticketmaster.bootstrap.measuring import Measuring
from ticketmaster.bootstrap.operations import operations
from ticketmaster.bootstrap.running import Work, run_role, run_until_stopped, stop_signals
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.cleaner import Retention
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import Pair, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.config.standalone import StandaloneConfig
from ticketmaster.datadir import LOG_FILE, locked_data_directory
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.state.port import StateStores
from ticketmaster.state.sqlite import SqliteStores
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.settings import EMBEDDED
from ticketmaster.streams.table import GlobalTable, OwnedTable, Unreadable
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.logs import configure_logs
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.routes import Routes
from ticketmaster.ticket.server import HttpServer
from ticketmaster.wire import topics

_STATE = "state"


def run_standalone(config: StandaloneConfig, on_ready: Callable[[int], None]) -> int:
    """Runs until a signal (0) or a failure (1); ``on_ready`` is given the port. UsageError: it can't start."""
    configure_logs(config.log_level)
    with locked_data_directory(config.state_dir, config.partitions) as directory:
        if (directory / _STATE).exists() and not (directory / LOG_FILE).exists():
            # The log is the truth: without it every seat would be free again.
            raise UsageError(f"{directory} has state but no {LOG_FILE}: put that back from a backup, or choose another directory with -d")
        return run_role(_run(config, directory, on_ready))


async def _run(config: StandaloneConfig, directory: Path, on_ready: Callable[[int], None]) -> int:
    async with Measuring("standalone", SystemClock(), config.telemetry, scraped=bool(config.metrics_port)) as measuring:
        return await _Standalone(config, directory, measuring).run(on_ready)


class _Standalone:
    """The three roles on the embedded broker, in one process."""

    def __init__(self, config: StandaloneConfig, directory: Path, measuring: Measuring) -> None:
        clock, settings, partitions = SystemClock(), EMBEDDED, config.partitions
        self._config = config
        self._measuring = measuring
        observer = measuring.observer
        self._directory = directory
        self._partitions = partitions
        self._is_leaving = False
        self._broker = broker = EmbeddedBroker(
            SqliteStorage(directory / LOG_FILE), clock, retention=Retention(consumed_bytes_max=config.consumed_log_bytes_max)
        )
        limits = ticket_limits(config)
        areas = AreaCache(partitions)
        self._event = StreamWorker(event_topology(partitions), broker, self._open_stores, settings, observer)
        self._reservation = StreamWorker(reservation_topology(partitions, areas), broker, self._open_stores, settings, observer)
        self._reservations = OwnedTable(
            topics.TICKET_SERVICE, topics.USER_RESERVATION.name, "Reservation", broker, self._open_stores, settings, observer
        )
        self._gateway = gateway = Gateway(broker.producer(), self._reservations, Catalog(), partitions, clock, limits, observer=observer)

        def on_areas(records: Sequence[Pair]) -> list[Unreadable]:
            # One reader for both tables of areas: the filter's and the gateway's.
            areas.apply(records)
            return gateway.on_areas(records)

        self._areas = GlobalTable(broker, topics.AREA_STATUS.name, partitions, on_areas, settings, observer)
        routes = Routes(gateway, lambda: self._ready, limits)
        watch = RequestWatch(clock, counts=measuring.counts_requests, logs=config.request_logging, tracer=observer.tracer)
        self._server = server = HttpServer(routes, server_settings(config, config.bind, config.port), watch)
        gateway.is_crowded = lambda: server.is_crowded
        measuring.watch_ready(lambda: self._ready)
        measuring.watch_state(directory)
        for part in (self._reservations, self._reservation, self._event):
            measuring.watch_partitions(part)
        measuring.watch_gateway(gateway, watch)
        measuring.watch_connections([server])

    def _open_stores(self, application_id: str, names: Sequence[str], partition: int) -> StateStores:
        folder = self._directory / _STATE / application_id / str(partition)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise Fatal(f"the state {folder} can't be created: {cause.strerror}") from cause
        return SqliteStores(folder / f"{names[0]}.db", names)

    @property
    def _ready(self) -> bool:
        return not self._is_leaving and all(part.ready for part in (self._event, self._reservation, self._reservations, self._areas))

    async def run(self, on_ready: Callable[[int], None]) -> int:
        """Starts everything, waits, and stops everything in the opposite order. A signal while it starts is heeded when it has."""
        signals = stop_signals()
        await self._broker.start()
        try:
            specs = [TopicSpec(topic.name, self._partitions, topic.compacted) for topic in topics.ALL_TOPICS]
            await self._broker.create_topics(specs)
            config = self._config
            async with operations(config.metrics_port, config.bind, lambda: self._ready, self._measuring.asked_families):
                return await self._serve(on_ready, signals)
        finally:
            await self._broker.close()

    async def _drain(self) -> None:
        self._is_leaving = True
        await self._server.retire()
        await self._gateway.drain()

    async def _serve(self, on_ready: Callable[[int], None], signals: asyncio.Queue[str]) -> int:
        port = await self._server.start()
        gateway = self._gateway
        work = Work(
            jobs={
                "areas": self._areas.run(),
                "reservations": self._reservations.run(gateway.on_reservations, gateway.on_table_opened),
                "event": self._event.run(),
                "reservation": self._reservation.run(),
                "hand-over": gateway.hand_over(Pace(0)),
                "sweep": gateway.sweep(),
            },
            ready=lambda: self._ready,
            on_ready=lambda: on_ready(port),
            drain=self._drain,
            fail=gateway.fail,
        )
        try:
            status = await run_until_stopped(work, signals)
        finally:
            await self._server.stop()
        structlog.get_logger().info("stopped")
        return status
