"""Metrics as Prometheus reads them, by its own client library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ticketmaster.telemetry.metrics import Family, Kind, Point

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(families: Sequence[Family]) -> bytes:
    """The text that ``GET /metrics`` answers, of :data:`CONTENT_TYPE`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)


def process_families(role: str) -> list[Family]:
    """CPU, memory and open files of this process, under the names that every client library of Prometheus has for them."""
    found = ProcessCollector(registry=None).collect()
    return [
        Family(
            sample.name,
            Kind.COUNTER if metric.type == "counter" else Kind.GAUGE,
            metric.documentation,
            "",
            (),
            [Point({"role": role, **sample.labels}, sample.value)],
        )
        for metric in found
        for sample in metric.samples
    ]


class _Families(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            # All points of a family have the same labels.
            labels = list(family.points[0].labels)
            match family.kind:
                case Kind.COUNTER:
                    counter = CounterMetricFamily(family.name, family.meaning, labels=labels)
                    for point in family.points:
                        counter.add_metric(list(point.labels.values()), point.value)
                    yield counter
                case Kind.GAUGE:
                    gauge = GaugeMetricFamily(family.name, family.meaning, labels=labels)
                    for point in family.points:
                        gauge.add_metric(list(point.labels.values()), point.value)
                    yield gauge
                case Kind.HISTOGRAM:
                    histogram = HistogramMetricFamily(family.name, family.meaning, labels=labels)
                    for point in family.points:
                        bounds = [*map(floatToGoString, family.bounds), "+Inf"]
                        buckets = list(zip(bounds, accumulate(point.counts), strict=True))
                        histogram.add_metric(list(point.labels.values()), buckets, point.value)
                    yield histogram
