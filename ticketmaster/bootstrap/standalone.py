"""The three roles on the embedded broker, in one process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from ticketmaster.bootstrap.directory import begin_run, check_state
from ticketmaster.bootstrap.doors import Guard, warn_if_open
from ticketmaster.bootstrap.front import Front
from ticketmaster.bootstrap.limits import cancel_settings, end_ms, server_settings, ticket_limits
from ticketmaster.bootstrap.measuring import Measuring
from ticketmaster.bootstrap.operations import operations
from ticketmaster.bootstrap.running import Readiness, Work, run_role, run_until_stopped, stop_signals
from ticketmaster.bootstrap.stores import LETTERS
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.cleaner import Retention
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import Pair, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.config.standalone import StandaloneConfig
from ticketmaster.datadir import LOG_FILE, STATE, locked_data_directory
from ticketmaster.errors import Fatal
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.reservation.rules import KnownRules
from ticketmaster.state.port import StateStores
from ticketmaster.state.sqlite import SqliteStores
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.settings import EMBEDDED
from ticketmaster.streams.table import GlobalTable, OwnedTable, Unreadable
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.logs import configure_logs
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.listening import listeners
from ticketmaster.ticket.listing import Lists
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.routes import Routes
from ticketmaster.wire import topics


def run_standalone(config: StandaloneConfig, on_ready: Callable[[int], None]) -> int:
    """Runs until a signal (0) or a failure (1); ``on_ready`` is given the port. UsageError: it can't start."""
    configure_logs(config.log_level)
    guard = Guard(config.doors, has_peers=False)
    with locked_data_directory(config.state_dir, config.partitions) as directory:
        check_state(directory / STATE, config.partitions)
        return run_role(_run(config, guard, directory, begin_run(directory), on_ready))


async def _run(config: StandaloneConfig, guard: Guard, directory: Path, run: int, on_ready: Callable[[int], None]) -> int:
    async with Measuring("standalone", SystemClock(), config.telemetry, scraped=bool(config.metrics_port)) as measuring:
        return await _Standalone(config, guard, directory, run, measuring).run(on_ready)


class _Standalone:
    """The three roles on the embedded broker, in one process."""

    def __init__(self, config: StandaloneConfig, guard: Guard, directory: Path, run: int, measuring: Measuring) -> None:
        clock, partitions = SystemClock(), config.partitions
        settings = replace(EMBEDDED, table_wait_max_ms=config.rules_wait_ms)
        self._config = config
        self._guard = guard
        self._measuring = measuring
        observer = measuring.observer
        self._directory = directory
        self._run = run
        self._partitions = partitions
        self._broker = broker = EmbeddedBroker(
            SqliteStorage(directory / LOG_FILE), clock, retention=Retention(consumed_bytes_max=config.consumed_log_bytes_max)
        )
        limits = ticket_limits(config)
        areas, rules = AreaCache(partitions, lambda: self._areas.fresh), KnownRules(lambda: self._events.fresh)
        self._event = StreamWorker(event_topology(partitions), broker, self._open_stores, settings, observer)
        topology = reservation_topology(partitions, areas, rules, cancel_settings(config))
        self._reservation = StreamWorker(topology, broker, self._open_stores, settings, observer)
        self._reservations = OwnedTable(
            topics.TICKET_SERVICE, topics.USER_RESERVATION.name, "Reservation", broker, self._open_stores, settings, observer
        )
        catalog = Catalog(lambda: self._areas.ready and self._events.ready)
        self._gateway = gateway = Gateway(broker.producer(), self._reservations, catalog, partitions, clock, limits, observer=observer)

        def on_areas(records: Sequence[Pair]) -> list[Unreadable]:
            # One reader for both tables of areas: the filter's and the gateway's.
            areas.apply(records)
            return gateway.on_areas(records)

        def on_events(records: Sequence[Pair]) -> list[Unreadable]:
            rules.apply(records)
            return gateway.on_events(records)

        self._areas = GlobalTable(broker, topics.AREA_STATUS.name, partitions, on_areas, settings, observer)
        self._events = GlobalTable(broker, topics.EVENT.name, partitions, on_events, settings, observer)
        self._ready = ready = Readiness()
        self._lists = Lists(self._reservations, partitions, limits, lambda: gateway.draining) if config.list_reservations else None
        self._routes = Routes(gateway, ready, limits, lists=self._lists, has_peers=False)
        self._watch = RequestWatch(clock, counts=measuring.counts_requests, logs=config.request_logging, tracer=observer.tracer)
        measuring.watch_ready(ready)
        measuring.watch_state(directory)
        for part in (self._reservations, self._reservation, self._event):
            measuring.watch_partitions(part)
        measuring.watch_holds(self._reservation)
        measuring.watch_gateway(gateway, self._watch)

    def _open_stores(self, application_id: str, names: Sequence[str], partition: int) -> StateStores:
        folder = self._directory / STATE / application_id / str(partition)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise Fatal(f"the state {folder} can't be created: {cause.strerror}") from cause
        return SqliteStores(folder / f"{names[0]}.db", names, self._run)

    @property
    def _serves(self) -> bool:
        return all(part.ready for part in (self._event, self._reservation, self._reservations, self._areas, self._events))

    async def run(self, on_ready: Callable[[int], None]) -> int:
        """Starts everything, waits, and stops everything in the opposite order. A signal while it starts is heeded when it has."""
        signals = stop_signals(end_ms(self._config))
        config = self._config
        (listener,) = listeners(config.bind, config.port)
        warn_if_open(config.doors, config.bind)
        settings = server_settings(config, config.bind)
        async with (
            # Both ports from the start: who asks learns that it is not ready yet.
            Front(settings, self._watch, config.request_body_bytes_max, self._guard.doors) as front,
            operations(config.metrics_port, config.bind, self._ready, self._measuring.asked_families) as operated,
        ):
            port = await front.listen(listener)
            self._guard.on_renewal(front.renew)
            await self._broker.start()
            try:
                specs = [TopicSpec(topic.name, self._partitions, topic.compacted) for topic in topics.ALL_TOPICS]
                letters = [TopicSpec(name, self._partitions) for name in LETTERS]
                await self._broker.create_topics([*specs, *letters])
                front.serve(self._routes, self._gateway, self._lists)
                self._measuring.watch_connections(front.servers)
                self._ready.watch(lambda: self._serves)
                jobs = {**self._jobs(), **front.jobs(), **self._guard.jobs(), "operations": operated()}
                status = await run_until_stopped(Work(jobs, self._ready, lambda: on_ready(port), front.drain, front.fail), signals)
            finally:
                await self._broker.close()
        structlog.get_logger().info("stopped")
        return status

    def _jobs(self) -> dict[str, Coroutine[Any, Any, None]]:
        gateway = self._gateway
        return {
            "areas": self._areas.run(),
            "events": self._events.run(),
            "reservations": self._reservations.run(gateway.on_reservations, gateway.on_table_opened),
            "event": self._event.run(),
            # A sale that is not open, or paused, is known to be so before its first command is read.
            "reservation": self._events.before(self._reservation.run),
            "hand-over": gateway.hand_over(Pace(0)),
            "sweep": gateway.sweep(),
        }
