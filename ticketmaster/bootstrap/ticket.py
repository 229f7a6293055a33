"""The ticket role on Kafka: one gateway process."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog

from ticketmaster.bootstrap.doors import Guard, warn_if_open
from ticketmaster.bootstrap.front import Front
from ticketmaster.bootstrap.kafka import RoleContext, role_context
from ticketmaster.bootstrap.limits import end_ms, server_settings, ticket_limits
from ticketmaster.bootstrap.measuring import Measuring
from ticketmaster.bootstrap.operations import operations
from ticketmaster.bootstrap.running import Readiness, Work, run_role, run_until_stopped, stop_signals, unless_stopped
from ticketmaster.bootstrap.supervisor import Supervision, supervise
from ticketmaster.bootstrap.workers import WorkerLink
from ticketmaster.broker.port import Assignment, Pair
from ticketmaster.clock import SystemClock
from ticketmaster.config.roles import TicketConfig
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.table import GlobalTable, OwnedTable, Unreadable
from ticketmaster.telemetry.logs import OccasionalLog, configure_logs
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.listening import is_listening, listeners
from ticketmaster.ticket.listing import Lists, is_list
from ticketmaster.ticket.peers import Peers
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.routes import Routes
from ticketmaster.urls import host_and_port
from ticketmaster.wire import topics

# A peer answers within the time of a long poll; a little later nothing is expected of it any more.
_PEER_GRACE_MS = 1_000
# Of whoever asks without the secret.
_REFUSED = 404


def run_ticket(config: TicketConfig, arguments: Sequence[str], on_ready: Callable[[str], None]) -> int:
    """Runs until a signal (0) or a failure (1); ``on_ready`` is given the address. UsageError: it can't start.

    ``arguments`` are those of the command line: with several workers, each is started with them.
    """
    configure_logs(config.role.log_level)
    link, role = WorkerLink.from_environment(), config.role
    guard = Guard(config.doors, has_peers=True)
    if link:
        assert link.listener, "a supervisor of this role opens a socket for each worker"
        return run_role(_run(config, guard, link, link.listener, lambda _: None))
    # Before anything is waited for: that a port is taken is said at once.
    opened = listeners(role.bind, config.port, role.workers)
    warn_if_open(config.doors, role.bind)
    if role.workers == 1:
        return run_role(_run(config, guard, None, opened[0], on_ready))
    url = f"{config.doors.scheme}://{host_and_port(config.hostname, opened[0].getsockname()[1])}"
    return supervise(Supervision(topics.TICKET_SERVICE, role, arguments, opened, end_ms(config)), lambda: on_ready(url))


async def _run(
    config: TicketConfig, guard: Guard, link: WorkerLink | None, listener: socket.socket, on_ready: Callable[[str], None]
) -> int:
    signals = stop_signals(end_ms(config))
    status, role, port = 0, config.role, listener.getsockname()[1]
    async with AsyncExitStack() as stack:
        scraped = bool(role.metrics_port)
        measuring = await stack.enter_async_context(Measuring(topics.TICKET_SERVICE, SystemClock(), role.telemetry, scraped=scraped))
        if link:
            link.watch(signals, measuring.families)
        ready = Readiness()
        measuring.watch_ready(ready)
        watch = RequestWatch(SystemClock(), counts=measuring.counts_requests, logs=config.request_logging, tracer=measuring.observer.tracer)
        # Both ports from the start: who asks learns that it is not ready yet. For workers their supervisor answers operators.
        settings = server_settings(config, role.bind, answer_ms=role.kafka.delivery_timeout_ms)
        front = await stack.enter_async_context(Front(settings, watch, config.request_body_bytes_max, guard.doors))
        # The socket of a worker that died does not listen: as long as its successor does not serve, the others take what comes.
        replaces = not is_listening(listener)
        guard.on_renewal(front.renew)
        if not replaces:
            await front.listen(listener)
        address = host_and_port(config.hostname, port)
        metrics_port = 0 if link else role.metrics_port
        operated = await stack.enter_async_context(operations(metrics_port, role.bind, ready, measuring.asked_families, ready.is_open))
        # It may wait long for the registry.
        starting = stack.enter_async_context(role_context(role, topics.TICKET_SERVICE, measuring.observer))
        context = await unless_stopped(starting, signals)
        if context:
            ticket = _Ticket(config, guard, context, measuring)
            stack.callback(ticket.close)
            measuring.watch_gateway(ticket.gateway, watch)
            measuring.watch_connections(front.servers)
            ready.watch(lambda: ticket.serves, lambda: ticket.rebalancing)
            front.serve(Routes(ticket.gateway, ready, ticket_limits(config), ready.is_open, ticket.lists), ticket.gateway, ticket.lists)
            # Of a port that is shared nobody knows who answers, and processes speak without TLS: they reach this one at a port of its own.
            peer_address = host_and_port(config.hostname, await front.listen_apart()) if link or config.doors.tls else address
            jobs = {**ticket.jobs(peer_address), **front.jobs(), **guard.jobs(), "operations": operated()}
            if link:
                jobs["report"] = link.report(ready, ready.is_open)
            if replaces:
                jobs["listen"] = front.listen_when(ready, listener)
            work = Work(jobs, ready, lambda: on_ready(f"{config.doors.scheme}://{address}"), front.drain, front.fail)
            status = await run_until_stopped(work, signals)
    structlog.get_logger().info("stopped")
    return status


class _Ticket:
    def __init__(self, config: TicketConfig, guard: Guard, context: RoleContext, measuring: Measuring) -> None:
        self._context = context
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
        guard.introduce(self._peers)
        self._occasional = OccasionalLog(context.clock.monotonic_s)
        self.gateway = Gateway(
            broker.producer(),
            self._reservations,
            Catalog(lambda: self._areas.ready and self._events.ready),
            context.partitions,
            context.clock,
            limits,
            self._peers.ask,
            measuring.observer,
        )
        self.lists: Lists | None = None
        if config.list_reservations:
            gateway = self.gateway
            self.lists = Lists(self._reservations, context.partitions, limits, lambda: gateway.draining, self._peers.ask)
        self._areas = self._table(topics.AREA_STATUS, self.gateway.on_areas)
        self._events = self._table(topics.EVENT, self.gateway.on_events)
        measuring.watch_state(context.slot.folder)
        measuring.watch_partitions(self._reservations)

    def _table(self, topic: topics.Topic, apply: Callable[[Sequence[Pair]], Sequence[Unreadable]]) -> GlobalTable:
        context = self._context
        return GlobalTable(context.broker, topic.name, context.partitions, apply, context.settings, context.observer)

    def _on_peer_answer(self, key: bytes, status: int, body: bytes, traceparent: bytes) -> None:
        if status == _REFUSED:
            advice = "all ticket processes need the same --peer-secret-file"
            self._occasional.log(logging.WARNING, "peer", "peer_refused", reason="another process does not know this one", advice=advice)
        if self.lists and is_list(key):
            self.lists.on_peer_answer(key, status, body)
        else:
            self.gateway.on_peer_answer(key, status, body, traceparent)

    def _on_peer_failure(self, key: bytes) -> None:
        self._on_peer_answer(key, 0, b"", b"")

    def _on_assigned(self, assignment: Assignment) -> None:
        self.gateway.on_assigned(assignment)
        if self.lists:
            self.lists.on_assigned(assignment)

    @property
    def serves(self) -> bool:
        """Whether it serves all its partitions."""
        return self._reservations.ready and self._areas.ready and self._events.ready

    @property
    def rebalancing(self) -> bool:
        """Whether nothing but a rebalance keeps it from that."""
        return self._reservations.rebalancing and self._areas.ready and self._events.ready

    def jobs(self, peer_address: str) -> dict[str, Coroutine[Any, Any, None]]:
        """All that goes on in it; other processes ask it at ``peer_address``."""
        gateway = self.gateway
        return {
            "areas": self._areas.run(),
            "events": self._events.run(),
            "reservations": self._reservations.run(
                gateway.on_reservations, gateway.on_table_opened, self._on_assigned, self._context.membership(peer_address)
            ),
            "hand-over": gateway.hand_over(Pace(self._context.settings.commit_interval_max_ms)),
            "sweep": gateway.sweep(),
        }

    def close(self) -> None:
        """Asks other processes no more."""
        self._peers.close()
