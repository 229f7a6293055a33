"""The records a reservation goes through, spliced from one another as bytes.

``Reservation`` = id + ``CreateReservation`` verbatim + state + reason; ``ReserveSeat`` = id + the tail of ``CreateReservation`` behind
its user. So nothing is decoded that nobody looks at. Every value is framed (5 bytes); keys are ids in ASCII.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType, State
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import SMALL_INTS, encode_int, encode_string, read_int, read_string, skip_string
from ticketmaster.wire.registry import SCHEMA_IDS, frame

CREATE_FRAME = frame(SCHEMA_IDS["CreateReservation"])
_RESERVATION_FRAME = frame(SCHEMA_IDS["Reservation"])
_RESERVE_FRAME = frame(SCHEMA_IDS["ReserveSeat"])
_RESULT_FRAME = frame(SCHEMA_IDS["ReservationResult"])
_BODY_AT = len(CREATE_FRAME)

_PROCESSING_TAIL = SMALL_INTS[State.PROCESSING] + encode_string("")
_NO_SEATS_PROCESSING = encode_int(0) + _PROCESSING_TAIL
_RESERVED_TAIL = SMALL_INTS[State.RESERVED] + encode_string("")
_TYPES = tuple(encode_int(kind) for kind in ReservationType)
_SMALL = len(SMALL_INTS)
# ReservationResult behind the id: result, then the branch of the union of seats.
_SUCCESS_WITH_SEATS = b"\x00\x02"
_FAILED_WITHOUT_SEATS = b"\x02\x00"
_NO_ERROR = b"\x00\x00"
# The end of the seats, then no error: without the first, an errorCode of 0 would pass for no errorMessage.
_SEATS_END_NO_ERROR = b"\x00" + _NO_ERROR


def encode_seats(seats: Sequence[tuple[int, int]]) -> bytes:
    """An Avro array of ``Seat`` (row, col), as one block."""
    if not seats:
        return b"\x00"
    parts = [encode_int(len(seats))]
    for row, col in seats:
        parts.append(encode_int(row))
        parts.append(encode_int(col))
    parts.append(b"\x00")
    return b"".join(parts)


@lru_cache(maxsize=65_536)
def encode_run(row: int, col: int, count: int) -> bytes:
    """:func:`encode_seats` of ``count`` adjacent seats from (row, col) on."""
    return encode_seats([(row, taken) for taken in range(col, col + count)])


def read_seats(data: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    """(the seats of the Avro array at ``at``, where it ends)."""
    seats: list[tuple[int, int]] = []
    while True:
        count, at = read_int(data, at)
        if count == 0:
            return seats, at
        if count < 0:
            # A negative count is followed by the size of the block in bytes.
            count = -count
            _, at = read_int(data, at)
        for _ in range(count):
            row, at = read_int(data, at)
            col, at = read_int(data, at)
            seats.append((row, col))


def encode_create(who_and_where: bytes, count: int, kind: ReservationType, seats: bytes) -> bytes:
    """A ``CreateReservation``: :func:`encode_who_and_where`, ``numOfSeats``, type, and seats by :func:`encode_seats`."""
    number = SMALL_INTS[count] if 0 <= count < _SMALL else encode_int(count)
    return who_and_where + number + b"\x00" + _TYPES[kind] + seats


@lru_cache(maxsize=65_536)
def encode_who_and_where(user_id: str, event_id: str, area_id: str) -> bytes:
    """The start of a ``CreateReservation``: frame, user, event and area."""
    return CREATE_FRAME + encode_string(user_id) + encode_string(event_id) + encode_string(area_id)


def read_command(value: bytes) -> tuple[int, int, int, int, int]:
    """What is asked by a ``CreateReservation`` or a ``ReserveSeat``: both are one string, event, area, and the same rest.

    (where the encoded names of event and area start, where they end, numOfSeats, type, where the seats start).
    """
    names_at = skip_string(value, _BODY_AT)
    names_end = skip_string(value, skip_string(value, names_at))
    count, at = read_int(value, names_end)
    if value[at]:
        _, at = read_int(value, at)  # numOfSeat, a retired spelling
    else:
        at += 1
    return names_at, names_end, count, value[at] >> 1, at + 1


def read_reservation_id(value: bytes) -> bytes:
    """The id that a ``ReserveSeat``, ``ReservationResult`` or ``Reservation`` starts with."""
    return read_string(value, _BODY_AT)[0]


def processing(reservation_id: bytes, create: bytes) -> bytes:
    """The ``Reservation`` that a ``CreateReservation`` starts."""
    return b"".join((_RESERVATION_FRAME, encode_string(reservation_id), create[_BODY_AT:], _PROCESSING_TAIL))


def failed_at_once(reservation_id: bytes, create: bytes, reason: str) -> bytes:
    """The ``Reservation`` of a ``CreateReservation`` that no area was asked for."""
    return b"".join((_RESERVATION_FRAME, encode_string(reservation_id), create[_BODY_AT:], SMALL_INTS[State.FAILED], encode_string(reason)))


def reserve_seat(reservation_id: bytes, create: bytes, names_at: int) -> bytes:
    """The ``ReserveSeat`` for a ``CreateReservation`` whose names start at ``names_at``."""
    return b"".join((_RESERVE_FRAME, encode_string(reservation_id), create[names_at:]))


def succeeded(reservation_id: bytes, seats: bytes) -> bytes:
    """The ``ReservationResult`` that gives ``seats`` (by :func:`encode_seats`)."""
    return b"".join((_RESULT_FRAME, encode_string(reservation_id), _SUCCESS_WITH_SEATS, seats, _NO_ERROR))


def refused(reservation_id: bytes, refusal: Refusal) -> bytes:
    """The ``ReservationResult`` of a refusal."""
    return b"".join(
        (
            _RESULT_FRAME,
            encode_string(reservation_id),
            _FAILED_WITHOUT_SEATS,
            b"\x02",
            SMALL_INTS[refusal.code],
            b"\x02",
            encode_string(refusal.message),
        )
    )


def _seats_of(reservation: bytes) -> int:
    """Where the seats of a ``Reservation`` start."""
    at = _BODY_AT
    for _ in range(4):
        at = skip_string(reservation, at)
    _, at = read_int(reservation, at)
    _, at = read_int(reservation, at)
    return at + 1


def decided(reservation: bytes, result: bytes) -> bytes | None:
    """A ``Reservation`` in PROCESSING, after its ``ReservationResult``; None: it is decided already.

    InvalidRecord: the result makes no sense.
    """
    seats_at = _seats_of(reservation)
    # The tail alone does not tell: a reason may end in the same bytes. No seats, then the tail, is the usual case.
    if reservation[seats_at:] != _NO_SEATS_PROCESSING:
        _, state_at = read_seats(reservation, seats_at)
        if reservation[state_at:] != _PROCESSING_TAIL:
            return None
    at = skip_string(result, _BODY_AT)
    if result[at] == 0:
        if result[at + 1] != 2 or not result.endswith(_SEATS_END_NO_ERROR):
            raise InvalidRecord("a ReservationResult of success without seats, or with an error")
        return b"".join((reservation[:seats_at], result[at + 2 : -2], _RESERVED_TAIL))
    return b"".join((reservation[: -len(_PROCESSING_TAIL)], SMALL_INTS[State.FAILED], encode_string(_reason(result, at + 1))))


def _reason(result: bytes, at: int) -> bytes:
    """The ``failedReason`` of a failed ``ReservationResult``, whose union of seats starts at ``at``."""
    if result[at] == 2:
        _, at = read_seats(result, at + 1)
    else:
        at += 1
    code = ErrorCode.INTERNAL_ERROR
    if result[at] == 2:
        try:
            code = ErrorCode(result[at + 1] >> 1)
        except ValueError as cause:
            raise InvalidRecord("a ReservationResult with an unknown errorCode") from cause
        at += 2
    else:
        at += 1
    message = read_string(result, at + 1)[0] if result[at] == 2 else b""
    return f"[{code.name}]: ".encode() + message


class ReservationFields(NamedTuple):
    """A ``Reservation``, decoded; names are UTF-8 text, seats are (row, col)."""

    reservation_id: str
    user_id: str
    event_id: str
    area_id: str
    seat_count: int
    retired_seat_count: int
    kind: int
    seats: list[tuple[int, int]]
    state: int
    failed_reason: str


def read_reservation(reservation: bytes) -> ReservationFields:
    """The fields of a framed ``Reservation``."""
    reservation_id, at = read_string(reservation, _BODY_AT)
    user_id, at = read_string(reservation, at)
    event_id, at = read_string(reservation, at)
    area_id, at = read_string(reservation, at)
    count, at = read_int(reservation, at)
    retired_count, at = read_int(reservation, at)
    kind = reservation[at] >> 1
    seats, at = read_seats(reservation, at + 1)
    state = reservation[at] >> 1
    reason, _ = read_string(reservation, at + 1)
    return ReservationFields(
        reservation_id.decode(),
        user_id.decode(),
        event_id.decode(),
        area_id.decode(),
        count,
        retired_count,
        kind,
        seats,
        state,
        reason.decode(),
    )
