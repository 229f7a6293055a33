"""What a process tells about itself: its numbers to whoever asks, its traces and, if asked for, its numbers to a collector."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ticketmaster.broker.port import TopicPartition
from ticketmaster.clock import Clock, SteadyClock, SystemClock
from ticketmaster.config.telemetry import TelemetrySettings
from ticketmaster.domain.life import CHANGES
from ticketmaster.errors import UsageError
from ticketmaster.streams.jobs import cancel
from ticketmaster.telemetry import metrics
from ticketmaster.telemetry.counting import CountingObserver
from ticketmaster.telemetry.loop_lag import LoopLag
from ticketmaster.telemetry.metrics import Family, Metrics
from ticketmaster.ticket.connections import Closed

if TYPE_CHECKING:
    from ticketmaster.bootstrap.collecting import Collecting
    from ticketmaster.streams.partition import Lag
    from ticketmaster.streams.table import OwnedTable
    from ticketmaster.streams.worker import StreamWorker
    from ticketmaster.ticket.gateway import Gateway
    from ticketmaster.ticket.requests import RequestWatch
    from ticketmaster.ticket.server import HttpServer

_TICKET = "ticket"


class Measuring:
    """For a process of one of the three roles, or of all of them (``standalone``).

    As a context it sends to a collector what environment variables say, from its beginning to its end. UsageError: they say what can't be.
    """

    def __init__(self, application_id: str, clock: Clock, settings: TelemetrySettings, *, scraped: bool) -> None:
        """``scraped``: somebody will ask for the numbers."""
        self._role = application_id.removesuffix("-service")
        self._clock = clock
        self._settings = settings
        self._metrics = Metrics()
        self._collecting: Collecting | None = None
        self._loop_lag = LoopLag(clock, SystemClock().cpu_s)
        self._looking: asyncio.Task[None] | None = None
        self.observer = CountingObserver(self._metrics, self._role)
        self.counts_requests = scraped or settings.metrics
        if self.counts_requests:
            self.observer.decision_durations = self._metrics.histogram(metrics.DECISION_DURATION, _TICKET)
            self._metrics.watch_number(metrics.LOOP_LAG, self._role, lambda: self._loop_lag.longest_s)

    async def __aenter__(self) -> Self:
        if self._settings.traces or self._settings.metrics:
            try:
                self._collecting = self._collect()
            except Exception as cause:
                # Variables beyond those that are checked ahead: the SDK raises whatever comes to it, some while it is imported.
                raise UsageError(f"OpenTelemetry's variables (OTEL_*) can't be used: {cause}") from cause
        if self.counts_requests:
            self._looking = asyncio.create_task(self._loop_lag.run(), name="loop-lag")
        return self

    def _collect(self) -> Collecting:
        # Imported here: who sends nothing does without 30 MiB.
        from ticketmaster.bootstrap.collecting import Collecting  # noqa: PLC0415

        service = "ticketmaster" if self._role == "standalone" else f"ticketmaster-{self._role}"
        collecting = Collecting(self._settings, service, self._clock)
        self.observer.tracer = collecting.tracer
        collecting.start(self.families)
        return collecting

    async def __aexit__(self, *_: object) -> None:
        if self._looking:
            await cancel(self._looking)
        if self._collecting:
            await self._collecting.stop()

    async def asked_families(self) -> list[Family]:
        """As :meth:`families`, for whoever awaits them."""
        return self.families()

    def families(self) -> list[Family]:
        """All numbers of now."""
        # Imported here: who is never asked does without Prometheus' library.
        from ticketmaster.telemetry.prometheus import process_families  # noqa: PLC0415

        return [*self._metrics.families(), *process_families(self._role)]

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Whether it serves: from the start, for who waits for Kafka does not."""
        self._metrics.watch_number(metrics.READY, self._role, lambda: float(ready()))

    def watch_state(self, state_dir: Path) -> None:
        """How much state it has, and how full its disk is."""
        self._metrics.watch_number(metrics.STATE_BYTES, self._role, lambda: float(_bytes_below(state_dir)))
        self._metrics.watch_number(metrics.DISK_USED, self._role, lambda: _disk_used(state_dir))

    def watch_partitions(self, part: StreamWorker | OwnedTable) -> None:
        """Which partitions a role has, and how far it is behind."""
        role, ages = part.application_id.removesuffix("-service"), _Ages(SteadyClock(self._clock))
        # A rise from nothing at all is no rise to who looks at rates.
        for counter in (metrics.TASKS_FENCED, metrics.TASKS_RESTARTED, metrics.READS_FAILED):
            self._metrics.add(counter, 0, role)
        for topic in part.topics:
            self._metrics.add(metrics.DEAD_LETTERS, 0, role, topic)
        self._metrics.watch_number(metrics.PARTITIONS, role, lambda: part.partitions)
        self._metrics.watch(metrics.LAG_RECORDS, lambda: [((role, *_place(lag.source)), lag.records) for lag in part.lags()])
        self._metrics.watch(metrics.LAG_SECONDS, lambda: [((role, *_place(lag.source)), ages.age_s(lag)) for lag in part.lags()])

    def watch_holds(self, worker: StreamWorker) -> None:
        """How many holds the reservation role has, and whether they end in time."""
        role = worker.application_id.removesuffix("-service")
        for change in CHANGES:
            self._metrics.add(metrics.CHANGES, 0, role, change)
        self._metrics.watch_number(metrics.HOLDS, role, lambda: worker.open_deadlines)
        self._metrics.watch_number(metrics.HOLDS_ENDING, role, lambda: worker.due_soon)
        self._metrics.watch_number(metrics.HOLD_OVERDUE, role, lambda: worker.overdue_ms / 1000)

    def watch_gateway(self, gateway: Gateway, requests: RequestWatch) -> None:
        """What a gateway answers, who waits there, and what is left of each event."""
        self._metrics.add(metrics.COMMANDS_FAILED, 0, _TICKET)
        self._metrics.watch_number(metrics.WAITING, _TICKET, lambda: gateway.waiting)
        self._metrics.watch_number(metrics.IN_FLIGHT, _TICKET, lambda: gateway.commands_in_flight)
        self._metrics.watch(metrics.HTTP_REQUESTS, lambda: [((_TICKET, *labels), count) for labels, count in requests.readings()])
        self._metrics.watch(metrics.EVENT_SEATS, lambda: [((_TICKET, event), seats) for event, seats, _ in gateway.catalog.seats()])
        self._metrics.watch(metrics.EVENT_SEATS_AVAILABLE, lambda: [((_TICKET, event), left) for event, _, left in gateway.catalog.seats()])

    def watch_connections(self, servers: Sequence[HttpServer]) -> None:
        """How many there are, and how many were closed from here, for each reason."""
        self._metrics.watch_number(metrics.CONNECTIONS, _TICKET, lambda: sum(one.connections.count for one in servers if one.connections))

        def closed() -> list[tuple[tuple[str, str], float]]:
            counted = sum((one.connections.closed for one in servers if one.connections), Counter[str]())
            return [((_TICKET, reason.value), counted[reason.value]) for reason in Closed]

        self._metrics.watch(metrics.CONNECTIONS_CLOSED, closed)


class _Ages:
    """How old the oldest records are that wait. Their times are of clocks that don't jump; once seen they age by one that is never set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Of each partition where something waits: the time of that record, when it was seen first, and its age then.
        self._seen: dict[TopicPartition, tuple[int, float, float]] = {}

    def age_s(self, lag: Lag) -> float:
        """The age of what waits longest; 0 where nothing does."""
        if lag.oldest_ms is None:
            self._seen.pop(lag.source, None)
            return 0.0
        now_s = self._clock.monotonic_s()
        seen = self._seen.get(lag.source)
        if seen is None or seen[0] != lag.oldest_ms:
            seen = self._seen[lag.source] = lag.oldest_ms, now_s, max(self._clock.now_ms() - lag.oldest_ms, 0) / 1000
        return seen[2] + now_s - seen[1]


def _place(source: TopicPartition) -> tuple[str, str]:
    return source.topic, str(source.partition)


def _disk_used(folder: Path) -> float:
    """Of what this user may use, as `df` has it; unknown where the system does not say."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return math.nan
    used = found.f_blocks - found.f_bfree
    return used / max(used + found.f_bavail, 1)


def _bytes_below(folder: Path) -> int:
    """Of all files; what disappears meanwhile is not counted."""
    size = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(directory, name)).st_size  # noqa: PTH116, PTH118 - many small files, looked at often
    return size
