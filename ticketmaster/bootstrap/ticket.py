"""The ticket role on Kafka: one gateway process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import structlog

from ticketmaster.bootstrap.kafka import RoleContext, role_context
from ticketmaster.bootstrap.limits import server_settings, ticket_limits
from ticketmaster.bootstrap.measuring import Measuring
from ticketmaster.bootstrap.operations import operations
from ticketmaster.bootstrap.running import Work, run_role, run_until_stopped, stop_signals, unless_stopped
from ticketmaster.bootstrap.supervisor import Supervision, supervise
from ticketmaster.bootstrap.workers import WorkerLink
from ticketmaster.clock import SystemClock
from ticketmaster.config.roles import TicketConfig
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.table import GlobalTable, OwnedTable
from ticketmaster.telemetry.logs import configure_logs
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.peers import Peers
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.routes import Routes
from ticketmaster.ticket.server import HttpServer, free_port
from ticketmaster.wire import topics

# A peer answers within the time of a long poll; a little later nothing is expected of it any more.
_PEER_GRACE_MS = 1_000


def run_ticket(config: TicketConfig, arguments: Sequence[str], on_ready: Callable[[str], None]) -> int:
    """Runs until a signal (0) or a failure (1); ``on_ready`` is given the address. UsageError: it can't start.

    ``arguments`` are those of the command line: with several workers, each is started with them.
    """
    configure_logs(config.role.log_level)
    link = WorkerLink.from_environment()
    if link:
        return run_role(_run(config, link, lambda _: None))
    if config.role.workers == 1:
        return run_role(_run(config, None, on_ready))
    port = free_port(config.role.bind, config.port)
    supervision = Supervision(topics.TICKET_SERVICE, config.role, arguments, port, config.drain_ms)
    return supervise(supervision, lambda: on_ready(f"http://{config.hostname}:{port}"))


async def _run(config: TicketConfig, link: WorkerLink | None, on_ready: Callable[[str], None]) -> int:
    signals = stop_signals()
    status, role = 0, config.role
    async with AsyncExitStack() as stack:
        scraped = bool(role.metrics_port)
        measuring = await stack.enter_async_context(Measuring(topics.TICKET_SERVICE, SystemClock(), role.telemetry, scraped=scraped))
        if link:
            link.watch(signals, measuring.families)
        running: list[_Ticket] = []

        def ready() -> bool:
            return any(one.ready for one in running)

        measuring.watch_ready(ready)
        if not link:
            # From the start: who asks learns that it is not ready yet.
            listening = operations(role.metrics_port, role.bind, ready, measuring.asked_families)
            await stack.enter_async_context(listening)
        # It may wait long for the registry.
        starting = stack.enter_async_context(role_context(role, topics.TICKET_SERVICE, measuring.observer))
        context = await unless_stopped(starting, signals)
        if context:
            running.append(_Ticket(config, context, link, measuring))
            status = await running[0].serve(signals, on_ready)
    structlog.get_logger().info("stopped")
    return status


class _Ticket:
    def __init__(self, config: TicketConfig, context: RoleContext, link: WorkerLink | None, measuring: Measuring) -> None:
        self._config = config
        self._context = context
        self._link = link
        self._servers: list[HttpServer] = []
        self._is_leaving = False
        broker, limits = context.broker, ticket_limits(config)
        self._reservations = OwnedTable(
            topics.TICKET_SERVICE,
            topics.USER_RESERVATION.name,
            "Reservation",
            broker,
            context.open_stores,
            context.settings,
            context.observer,
        )
        self._peers = Peers(self._on_peer_answer, self._on_peer_failure, limits.long_poll_ms + _PEER_GRACE_MS)
        self._gateway = Gateway(
            broker.producer(),
            self._reservations,
            Catalog(),
            context.partitions,
            context.clock,
            limits,
            self._peers.ask,
            measuring.observer,
        )
        self._areas = GlobalTable(
            broker, topics.AREA_STATUS.name, context.partitions, self._gateway.on_areas, context.settings, context.observer
        )
        self._routes = Routes(self._gateway, lambda: self.ready, limits)
        self._watch = requests = RequestWatch(
            context.clock,
            counts=measuring.counts_requests,
            logs=config.request_logging,
            tracer=measuring.observer.tracer,
        )
        measuring.watch_state(context.slot.folder)
        measuring.watch_partitions(self._reservations)
        measuring.watch_gateway(self._gateway, requests)
        measuring.watch_connections(self._servers)
        self._gateway.is_crowded = lambda: any(server.is_crowded for server in self._servers)

    def _on_peer_answer(self, key: bytes, status: int, body: bytes, traceparent: bytes) -> None:
        self._gateway.on_peer_answer(key, status, body, traceparent)

    def _on_peer_failure(self, key: bytes) -> None:
        self._gateway.on_peer_failure(key)

    @property
    def ready(self) -> bool:
        """Whether it serves all its partitions."""
        return not self._is_leaving and self._reservations.ready and self._areas.ready

    async def serve(self, signals: asyncio.Queue[str], on_ready: Callable[[str], None]) -> int:
        """Starts everything, waits, and stops everything in the opposite order."""
        config, link, gateway = self._config, self._link, self._gateway
        _, port = await self._listen(link.port if link else config.port, shared=link is not None)
        address = f"{config.hostname}:{port}"
        if link:
            # Of a port that is shared nobody knows who answers: other processes reach this one at a port of its own.
            _, own_port = await self._listen(0, shared=False)
            peer_address = f"{config.hostname}:{own_port}"
        else:
            peer_address = address
        jobs = {
            "areas": self._areas.run(),
            "reservations": self._reservations.run(
                gateway.on_reservations, gateway.on_table_opened, gateway.on_assigned, self._context.membership(peer_address)
            ),
            "hand-over": gateway.hand_over(Pace(self._context.settings.commit_interval_max_ms)),
            "sweep": gateway.sweep(),
        }
        if link:
            jobs["report"] = link.report(lambda: self.ready)
        work = Work(jobs, lambda: self.ready, lambda: on_ready(f"http://{address}"), self._drain, gateway.fail)
        try:
            return await run_until_stopped(work, signals)
        finally:
            for server in self._servers:
                await server.stop()
            self._peers.close()

    async def _listen(self, port: int, *, shared: bool) -> tuple[HttpServer, int]:
        config = self._config
        delivery_ms = config.role.kafka.delivery_timeout_ms
        settings = server_settings(config, config.role.bind, port, shared=shared, answer_ms=delivery_ms)
        server = HttpServer(self._routes, settings, self._watch)
        self._servers.append(server)
        return server, await server.start()

    async def _drain(self) -> None:
        self._is_leaving = True
        await asyncio.gather(*(server.retire() for server in self._servers))
        await self._gateway.drain()
