"""The request log: a line for each answered request, only made when it is asked for."""

from __future__ import annotations

from typing import Any

import structlog

from ticketmaster.clock import Clock
from ticketmaster.ticket.gateway import Responder
from ticketmaster.ticket.problems import Headers


class RequestLog:
    """Writes method, path, status, bytes and duration of each request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log = structlog.get_logger("request")

    def watch(self, scope: Any, responder: Responder) -> Responder:
        """A responder that logs what it sends."""
        return _Watched(self._log, self._clock, scope, responder)


class _Watched:
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
