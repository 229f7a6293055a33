"""The limits of the gateway and the reservation role, from what the command line says."""

from __future__ import annotations

from ticketmaster.config.roles import ReservationConfig, TicketConfig
from ticketmaster.config.standalone import StandaloneConfig
from ticketmaster.domain.event import EventLimits
from ticketmaster.reservation.settings import CancelSettings
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.settings import Certificate, ServerSettings

# What a request may take beyond its long poll, or beyond the time in which Kafka acknowledges a command.
_ANSWER_GRACE_MS = 15_000
_ANSWER_MIN_MS = 45_000


def ticket_limits(config: StandaloneConfig | TicketConfig) -> TicketLimits:
    """What a gateway takes on."""
    return TicketLimits(
        event=EventLimits(
            areas_max=config.areas_per_event_max,
            seats_per_area_max=config.seats_per_area_max,
            seats_per_event_max=config.seats_per_event_max,
            seats_per_user_max=config.seats_per_user_max,
        ),
        request_body_bytes_max=config.request_body_bytes_max,
        seats_per_reservation_max=config.seats_per_reservation_max,
        waiting_requests_max=config.waiting_requests_max,
        commands_in_flight_max=config.commands_in_flight_max,
        requests_in_flight_max=config.max_threads,
        listed_reservations_max=config.listed_reservations_max,
        lists_in_flight_max=config.lists_in_flight_max,
        long_poll_ms=config.long_poll_ms,
        drain_ms=config.drain_ms,
    )


def cancel_settings(config: StandaloneConfig | ReservationConfig) -> CancelSettings:
    """How much of a cancelled event a transaction works off."""
    return CancelSettings(rows_max=config.cancel_rows_max, reservations_max=config.cancel_reservations_max)


def end_ms(config: StandaloneConfig | TicketConfig) -> int:
    """How long the end may take: requests are still taken on, then those that are open are waited for."""
    return config.lame_duck_ms + config.drain_ms


def server_settings(config: StandaloneConfig | TicketConfig, bind: str, *, answer_ms: int = 0) -> ServerSettings:
    """How a gateway answers those who come to this address; ``answer_ms``: how long the log may take to acknowledge a command."""
    longest_ms = max(config.long_poll_ms, answer_ms) + _ANSWER_GRACE_MS
    return ServerSettings(
        bind,
        io_threads=config.selectors,
        connections_max=config.connections_max,
        idle_ms=config.idle_seconds * 1_000,
        answer_ms=max(longest_ms, _ANSWER_MIN_MS),
        lame_duck_ms=config.lame_duck_ms,
        tls=Certificate(*config.doors.tls) if config.doors.tls else None,
    )
