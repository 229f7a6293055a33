"""Who looks at each request and its answer: the request log and the counts, each only where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from ticketmaster.clock import Clock
from ticketmaster.ticket.gateway import Responder
from ticketmaster.ticket.problems import Headers
from ticketmaster.ticket.routes import route_of

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Watcher(Protocol):
    """Stands between a request and its responder."""

    def watch(self, scope: Any, responder: Responder) -> Responder:
        """A responder that sees what is sent by the given one. Called in the server's thread, at the head of the request."""


class RequestCounts:
    """Requests by method, route and status."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}

    def watch(self, scope: Any, responder: Responder) -> Responder:
        """A responder that counts what it sends."""
        return _Counted(self._counts, scope.method, route_of(scope.path), responder)

    def readings(self) -> list[tuple[tuple[str, str, str], int]]:
        """Method, route and status, and how often they came."""
        return [((method, route, str(status)), count) for (method, route, status), count in self._counts.items()]


class _Counted:
    __slots__ = ("_counts", "_method", "_responder", "_route")

    def __init__(self, counts: dict[tuple[str, str, int], int], method: str, route: str, responder: Responder) -> None:
        self._counts = counts
        # Of what a client makes up there is no end.
        self._method = method if method in _METHODS else "other"
        self._route = route
        self._responder = responder

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._responder.response_bytes(status, headers, body)
        key, counts = (self._method, self._route, status), self._counts
        counts[key] = counts.get(key, 0) + 1


class RequestLog:
    """Writes a line for each request, in the words of OpenTelemetry's semantic conventions for HTTP."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log = structlog.get_logger("request")

    def watch(self, scope: Any, responder: Responder) -> Responder:
        """A responder that logs what it sends."""
        return _Logged(self._log, self._clock, scope, responder)


class _Logged:
    def __init__(self, log: Any, clock: Clock, scope: Any, responder: Responder) -> None:
        self._log = log
        self._clock = clock
        self._scope = scope
        self._responder = responder
        self._started = clock.monotonic_s()

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._responder.response_bytes(status, headers, body)
        scope = self._scope
        self._log.info(
            "request",
            client=scope.client,
            method=scope.method,
            path=scope.path,
            http_version=scope.http_version,
            status=status,
            response_bytes=len(body),
            duration_ms=round((self._clock.monotonic_s() - self._started) * 1000, 3),
        )


def watched(watchers: Sequence[Watcher], scope: Any, responder: Responder) -> Responder:
    """The responder behind all watchers."""
    for watcher in watchers:
        responder = watcher.watch(scope, responder)
    return responder
