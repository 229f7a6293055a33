"""Which requests are traced, and what travels in headers."""

from __future__ import annotations

import itertools
import random

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ticketmaster.telemetry.otel import OtelTracer
from ticketmaster.telemetry.tracing import NOT_TRACED, Kind

REQUESTS = 40_000
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = SAMPLED[:-1] + "0"


class Lab:
    """A tracer, and the spans that it has ended."""

    def __init__(self, ratio: float, *, parent_based: bool = True) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = OtelTracer(provider, ratio, random.Random(1).getrandbits, parent_based=parent_based)


@pytest.mark.parametrize("ratio", [0.001, 0.1, 0.5, 0.9])
def test_about_so_many_requests_are_traced_as_the_ratio_says(ratio: float) -> None:
    tracer = Lab(ratio).tracer
    traced = sum(tracer.wants(None) for _ in range(REQUESTS))
    # Five standard deviations of a binomial distribution.
    assert abs(traced - REQUESTS * ratio) < 5 * (REQUESTS * ratio * (1 - ratio)) ** 0.5


def test_each_request_is_drawn_for_itself() -> None:
    tracer = Lab(0.5).tracer
    drawn = [tracer.wants(None) for _ in range(REQUESTS)]
    behind_a_traced_one = [now for before, now in itertools.pairwise(drawn) if before]
    assert 0.47 < sum(behind_a_traced_one) / len(behind_a_traced_one) < 0.53


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, False), (1.0, True)])
def test_all_or_none_means_all_or_none(ratio: float, *, expected: bool) -> None:
    tracer = Lab(ratio).tracer
    assert {tracer.wants(None) for _ in range(1_000)} == {expected}
    assert (tracer.start_root("restore", Kind.INTERNAL) is not NOT_TRACED) == expected


@pytest.mark.parametrize(
    ("ratio", "parent_based", "traceparent", "expected"),
    [
        (0.0, True, SAMPLED, True),
        (1.0, True, NOT_SAMPLED, False),
        (0.0, False, SAMPLED, False),
        (1.0, False, NOT_SAMPLED, True),
        # What makes no sense is as if it was not there.
        (1.0, True, "rubbish", True),
        (0.0, True, "00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        (0.0, True, "\u2603", False),
    ],
)
def test_the_clients_word_counts_where_it_shall(ratio: float, traceparent: str, *, parent_based: bool, expected: bool) -> None:
    assert Lab(ratio, parent_based=parent_based).tracer.wants(traceparent) == expected


def test_a_trace_goes_on_by_its_headers_with_what_its_client_put_there() -> None:
    lab = Lab(1.0)
    request = lab.tracer.start_request("POST", SAMPLED, "shop=1")
    decision = lab.tracer.start("decide", Kind.CONSUMER, request.headers, {"offset": 3})
    for span in (decision, request):
        span.end()
        span.end("later calls change nothing")

    inner, outer = lab.exporter.get_finished_spans()
    assert (outer.parent and outer.parent.span_id, inner.parent and inner.parent.span_id) == (0xB7AD6B7169203331, outer.context.span_id)
    assert {f"{span.context.trace_id:032x}" for span in (inner, outer)} == {request.trace_id} == {SAMPLED[3:35]}
    assert dict(request.headers)["tracestate"] == b"shop=1"
    assert inner.attributes == {"offset": 3}
    assert outer.status.is_ok or outer.status.is_unset


def test_what_is_linked_is_what_is_traced() -> None:
    lab = Lab(1.0)
    headers = [("traceparent", SAMPLED.encode())]
    links = [headers, [("traceparent", NOT_SAMPLED.encode())], [("traceparent", b"\xff\xfe")], []]
    lab.tracer.start("transaction", Kind.PRODUCER, headers, links=links).end("it failed")

    (span,) = lab.exporter.get_finished_spans()
    assert len(span.links) == 1
    assert (span.status.is_ok, span.status.description) == (False, "it failed")


def test_a_record_without_a_traced_parent_starts_no_span() -> None:
    tracer = Lab(1.0).tracer
    for headers in ([], [("other", b"header")], [("traceparent", NOT_SAMPLED.encode())], [("traceparent", b"\xff")]):
        assert tracer.start("decide", Kind.CONSUMER, headers) is NOT_TRACED
