"""Deadlines of connections, and which of them go when there are too many.

Granian accepts in Rust and limits how many connections there are. It has no deadline for those that send nothing and none of HTTP/2, and
one and the same for a slow head and for an idle connection. So the loop looks at its process's own sockets, about once a second
(``watching.py``): the kernel knows when bytes came and went, and each request is noted when all of it is there. A connection that must go
is shut down from here, and Granian closes it as if its client had.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from ticketmaster.clock import Clock
from ticketmaster.ticket.sockets import Reading

# With too many connections, one that holds nothing stays so long: what it is for may be on its way.
_GRACE_S: Final = 1.0
# The kernel counts its time in steps, of 10 ms at most; both of two times may be wrong by one.
_TICK_S: Final = 0.025
_RESERVED_PARTS: Final = 10
_RESERVED_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Deadlines of connections, and how many there may be."""

    connections_max: int
    # Until all of a request is there, the first one's from the moment its connection is made; and for bytes that a client does not take.
    request_ms: int
    # Nothing came, nothing went.
    idle_ms: int
    # No request waits longer for its answer.
    answer_ms: int

    @property
    def crowded_from(self) -> int:
        """With so many, those go that hold nothing: the rest is kept free for requests to come."""
        return max(self.connections_max - max(min(self.connections_max // _RESERVED_PARTS, _RESERVED_MAX), 1), 1)


class Closed(Enum):
    """Why a connection was closed from here."""

    NO_REQUEST = "no_request"
    SLOW_REQUEST = "slow_request"
    STALLED = "stalled"
    IDLE = "idle"
    CROWDED = "crowded"


class _Arrival:
    __slots__ = ("is_http2", "seen_s")

    def __init__(self, *, is_http2: bool) -> None:
        self.is_http2 = is_http2
        self.seen_s = 0.0


class Arrivals:
    """Which clients have sent a whole request, and when the last one came."""

    def __init__(self, clock: Clock) -> None:
        self._now_s = clock.monotonic_s
        self._arrivals: dict[str, _Arrival] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def see(self, scope: Any) -> None:
        """All of a request is there. Called for each, in any thread: it takes 0.4 µs, some of it for the client's address."""
        client = scope.client
        arrival = self._arrivals.get(client)
        if arrival is None:
            arrival = self._arrivals[client] = _Arrival(is_http2=scope.http_version == "2")
        arrival.seen_s = self._now_s()

    def of(self, client: str) -> _Arrival | None:
        """The last one of a client."""
        return self._arrivals.get(client)

    def forget_all_but(self, clients: set[str], before_s: float) -> None:
        """Clients that are gone; not those that have come since they were looked for."""
        for client in list(self._arrivals):
            if client not in clients and self._arrivals[client].seen_s < before_s:
                del self._arrivals[client]


class Connection:
    """What is known of one, from look to look."""

    __slots__ = (
        "_acked",
        "_asks",
        "_asks_since_s",
        "_looked_s",
        "_moved_s",
        "_received",
        "_sent",
        "_since_s",
        "client",
        "descriptor",
        "last",
    )

    def __init__(self, descriptor: int, client: str, reading: Reading, now_s: float) -> None:
        self.descriptor = descriptor
        self.client = client
        self._received = self._acked = 0
        self._sent = -1
        self._asks = False
        self._since_s = self._asks_since_s = self._moved_s = now_s
        self.look(reading, now_s)

    def look(self, reading: Reading, now_s: float) -> None:
        """Takes note of what has come and gone since the last look."""
        self.last = reading
        self._looked_s = now_s
        if reading.sent != self._sent or (reading.received_bytes != self._received and not self._asks):
            # Whose turn it is: of HTTP/1.1 only, over HTTP/2 both sides may speak at any time.
            self._asks = reading.received_bytes > 0 and (reading.sent == 0 or reading.received_ms_ago < reading.sent_ms_ago)
            self._asks_since_s = now_s
        if reading.received_bytes != self._received or reading.acked_bytes != self._acked or not reading.owes:
            self._moved_s = now_s
        self._sent, self._received, self._acked = reading.sent, reading.received_bytes, reading.acked_bytes

    def overdue(self, request: _Arrival | None, limits: ConnectionLimits) -> Closed | None:
        """Why it must go now, by the last request that came whole."""
        request_s = limits.request_ms / 1000
        if self.last.owes:
            return Closed.STALLED if self._looked_s - self._moved_s >= request_s else None
        if request is None:
            return Closed.NO_REQUEST if self._waited_s >= request_s else None
        if self._asks and not request.is_http2:
            if self._has_begun_another(request):
                return Closed.SLOW_REQUEST if self._asked_s >= request_s else None
            return Closed.STALLED if self._asked_s >= limits.answer_ms / 1000 else None
        idle_ms = max(limits.idle_ms, limits.answer_ms) if request.is_http2 else limits.idle_ms
        return Closed.IDLE if self.quiet_ms >= idle_ms else None

    def holds_nothing(self, request: _Arrival | None, limits: ConnectionLimits) -> bool:
        """Whether nobody would miss it who asked for something."""
        if self.last.owes:
            return False
        if request is None:
            return self._waited_s >= _GRACE_S
        if request.is_http2:
            return self.quiet_ms >= limits.answer_ms
        if self._asks:
            return self._has_begun_another(request) and self._asked_s >= _GRACE_S
        return self.quiet_ms >= _GRACE_S * 1000

    @property
    def quiet_ms(self) -> int:
        """How long nothing came and nothing went."""
        return min(self.last.sent_ms_ago, self.last.received_ms_ago)

    @property
    def _waited_s(self) -> float:
        # The kernel knows it also of those that waited to be accepted.
        return self._looked_s - self._since_s if self.last.received_bytes else self.last.received_ms_ago / 1000

    @property
    def _asked_s(self) -> float:
        return self._looked_s - self._asks_since_s

    def _has_begun_another(self, request: _Arrival) -> bool:
        """Whether more has come behind the last request that came whole."""
        return self._looked_s - self.last.received_ms_ago / 1000 > request.seen_s + _TICK_S


class Table:
    """All connections of a server, as of the last look."""

    def __init__(self, limits: ConnectionLimits, arrivals: Arrivals) -> None:
        self._limits = limits
        self._arrivals = arrivals
        self._connections: dict[int, Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def get(self, descriptor: int) -> Connection | None:
        """The connection of a descriptor."""
        return self._connections.get(descriptor)

    def add(self, connection: Connection) -> None:
        """A new one; what had its descriptor before is gone."""
        self._connections[connection.descriptor] = connection

    def keep(self, descriptors: set[int], looked_s: float) -> None:
        """The others were gone at that time."""
        if len(descriptors) < len(self._connections):
            self._connections = {number: one for number, one in self._connections.items() if number in descriptors}
        if len(self._arrivals) > len(self._connections):
            self._arrivals.forget_all_but({one.client for one in self._connections.values()}, looked_s)

    def overdue(self, one: Connection) -> Closed | None:
        """Why a connection must go now."""
        return one.overdue(self._arrivals.of(one.client), self._limits)

    def spare(self) -> list[Connection]:
        """Those that hold nothing; those first that never held anything, then the longest idle."""
        of, limits = self._arrivals.of, self._limits
        found = [one for one in self._connections.values() if one.holds_nothing(of(one.client), limits)]
        return sorted(found, key=lambda one: (of(one.client) is not None, -one.quiet_ms))
