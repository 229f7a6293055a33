"""Which reservations are traced, from POST to the answered GETs, whichever process answers those.

A GET is traced because its reservation is: its span is a child of the POST's where this process took that, of the decision's
otherwise. One that its client traces already (by ``traceparent``) stays in the client's trace.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ticketmaster.broker.port import Headers, Pair
from ticketmaster.clock import Clock
from ticketmaster.telemetry.tracing import NO_HEADERS, NOT_TRACED, Kind, Tracer
from ticketmaster.ticket.responding import Responder, Watched

# So many are remembered, those that came last.
_TRACED_MAX = 10_000
_GET = "GET /v1/reservation/{reservationId}"
_GET_FOR_PEER = "GET /internal/v1/reservation/{reservationId}"
# What tells a process that asks another one that the reservation is traced.
_TRACEPARENT = "traceparent"


class ReservationTraces:
    """The traced reservations of a gateway, if any; where nothing is traced, each method returns at once."""

    def __init__(self, tracer: Tracer, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock
        self._parents: OrderedDict[bytes, Headers] = OrderedDict()

    def on_post(self, key: bytes, responder: Responder) -> Headers:
        """A command was taken; returns the headers of its record."""
        headers = headers_of(key, responder)
        if headers:
            self._remember(key, headers)
        return headers

    def on_decisions(self, records: Sequence[Pair], headers: Mapping[int, Headers]) -> None:
        """Decisions have come; ``headers`` are those of the traced ones."""
        if self._tracer.enabled:
            for at, found in headers.items():
                self._remember(records[at][0], found)

    def _remember(self, key: bytes, headers: Headers) -> None:
        # What the POST said comes first, and stays.
        self._parents.setdefault(key, headers)
        if len(self._parents) > _TRACED_MAX:
            self._parents.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """The command was refused."""
        self._parents.pop(key, None)

    def on_get(self, key: bytes, responder: Responder, *, elsewhere: bool) -> Responder:
        """Who takes the response to a GET. ``elsewhere``: another process will be asked, which may know that it is traced."""
        if not self._tracer.enabled:
            return responder
        parent = self._parents.get(key)
        watched = responder if isinstance(responder, Watched) else Watched(responder)
        if parent is not None and watched.span is NOT_TRACED:
            watched.span = self._tracer.start(_GET, Kind.SERVER, parent, _attributes(key))
            return watched
        if elsewhere:
            watched.started_at_s = watched.started_at_s or self._clock.monotonic_s()
            return watched
        return responder

    def on_get_for_peer(self, key: bytes, responder: Responder) -> Responder:
        """Who takes the response to another process, which is told whose child its own span is."""
        parent = self._parents.get(key)
        if parent is None:
            return responder
        watched = Watched(responder)
        watched.span = self._tracer.start(_GET_FOR_PEER, Kind.SERVER, parent, _attributes(key))
        watched.extra = tuple((name, value.decode("ascii", "replace")) for name, value in parent)
        return watched

    def on_peer_answer(self, key: bytes, responder: Responder, traceparent: bytes) -> None:
        """Another process has answered a request of ours, and says that it is traced."""
        if traceparent and isinstance(responder, Watched) and responder.span is NOT_TRACED:
            parent = [(_TRACEPARENT, traceparent)]
            waited_s = self._clock.monotonic_s() - responder.started_at_s
            start_ns = self._clock.now_ns() - int(waited_s * 1e9)
            responder.span = self._tracer.start(_GET, Kind.SERVER, parent, _attributes(key), start_ns=start_ns)


def headers_of(key: bytes, responder: Responder) -> Headers:
    """The headers of the record, or of the question to another process, that a request about a reservation becomes."""
    if not isinstance(responder, Watched) or responder.span is NOT_TRACED:
        return NO_HEADERS
    responder.span.set({"ticketmaster.reservation.id": key.decode()})
    return responder.span.headers


def _attributes(key: bytes) -> dict[str, str | int]:
    return {"http.request.method": "GET", "ticketmaster.reservation.id": key.decode("utf-8", "replace")}
