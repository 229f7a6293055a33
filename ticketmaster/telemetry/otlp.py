"""Sending metrics to a collector by OTLP, for those who don't scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as OtelHistogram
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ticketmaster.clock import Clock
from ticketmaster.telemetry.ending import in_background
from ticketmaster.telemetry.metrics import Family, Kind

_TIMEOUT_MS: Final = 10_000
_LAST_S: Final = 2.0
_SHUTDOWN_S: Final = 0.5


def new_exporter(protocol: str) -> MetricExporter:
    """The exporter of a protocol, ``grpc`` or ``http/protobuf``, which reads the other OTEL_* variables itself."""
    # The one that is not used is not loaded: either takes 10 MB.
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc  # noqa: PLC0415

        return Grpc()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http  # noqa: PLC0415

    return Http()


def _export(exporter: MetricExporter, data: MetricsData) -> None:
    exporter.export(data, _TIMEOUT_MS)


class MetricsPush:
    """Sends all numbers again and again."""

    def __init__(self, exporter: MetricExporter, resource: Resource, families: Callable[[], Sequence[Family]], clock: Clock) -> None:
        self._exporter = exporter
        self._resource = resource
        self._families = families
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._started_at_s = clock.monotonic_s()

    async def run(self, interval_ms: int) -> None:
        """Sends every ``interval_ms``, for ever."""
        while True:
            await asyncio.sleep(interval_ms / 1000)
            # Read here, where they change; sent in a thread, for the exporter waits, and asks again if need be.
            await self._send(None)

    async def _send(self, wait_s: float | None) -> None:
        data = self._data()
        await in_background(lambda: _export(self._exporter, data), "sending metrics", wait_s)

    async def stop(self) -> None:
        """Sends once more, as long as that does not take too long, and never again."""
        await self._send(_LAST_S)
        await in_background(self._exporter.shutdown, "ending the metrics exporter", _SHUTDOWN_S)

    def _data(self) -> MetricsData:
        now_ns = self._clock.now_ns()
        # A clock that was set back: nothing can have begun after it was measured.
        if now_ns < self._started_ns:
            self._started_ns = now_ns - int((self._clock.monotonic_s() - self._started_at_s) * 1e9)
        metrics = [self._metric(family, now_ns) for family in self._families()]
        scope = ScopeMetrics(InstrumentationScope("ticketmaster"), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _metric(self, family: Family, now_ns: int) -> Metric:
        # A counter's name has no suffix there: whoever turns it into Prometheus' text puts it on.
        name = family.name.removesuffix("_total")
        return Metric(name, family.meaning, family.unit, self._points(family, now_ns))

    def _points(self, family: Family, now_ns: int) -> OtelHistogram | Sum | Gauge:
        started_ns = self._started_ns
        if family.kind is Kind.HISTOGRAM:
            histograms = [
                HistogramDataPoint(
                    attributes=point.labels,
                    start_time_unix_nano=started_ns,
                    time_unix_nano=now_ns,
                    count=sum(point.counts),
                    sum=point.value,
                    bucket_counts=point.counts,
                    explicit_bounds=family.bounds,
                    # They are not kept: of a process's whole life they would say little.
                    min=None,  # type: ignore[arg-type]
                    max=None,  # type: ignore[arg-type]
                )
                for point in family.points
            ]
            return OtelHistogram(histograms, AggregationTemporality.CUMULATIVE)
        numbers = [NumberDataPoint(point.labels, started_ns, now_ns, point.value) for point in family.points]
        if family.kind is Kind.COUNTER:
            return Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True)
        return Gauge(numbers)
