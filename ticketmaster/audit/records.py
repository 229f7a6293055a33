"""The records of reservations, read as far as the audit compares them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ticketmaster.audit.rules import text_of
from ticketmaster.domain.life import NO_LIFE, Life
from ticketmaster.domain.reservation import ReservationType, State
from ticketmaster.wire.binary import read_int, read_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.lives import standing
from ticketmaster.wire.reservations import check_frame, encode_seats, read_seats, remembered

_KINDS = tuple(ReservationType)

Seats = tuple[tuple[int, int], ...]


@lru_cache(maxsize=16_384)
def encoded_seats(seats: Seats) -> bytes:
    """Seats in their one form: others may write them in several blocks."""
    return encode_seats(seats)


@remembered
def seats_of(data: bytes) -> Seats:
    """The seats of a whole Avro array."""
    return tuple(read_seats(data, 0)[0])


@remembered
def _end(data: bytes) -> tuple[Seats, State, bytes]:
    """(seats, state, reason) of the end of a ``Reservation``. UNREADABLE where it is none, to its last byte."""
    seats, state_at = read_seats(data, 0)
    reason, end = read_string(data, state_at + 1)
    if end != len(data):
        raise ValueError(f"its end has {len(data)} bytes and should have {end}")
    reason.decode()
    return tuple(seats), State(data[state_at] >> 1), reason


class ReservationRecord(NamedTuple):
    """A ``Reservation``, as far as it is compared; ``what`` is all that is asked for but the seats, as bytes."""

    who: bytes
    what: bytes
    names: bytes
    seat_count: int
    kind: int
    seats: Seats
    state: State
    reason: bytes
    life: Life = NO_LIFE


def read_record(key: bytes, value: bytes) -> ReservationRecord:
    """UNREADABLE where it is no ``Reservation`` of either form, to its last byte, or not the one of this key."""
    is_second = value[:FRAME_BYTES] == FRAMES.reservation_2
    if not is_second:
        check_frame(value, FRAMES.reservation)
    reservation_id, at = read_string(value, FRAME_BYTES)
    if reservation_id != key:
        raise ValueError(f"it is of reservation {text_of(reservation_id)}")
    who, names_at = read_string(value, at)
    names_end = skip_string(value, skip_string(value, names_at))
    count, at = read_int(value, names_end)
    _, at = read_int(value, at)
    kind = _KINDS[value[at] >> 1]
    what, names = value[names_at : at + 1], value[names_at:names_end]
    if is_second:
        where = standing(value)
        where.reason.decode()
        return ReservationRecord(who, what, names, count, kind, seats_of(where.seats), where.state, where.reason, where.life)
    return ReservationRecord(who, what, names, count, kind, *_end(value[at + 1 :]))


def wrong_seats(found: ReservationRecord) -> str:
    """What is wrong with the seats of a reservation that has some; "" if nothing is."""
    seats, wrong = found.seats, ""
    if found.kind == ReservationType.RANDOM:
        row, col = seats[0] if seats else (0, 0)
        if len(seats) != found.seat_count:
            wrong = f"{len(seats)} seats, asked for were {found.seat_count}"
        elif seats != tuple((row, col + more) for more in range(found.seat_count)):
            wrong = f"seats that are not next to each other: {list(seats)}"
    elif not seats or found.kind != ReservationType.SELF_PICK:
        wrong = f"{len(seats)} seats, for a reservation that can have none"
    return f"the same seat more than once: {list(seats)}" if len(set(seats)) < len(seats) else wrong
