"""The gateway's limits, from what the command line says."""

from __future__ import annotations

from ticketmaster.config.roles import TicketConfig
from ticketmaster.config.standalone import StandaloneConfig
from ticketmaster.domain.event import EventLimits
from ticketmaster.ticket.limits import TicketLimits


def ticket_limits(config: StandaloneConfig | TicketConfig) -> TicketLimits:
    """What a gateway takes on."""
    return TicketLimits(
        event=EventLimits(
            areas_max=config.areas_per_event_max,
            seats_per_area_max=config.seats_per_area_max,
            seats_per_event_max=config.seats_per_event_max,
        ),
        request_body_bytes_max=config.request_body_bytes_max,
        seats_per_reservation_max=config.seats_per_reservation_max,
        waiting_requests_max=config.waiting_requests_max,
        commands_in_flight_max=config.commands_in_flight_max,
        requests_in_flight_max=config.max_threads,
        long_poll_ms=config.long_poll_ms,
        drain_ms=config.drain_ms,
    )
