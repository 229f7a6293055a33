"""Pages of other origins: which may read answers, as browsers ask before and look at afterwards (Fetch, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ticketmaster.ticket.heads import HeaderLines
from ticketmaster.ticket.problems import Headers
from ticketmaster.ticket.responding import Responder

ANY: Final = "*"
# How long a browser may remember what it was told.
_REMEMBERED_S: Final = 600
_ASKS: Final = "access-control-request-method"
_PREFLIGHT: Final = (
    (
        "access-control-allow-headers",
        "authorization, content-type, idempotency-key, if-match, if-none-match, traceparent, tracestate",
    ),
    ("access-control-max-age", str(_REMEMBERED_S)),
)
# Those that scripts may not see by themselves.
_SHOWN: Final = ("access-control-expose-headers", "allow, etag, retry-after, www-authenticate")


class CrossOrigin:
    """What pages of some origins may do. No cookie and no password of a browser's is ever looked at, so none is allowed."""

    def __init__(self, origins: Iterable[str]) -> None:
        """As browsers write them: ``https://shop.example``, with a port where it is not the usual one; or ``*``."""
        self._origins = frozenset(origins)
        self._takes_any = ANY in self._origins
        # A cache must not tell one origin what it was told for another.
        self._others: Headers = [] if self._takes_any else [("vary", "origin")]

    def responder(self, method: str, headers: HeaderLines, responder: Responder) -> Responder:
        """A responder that adds to the response which pages may read it."""
        origin = headers.get("origin")
        if origin is None or not (self._takes_any or origin in self._origins):
            return _With(responder, self._others) if self._others else responder
        allowed: Headers = [("access-control-allow-origin", ANY if self._takes_any else origin), *self._others]
        if method == "OPTIONS" and _ASKS in headers:
            return _Preflight(responder, [*allowed, *_PREFLIGHT])
        return _With(responder, [*allowed, _SHOWN])


class _With:
    """A responder whose response has more headers."""

    __slots__ = ("_more", "_responder")

    def __init__(self, responder: Responder, more: Headers) -> None:
        self._responder = responder
        self._more = more

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._responder.response_bytes(status, [*headers, *self._more], body)


class _Preflight(_With):
    """A responder to a browser that asks what it may send: the methods are those that the path takes."""

    __slots__ = ()

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        super().response_bytes(status, [*headers, ("access-control-allow-methods", dict(headers).get("allow", ""))], body)
