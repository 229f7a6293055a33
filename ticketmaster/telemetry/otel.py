"""Tracing by OpenTelemetry's SDK, set up by its distro from OTEL_* variables.

Which requests are traced is drawn before any span is made: the SDK's own samplers are asked when a span is started, which takes
microseconds for each that is not traced. Here the number of requests until the next traced one is drawn, and counted down.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.distro import OpenTelemetryConfigurator, OpenTelemetryDistro
from opentelemetry.environment_variables import OTEL_LOGS_EXPORTER, OTEL_METRICS_EXPORTER
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ticketmaster.broker.port import Headers
from ticketmaster.clock import Clock, SystemClock
from ticketmaster.proxies import proxy_for
from ticketmaster.telemetry.ending import in_background
from ticketmaster.telemetry.tracing import NOT_TRACED, Kind, Span, Tracer

_W3C: Final = TraceContextTextMapPropagator()
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
_RANDOM_BITS: Final = 53
_SYSTEM_CLOCK: Final = SystemClock()
# A collector that is away must not hold up the end of a process for longer.
_SHUTDOWN_S: Final = 3.0


class OtelSpan(Span):
    """A span of OpenTelemetry's. It ends as much later than it was made as a clock says that is never set."""

    __slots__ = ("_clock", "_made_at_s", "_made_ns", "_span", "headers", "trace_id")

    def __init__(self, span: trace.Span, clock: Clock, made_ns: int) -> None:
        self._span = span
        self._clock = clock
        self._made_ns = made_ns
        self._made_at_s = clock.monotonic_s()
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(span))
        self.headers = [(name, value.encode()) for name, value in carrier.items()]
        self.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    def set(self, attributes: Mapping[str, str | int]) -> None:
        self._span.set_attributes(attributes)

    def end(self, error: str = "") -> None:
        if not self._span.is_recording():
            return
        if error:
            self._span.set_status(trace.StatusCode.ERROR, error)
        self._span.end(self._made_ns + int((self._clock.monotonic_s() - self._made_at_s) * 1e9))


def _parent(headers: Headers) -> trace.SpanContext | None:
    """What headers say; None if they say nothing, or that nothing shall be traced."""
    found = _said({name: value.decode("ascii", "replace") for name, value in headers})
    return found if found and found.trace_flags.sampled else None


def _said(carrier: dict[str, str]) -> trace.SpanContext | None:
    """The context that was sent along; None if it makes no sense."""
    found = trace.get_current_span(_W3C.extract(carrier)).get_span_context()
    return found if found.is_valid else None


class OtelTracer(Tracer):
    """Starts spans of an SDK whose sampler takes all that it is asked for."""

    enabled = True

    def __init__(
        self,
        provider: trace.TracerProvider,
        ratio: float,
        random_bits: Callable[[int], int],
        *,
        parent_based: bool,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> None:
        """``ratio`` of all requests are traced whose client does not say; ``parent_based``: or whose client's word does not count."""
        self._tracer = provider.get_tracer("ticketmaster")
        self._ratio = ratio
        self._random_bits = random_bits
        self._clock = clock
        self._parent_based = parent_based
        self._by_trace_id = TraceIdRatioBased(ratio)
        self._to_skip = self._draw()

    def _draw(self) -> float:
        """How many requests come before the next one that is traced: a geometric distribution, as if each were drawn for itself."""
        if not 0 < self._ratio < 1:
            return 0.0 if self._ratio else math.inf
        # Above 0, of which there is no logarithm.
        uniform = (self._random_bits(_RANDOM_BITS) + 1) / 2.0**_RANDOM_BITS
        return math.floor(math.log(uniform) / math.log1p(-self._ratio))

    def start(
        self,
        name: str,
        kind: Kind,
        parent: Headers,
        attributes: Mapping[str, str | int] | None = None,
        links: Sequence[Headers] = (),
        start_ns: int | None = None,
    ) -> Span:
        context = _parent(parent)
        if context is None:
            return NOT_TRACED
        linked = [trace.Link(found) for found in map(_parent, links) if found]
        return self._started(name, kind, context, attributes, linked, start_ns)

    def start_root(self, name: str, kind: Kind, attributes: Mapping[str, str | int] | None = None) -> Span:
        return self._started(name, kind, None, attributes) if self._ratio else NOT_TRACED

    def wants(self, traceparent: str | None) -> bool:
        if traceparent and (client := _client(traceparent, None)):
            return client.trace_flags.sampled if self._parent_based else self._is_drawn(client.trace_id)
        # Above 0, not unequal to it: several threads of the server may count at once.
        if self._to_skip > 0:
            self._to_skip -= 1
            return False
        self._to_skip = self._draw()
        return True

    def start_request(self, name: str, traceparent: str | None, tracestate: str | None) -> Span:
        client = _client(traceparent, tracestate) if traceparent else None
        return self._started(name, Kind.SERVER, _sampled(client) if client else None)

    def _is_drawn(self, trace_id: int) -> bool:
        """By the trace id itself, so that every service on a request's way draws the same."""
        return self._by_trace_id.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE

    def _started(
        self,
        name: str,
        kind: Kind,
        parent: trace.SpanContext | None,
        attributes: Mapping[str, str | int] | None = None,
        links: Sequence[trace.Link] = (),
        start_ns: int | None = None,
    ) -> Span:
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent) if parent else trace.INVALID_SPAN)
        now_ns = self._clock.now_ns()
        started_ns = now_ns if start_ns is None else start_ns
        span = self._tracer.start_span(name, context, trace.SpanKind[kind.name], attributes=attributes, links=links, start_time=started_ns)
        return OtelSpan(span, self._clock, now_ns)


def _client(traceparent: str, tracestate: str | None) -> trace.SpanContext | None:
    """What a client says of its own span; None if it makes no sense."""
    return _said({"traceparent": traceparent, "tracestate": tracestate or ""})


def _sampled(context: trace.SpanContext) -> trace.SpanContext:
    """Of a client that does not want its request traced, and is not heard: it is the parent all the same."""
    flags = trace.TraceFlags(context.trace_flags | trace.TraceFlags.SAMPLED)
    return trace.SpanContext(context.trace_id, context.span_id, context.is_remote, flags, context.trace_state)


def start_sdk(service: str, version: str, instance: str) -> TracerProvider:
    """Starts the SDK as OTEL_* variables say, which were checked; ``service`` is its name where they name none."""
    # The program's numbers are sent by itself (``otlp.py``), its logs go to stdout.
    os.environ[OTEL_METRICS_EXPORTER] = os.environ[OTEL_LOGS_EXPORTER] = "none"
    resource: dict[str, Any] = {SERVICE_VERSION: version, SERVICE_INSTANCE_ID: instance}
    _follow_proxies(os.environ)
    if not _names_service(os.environ):
        resource[SERVICE_NAME] = service
    OpenTelemetryDistro().configure()
    configurator: Any = OpenTelemetryConfigurator
    configurator().configure(resource_attributes=resource, sampler=ParentBased(ALWAYS_ON))
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    return provider


async def stop_sdk(provider: TracerProvider) -> None:
    """Sends what waits, as long as that does not take too long."""
    await in_background(provider.shutdown, "ending the tracer", _SHUTDOWN_S)


def _follow_proxies(environment: MutableMapping[str, str]) -> None:
    """Lets the libraries, each of which reads other variables, do as :mod:`ticketmaster.proxies` says. UsageError: as there."""
    for name in _ENDPOINTS:
        endpoint = environment.get(name, "").strip()
        proxy = proxy_for(endpoint) if endpoint else None
        if proxy:
            environment["grpc_proxy"] = proxy.url
    # They would ask a proxy for this machine. requests reads the first, gRPC the second, which wins over its other variables.
    named = re.split(r"[,\s]+", environment.get("no_proxy") or environment.get("NO_PROXY", ""))
    excepted = [*named, "localhost", "127.0.0.1", "::1"]
    environment["no_proxy"] = environment["no_grpc_proxy"] = ",".join(filter(None, excepted))


def _names_service(environment: Mapping[str, str]) -> bool:
    """Whether the operator has given the process a name."""
    pairs = (pair.partition("=") for pair in environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    return bool(environment.get("OTEL_SERVICE_NAME", "").strip()) or any(
        key.strip() == SERVICE_NAME and value.strip() for key, _, value in pairs
    )
