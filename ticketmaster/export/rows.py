"""A reservation as a row of the table, whatever the format."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from ticketmaster.audit.records import Seats, read_record
from ticketmaster.domain.reservation import ReservationType
from ticketmaster.wire.reservations import read_names

# What an id of version 7 says about time is what a gateway minted; ids of an Idempotency-Key, or of other gateways, say nothing.
_has_time = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch
_TIME_DIGITS = 13


class Row(NamedTuple):
    """A reservation. Fields are called and ordered as columns are; seats are (row, col), counted from 0."""

    reservationId: str  # noqa: N815 - as GET /v1/reservation/{reservationId} has it; so are those below
    userId: str  # noqa: N815
    eventId: str  # noqa: N815
    areaId: str  # noqa: N815
    type: str
    numOfSeats: int  # noqa: N815
    seats: Seats
    state: str
    failedReason: str  # noqa: N815
    holdExpiresAt: datetime | None  # noqa: N815
    paymentReference: str | None  # noqa: N815
    requestedAt: datetime | None  # noqa: N815


def read_row(key: bytes, value: bytes) -> Row:
    """The row of a ``Reservation`` of either form. UNREADABLE: it is none, or not the one of this key."""
    found = read_record(key, value)
    event_id, area_id = _names(found.names)
    reservation_id, life = key.decode(), found.life
    return Row(
        reservation_id,
        found.who.decode(),
        event_id,
        area_id,
        ReservationType(found.kind).name,
        found.seat_count,
        found.seats,
        found.state.name,
        found.reason.decode(),
        datetime.fromtimestamp(life.hold_expires_ms / 1000, UTC) if life.hold_expires_ms else None,
        life.payment_reference.decode() or None,
        _minted_at(reservation_id),
    )


@lru_cache(maxsize=16_384)
def _names(names: bytes) -> tuple[str, str]:
    event_id, area_id = read_names(names)
    return event_id.decode(), area_id.decode()


def _minted_at(reservation_id: str) -> datetime | None:
    """When a gateway took the request; None: the id does not say it."""
    if not _has_time(reservation_id):
        return None
    try:
        return datetime.fromtimestamp(int(reservation_id[:_TIME_DIGITS].replace("-", ""), 16) / 1000, UTC)
    except (ValueError, OverflowError):
        # A foreign id, of a year that no calendar has.
        return None


def time_text(time: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond, with a Z."""
    return f"{time.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


@lru_cache(maxsize=16_384)
def seats_text(area_id: str, seats: Seats) -> str:
    """Seats as ``area:row-col row-col …``; "" without any. With the area in front no spreadsheet takes one for a date."""
    return f"{area_id}:{' '.join(f'{row}-{col}' for row, col in seats)}" if seats else ""
