"""Sending traces and metrics to a collector, for as long as a process runs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

import ticketmaster
from ticketmaster.clock import Clock
from ticketmaster.config.telemetry import TelemetrySettings
from ticketmaster.streams.jobs import cancel
from ticketmaster.telemetry.metrics import Family
from ticketmaster.telemetry.otel import OtelTracer, start_sdk, stop_sdk
from ticketmaster.telemetry.otlp import MetricsPush, new_exporter
from ticketmaster.telemetry.tracing import NO_TRACER, Tracer


class Collecting:
    """The SDK of this process. A collector that is away costs what is sent to it, and nothing else."""

    def __init__(self, settings: TelemetrySettings, service: str, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._provider = start_sdk(service, ticketmaster.__version__, f"{socket.gethostname()}-{os.getpid()}")
        self._push: MetricsPush | None = None
        self._pushing: asyncio.Task[None] | None = None
        self.tracer: Tracer = NO_TRACER
        if settings.traces:
            self.tracer = OtelTracer(self._provider, settings.ratio, clock.random_bits, parent_based=settings.parent_based, clock=clock)

    def start(self, families: Callable[[], Sequence[Family]]) -> None:
        """Begins to send the numbers, if that is asked for."""
        settings = self._settings
        if settings.metrics:
            push = MetricsPush(new_exporter(settings.metrics_protocol), self._provider.resource, families, self._clock)
            self._push = push
            self._pushing = asyncio.create_task(push.run(settings.metrics_interval_ms), name="metrics-push")

    async def stop(self) -> None:
        """Sends what waits, as long as that does not take too long."""
        endings = [stop_sdk(self._provider)]
        if self._push and self._pushing:
            await cancel(self._pushing)
            endings.append(self._push.stop())
        await asyncio.gather(*endings)
