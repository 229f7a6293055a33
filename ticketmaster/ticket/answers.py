"""Answers to requests that wait for a decision."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ticketmaster.ticket import problems
from ticketmaster.ticket.bodies import reservation_json
from ticketmaster.ticket.responding import JSON, Responder, refuse
from ticketmaster.wire.binary import UNREADABLE


def answers(reservation: bytes) -> Callable[[Responder], None]:
    """A function that answers with this reservation."""
    try:
        answer = reservation_json(reservation)
    except UNREADABLE as reason:
        structlog.get_logger().error("unreadable_reservation", value=reservation[:100].hex(), reason=str(reason))
        return lambda responder: refuse(responder, problems.INTERNAL_ERROR)
    return lambda responder: responder.response_bytes(200, JSON, answer)


def refuse_undecided(responder: Responder) -> None:
    """503: the request has waited long enough."""
    refuse(responder, problems.NOT_DECIDED)


def refuse_ending(responder: Responder) -> None:
    """503: this process will not answer it."""
    refuse(responder, problems.SHUTTING_DOWN)
