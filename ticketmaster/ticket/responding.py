"""Who takes a response, and the responses that are the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from ticketmaster.telemetry.tracing import NOT_TRACED
from ticketmaster.ticket.problems import Headers, Problem

TEXT: Final[Headers] = [("content-type", "text/plain")]
JSON: Final[Headers] = [("content-type", "application/json")]
# RFC 9110, section 8.6: they have no body, whatever was asked.
_WITHOUT_LENGTH: Final = frozenset({204, 304})


class Responder(Protocol):
    """Takes the one response to a request."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends it; nothing happens if the client is gone."""


def refuse(responder: Responder, problem: Problem) -> None:
    """Answers with a problem document."""
    responder.response_bytes(*problem.response)


class Bodiless:
    """A responder to HEAD: the answer to a GET, but for its body. Over HTTP/2 Granian would send that."""

    __slots__ = ("_responder",)

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        if status not in _WITHOUT_LENGTH:
            headers = [*headers, ("content-length", str(len(body)))]
        self._responder.response_bytes(status, headers, b"")


class Counted:
    """A responder whose response is counted by its status."""

    __slots__ = ("_counts", "_responder")

    def __init__(self, responder: Responder, counts: dict[int, int]) -> None:
        self._responder = responder
        self._counts = counts

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._responder.response_bytes(status, headers, body)
        self._counts[status] = self._counts.get(status, 0) + 1


class Watched:
    """A responder whose response is looked at."""

    __slots__ = ("_responder", "extra", "on_answer", "scope", "span", "started_at_s")

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self.span = NOT_TRACED
        self.on_answer: Callable[[Watched, int, bytes], None] | None = None
        # Granian's description of the request.
        self.scope: Any = None
        # On the clock that never goes back.
        self.started_at_s = 0.0
        # Headers that the response has besides its own.
        self.extra: tuple[tuple[str, str], ...] = ()

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._responder.response_bytes(status, [*headers, *self.extra] if self.extra else headers, body)
        if self.span is not NOT_TRACED:
            self.span.set({"http.response.status_code": status})
            self.span.end(f"status {status}" if status >= 500 else "")
        if self.on_answer:
            self.on_answer(self, status, body)


class Closing:
    """A responder whose response is the last one of its connection."""

    __slots__ = ("_responder",)

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._responder.response_bytes(status, [*headers, ("connection", "close")], body)
