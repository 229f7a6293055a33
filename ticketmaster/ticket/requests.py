"""Looking at each request and its answer: counting, logging and tracing, each only where it is asked for."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import structlog

from ticketmaster.clock import Clock
from ticketmaster.telemetry.tracing import NO_TRACER, NOT_TRACED, Span, Tracer
from ticketmaster.ticket.responding import Counted, Responder, Watched
from ticketmaster.ticket.routes import route_of

_COMMANDING = frozenset({"POST", "PATCH", "DELETE"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestWatch:
    """Counts requests by method, route and status; logs them in the words of OpenTelemetry's conventions for HTTP; traces some."""

    def __init__(self, clock: Clock, *, counts: bool = False, logs: bool = False, tracer: Tracer = NO_TRACER) -> None:
        self._clock = clock
        self._counting = counts
        # By method and route, of each status.
        self._counts: defaultdict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        self._log = structlog.get_logger("request") if logs else None
        self._tracer = tracer
        self._traces = tracer.enabled

    def watch(self, scope: Any, responder: Responder) -> Responder:
        """Who takes the response. Called in the server's thread, at the head of the request."""
        span = self._span(scope) if self._traces else NOT_TRACED
        if self._counting:
            responder = self._counted(scope, responder)
        if span is NOT_TRACED and not self._log:
            return responder
        watched = Watched(responder)
        watched.span = span
        if self._log:
            watched.on_answer, watched.scope, watched.started_at_s = self._write, scope, self._clock.monotonic_s()
        return watched

    def _counted(self, scope: Any, responder: Responder) -> Responder:
        method = scope.method
        # Of what a client makes up there is no end.
        return Counted(responder, self._counts[method if method in _METHODS else "other", route_of(scope.path)])

    def _span(self, scope: Any) -> Span:
        """Only commands are drawn by lot: what is asked about a reservation is traced if that is, see ``tracing.py``."""
        headers = scope.headers
        traceparent = headers.get("traceparent")
        if not (traceparent or scope.method in _COMMANDING) or not self._tracer.wants(traceparent):
            return NOT_TRACED
        route = route_of(scope.path)
        span = self._tracer.start_request(f"{scope.method} {route}", traceparent, headers.get("tracestate") if traceparent else None)
        span.set({"http.request.method": scope.method, "http.route": route, "url.path": scope.path})
        return span

    def _write(self, watched: Watched, status: int, body: bytes) -> None:
        scope = watched.scope
        assert self._log
        self._log.info(
            "request",
            **{
                "client.address": scope.client,
                "http.request.method": scope.method,
                "url.path": scope.path,
                "network.protocol.version": scope.http_version,
                "http.response.status_code": status,
                "http.response.body.size": len(body),
                "http.server.request.duration": round(self._clock.monotonic_s() - watched.started_at_s, 6),
                **({"trace_id": watched.span.trace_id} if watched.span is not NOT_TRACED else {}),
            },
        )

    def readings(self) -> list[tuple[tuple[str, str, str], int]]:
        """Method, route and status, and how often they came."""
        counts = list(self._counts.items())
        return [((method, route, str(status)), count) for (method, route), of in counts for status, count in list(of.items())]
