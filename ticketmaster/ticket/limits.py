"""What a gateway takes on; past a limit a request is refused, and the client told when to come back."""

from __future__ import annotations

from dataclasses import dataclass, field

from ticketmaster.domain.event import EventLimits


@dataclass(frozen=True, slots=True)
class TicketLimits:
    """Limits of one gateway process."""

    event: EventLimits = field(default_factory=EventLimits)
    request_body_bytes_max: int = 1 << 20
    seats_per_reservation_max: int = 1_000
    # Requests that wait for a decision, or for what becomes of a change.
    waiting_requests_max: int = 200_000
    # Commands that wait for the log to acknowledge them.
    commands_in_flight_max: int = 50_000
    # Both together; 0 is no limit of its own.
    requests_in_flight_max: int = 0
    listed_events_max: int = 1_000
    listed_reservations_max: int = 1_000
    # Pages of reservations that are looked for, for clients and for other processes.
    lists_in_flight_max: int = 32
    payment_reference_bytes_max: int = 255
    long_poll_ms: int = 10_000
    drain_ms: int = 5_000
