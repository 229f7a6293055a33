"""The reservation and the event role on Kafka: one process of either."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import structlog

from ticketmaster.bootstrap.kafka import RoleContext, role_context
from ticketmaster.bootstrap.limits import cancel_settings
from ticketmaster.bootstrap.measuring import Measuring
from ticketmaster.bootstrap.operations import operations
from ticketmaster.bootstrap.running import Readiness, Work, run_role, run_until_stopped, stop_signals, unless_stopped
from ticketmaster.bootstrap.supervisor import Supervision, supervise
from ticketmaster.bootstrap.workers import WorkerLink
from ticketmaster.clock import SystemClock
from ticketmaster.config.roles import ReservationConfig, RoleConfig
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.reservation.rules import KnownRules
from ticketmaster.reservation.settings import CANCELLING, CancelSettings
from ticketmaster.streams.table import GlobalTable
from ticketmaster.streams.topology import Topology
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.logs import configure_logs
from ticketmaster.wire import topics


def run_reservation(config: ReservationConfig, arguments: Sequence[str], on_ready: Callable[[], None]) -> int:
    """Runs until a signal (0) or a failure (1). UsageError: it can't start.

    ``arguments`` are those of the command line: with several workers, each is started with them.
    """
    streams, cancelling = replace(config.role.streams, table_wait_max_ms=config.rules_wait_ms), cancel_settings(config)
    return _run_role(topics.RESERVATION_SERVICE, replace(config.role, streams=streams), arguments, on_ready, cancelling)


def run_event(config: RoleConfig, arguments: Sequence[str], on_ready: Callable[[], None]) -> int:
    """As :func:`run_reservation`."""
    return _run_role(topics.EVENT_SERVICE, config, arguments, on_ready)


def _run_role(
    application_id: str,
    config: RoleConfig,
    arguments: Sequence[str],
    on_ready: Callable[[], None],
    cancelling: CancelSettings = CANCELLING,
) -> int:
    configure_logs(config.log_level)
    link = WorkerLink.from_environment()
    if link:
        return run_role(_run(application_id, config, cancelling, link, lambda: None))
    if config.workers == 1:
        return run_role(_run(application_id, config, cancelling, None, on_ready))
    return supervise(Supervision(application_id, config, arguments, listeners=(), end_ms=0), on_ready)


async def _run(
    application_id: str, config: RoleConfig, cancelling: CancelSettings, link: WorkerLink | None, on_ready: Callable[[], None]
) -> int:
    signals = stop_signals()
    async with AsyncExitStack() as stack:
        scraped = bool(config.metrics_port)
        measuring = await stack.enter_async_context(Measuring(application_id, SystemClock(), config.telemetry, scraped=scraped))
        if link:
            link.watch(signals, measuring.families)
        ready = Readiness()
        measuring.watch_ready(ready)
        # From the start: who asks learns that it is not ready yet. For workers their supervisor answers.
        port = 0 if link else config.metrics_port
        answering = await stack.enter_async_context(operations(port, config.bind, ready, measuring.asked_families, ready.is_open))
        status = 0
        # It may wait long for the registry.
        context = await unless_stopped(stack.enter_async_context(role_context(config, application_id, measuring.observer)), signals)
        if context:
            parts = _parts(application_id, context, cancelling)
            ready.watch(
                lambda: all(part.ready for part in parts),
                lambda: all(part.rebalancing if isinstance(part, StreamWorker) else part.ready for part in parts),
            )
            measuring.watch_state(context.slot.folder)
            for part in parts:
                if isinstance(part, StreamWorker):
                    measuring.watch_partitions(part)
                    if application_id == topics.RESERVATION_SERVICE:
                        measuring.watch_holds(part)
            jobs = {**_jobs(parts), "operations": answering()}
            if link:
                jobs["report"] = link.report(ready, ready.is_open)
            status = await run_until_stopped(Work(jobs, ready, on_ready), signals)
    structlog.get_logger().info("stopped")
    return status


def _parts(application_id: str, context: RoleContext, cancelling: CancelSettings) -> list[StreamWorker | GlobalTable]:
    def worker(topology: Topology) -> StreamWorker:
        return StreamWorker(topology, context.broker, context.open_stores, context.settings, context.observer, context.membership())

    if application_id == topics.EVENT_SERVICE:
        return [worker(event_topology(context.partitions))]
    areas, rules = AreaCache(context.partitions, lambda: statuses.fresh), KnownRules(lambda: events.fresh)
    statuses = GlobalTable(
        context.broker, topics.AREA_STATUS.name, context.partitions, areas.apply, context.settings, context.observer, rest=True
    )
    events = GlobalTable(context.broker, topics.EVENT.name, context.partitions, rules.apply, context.settings, context.observer)
    return [events, statuses, worker(reservation_topology(context.partitions, areas, rules, cancelling))]


def _jobs(parts: Sequence[StreamWorker | GlobalTable]) -> dict[str, Coroutine[Any, Any, None]]:
    """The worker begins when the first table, that of events, is there: a sale that is paused is known to be so."""
    jobs: dict[str, Coroutine[Any, Any, None]] = {}
    for number, part in enumerate(parts):
        table = parts[0]
        is_worker = isinstance(part, StreamWorker)
        jobs[f"{type(part).__name__}-{number}"] = table.before(part.run) if is_worker and isinstance(table, GlobalTable) else part.run()
    return jobs
