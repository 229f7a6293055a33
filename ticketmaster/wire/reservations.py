"""The records a reservation goes through, spliced from one another as bytes.

``Reservation`` = id + ``CreateReservation`` verbatim + state + reason; ``ReserveSeat`` = id + the tail of ``CreateReservation`` behind
its user. So nothing is decoded that nobody looks at. Every value is framed (5 bytes); keys are ids in ASCII.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType, State
from ticketmaster.domain.rules import REASONS
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import SMALL_INTS, UNREADABLE, encode_int, encode_string, read_int, read_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES

T = TypeVar("T")

_BODY_AT = FRAME_BYTES
_FRAMES = FRAMES

_PROCESSING_TAIL = SMALL_INTS[State.PROCESSING] + encode_string("")
_NO_SEATS_PROCESSING = encode_int(0) + _PROCESSING_TAIL
_RESERVED_TAIL = SMALL_INTS[State.RESERVED] + encode_string("")
_TYPES = tuple(encode_int(kind) for kind in ReservationType)
_KINDS = frozenset(encoded[0] for encoded in _TYPES)
_SMALL = len(SMALL_INTS)
_REMEMBERED_BYTES_MAX = 24
# ReservationResult behind the id: result, then the branch of the union of seats.
_SUCCESS = 0
_FAILED = 2
SUCCESS_WITH_SEATS = b"\x00\x02"
_FAILED_WITHOUT_SEATS = b"\x02\x00"
_NO_ERROR = b"\x00\x00"
# A failure without seats and without a code, but with a message.
_FAILED_BY_RULE = b"\x02\x00\x00\x02"


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


def end_of_seats(data: bytes, at: int) -> int:
    """Where the Avro array of ``Seat`` at ``at`` ends. UNREADABLE: it does not."""
    size = data[at]
    if size == 0:
        return at + 1
    if size < 0x80 and not size & 1:
        # Of small numbers each takes a byte: then the array has as many as the byte of its count says, which is doubled.
        end = at + 1 + size
        if data[end] == 0 and data[at:end].isascii():
            return end + 1
    return read_seats(data, at)[1]


def remembered(function: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """A function of encoded seats that remembers short runs, of which few are possible in areas of one shape.

    Longer ones are chosen by those who ask, and may all differ: they would fill a cache for nothing.
    """
    cached = lru_cache(maxsize=16_384)(function)
    return lambda seats: cached(seats) if len(seats) <= _REMEMBERED_BYTES_MAX else function(seats)


@remembered
def is_seats(data: bytes) -> bool:
    """Whether this is one whole Avro array of ``Seat``."""
    try:
        return end_of_seats(data, 0) == len(data)
    except UNREADABLE:
        return False


def encode_create(who_and_where: bytes, count: int, kind: ReservationType, seats: bytes) -> bytes:
    """A ``CreateReservation``: :func:`encode_who_and_where`, ``numOfSeats``, type, and seats by :func:`encode_seats`."""
    number = SMALL_INTS[count] if 0 <= count < _SMALL else encode_int(count)
    return b"".join((_FRAMES.create_reservation, who_and_where, number, b"\x00", _TYPES[kind], seats))


def encode_who_and_where(user_id: str, event_id: str, area_id: str) -> bytes:
    """The start of a ``CreateReservation`` behind its frame: user, event and area."""
    return encode_string(user_id) + _encode_where(event_id, area_id)


@lru_cache(maxsize=16_384)
def _encode_where(event_id: str, area_id: str) -> bytes:
    return encode_string(event_id) + encode_string(area_id)


class Command(NamedTuple):
    """What is asked by a ``CreateReservation`` or a ``ReserveSeat``, both one string, event, area, and the same rest.

    ``who`` is the string: the user, or the reservation's id. ``names`` are the encoded names of event and area, at ``names_at``.
    """

    who: bytes
    names: bytes
    names_at: int
    seat_count: int
    kind: int
    seats_at: int


def read_create(value: bytes) -> Command:
    """The command of a ``CreateReservation``. UNREADABLE where the value is none, to its last byte."""
    return _read_command(value, _FRAMES.create_reservation)


def read_reserve(value: bytes) -> Command:
    """The command of a ``ReserveSeat``. UNREADABLE where the value is none, to its last byte."""
    return _read_command(value, _FRAMES.reserve_seat)


def _read_command(value: bytes, frame: bytes) -> Command:
    if not value.startswith(frame):
        check_frame(value, frame)
    who, names_at = read_string(value, _BODY_AT)
    names_end = skip_string(value, skip_string(value, names_at))
    count, at = read_int(value, names_end)
    if value[at]:
        _, at = read_int(value, at)  # numOfSeat, a retired spelling
    else:
        at += 1
    kind = value[at]
    if kind not in _KINDS:
        raise InvalidRecord("its type is none of the three")
    seats_at = at + 1
    # What is spliced on must be whole: a record with bytes too few or too many would spoil those that are made of it.
    end = seats_at + 1 if value[seats_at] == 0 else end_of_seats(value, seats_at)
    if end != len(value):
        raise InvalidRecord(f"it has {len(value)} bytes and should end at {end}")
    names = value[names_at:names_end]
    if not (names.isascii() and who.isascii()):
        who.decode()
        for name in read_names(names):
            name.decode()
    # As Command(…) does, by a call less: each role reads each command.
    return tuple.__new__(Command, (who, names, names_at, count, kind >> 1, seats_at))


def check_frame(value: bytes, frame: bytes) -> None:
    """UNREADABLE where a record is of another schema."""
    if value[:_BODY_AT] != frame:
        raise InvalidRecord(f"its frame is {value[:_BODY_AT].hex()}, not {frame.hex()}")


def check_id(key: bytes) -> None:
    """UNREADABLE where a record's key can't be a reservation's id."""
    if not key:
        raise InvalidRecord("it has no key")
    if not key.isascii():
        key.decode()


def read_names(names: bytes) -> tuple[bytes, bytes]:
    """Event and area, of their encoded names."""
    event_id, at = read_string(names, 0)
    return event_id, read_string(names, at)[0]


def processing(reservation_id: bytes, create: bytes) -> bytes:
    """The ``Reservation`` that a ``CreateReservation`` starts."""
    return b"".join((_FRAMES.reservation, encode_string(reservation_id), create[_BODY_AT:], _PROCESSING_TAIL))


def failed_at_once(reservation_id: bytes, create: bytes, reason: str) -> bytes:
    """The ``Reservation`` of a ``CreateReservation`` that no area was asked for."""
    return b"".join(
        (_FRAMES.reservation, encode_string(reservation_id), create[_BODY_AT:], SMALL_INTS[State.FAILED], encode_string(reason))
    )


def reserve_seat(reservation_id: bytes, create: bytes, names_at: int) -> bytes:
    """The ``ReserveSeat`` for a ``CreateReservation`` whose names start at ``names_at``."""
    return b"".join((_FRAMES.reserve_seat, encode_string(reservation_id), create[names_at:]))


def succeeded(reservation_id: bytes, seats: bytes) -> bytes:
    """The ``ReservationResult`` that gives ``seats`` (by :func:`encode_seats`)."""
    return b"".join((_FRAMES.reservation_result, encode_string(reservation_id), SUCCESS_WITH_SEATS, seats, _NO_ERROR))


def refused(reservation_id: bytes, refusal: Refusal) -> bytes:
    """The ``ReservationResult`` of a refusal."""
    return b"".join(
        (
            _FRAMES.reservation_result,
            encode_string(reservation_id),
            _FAILED_WITHOUT_SEATS,
            b"\x02",
            SMALL_INTS[refusal.code],
            b"\x02",
            encode_string(refusal.message),
        )
    )


def refused_by_rule(reservation_id: bytes, reason: str) -> bytes:
    """The ``ReservationResult`` of what a rule of the event refuses. The codes are the original's, none of which says why: it has none."""
    return b"".join((_FRAMES.reservation_result, encode_string(reservation_id), _FAILED_BY_RULE, encode_string(reason)))


def seats_start(reservation: bytes) -> int:
    """Where the seats of a ``Reservation`` of either form start."""
    at = _BODY_AT
    for _ in range(4):
        size = reservation[at]
        # As skip_string has it.
        at = at + 1 + (size >> 1) if size < 0x80 and not size & 1 else skip_string(reservation, at)
    _, at = read_int(reservation, at)
    _, at = read_int(reservation, at)
    return at + 1


def event_of(reservation: bytes) -> bytes:
    """The encoded name of the event of a ``Reservation`` of either form."""
    at = skip_string(reservation, skip_string(reservation, _BODY_AT))
    return reservation[at : skip_string(reservation, at)]


class Decision(NamedTuple):
    """What a result makes of a reservation, and the short name of why it failed; "" if it did not."""

    reservation: bytes
    outcome: str


def decided(reservation: bytes | None, result: bytes) -> Decision | None:
    """A ``Reservation`` in PROCESSING, after its ``ReservationResult``; None: there is none, or it is decided already.

    UNREADABLE: the result makes no sense.
    """
    seats, reason = read_result(result)
    if reservation is None:
        return None
    seats_at = seats_start(reservation)
    # The tail alone does not tell: a reason may end in the same bytes. No seats, then the tail, is the usual case.
    if reservation[seats_at:] != _NO_SEATS_PROCESSING and reservation[end_of_seats(reservation, seats_at) :] != _PROCESSING_TAIL:
        return None
    if reason is None:
        return Decision(b"".join((reservation[:seats_at], seats, _RESERVED_TAIL)), "")
    failed = b"".join((reservation[: -len(_PROCESSING_TAIL)], SMALL_INTS[State.FAILED], encode_string(reason)))
    # The name of the error's code, in brackets.
    return Decision(failed, reason[1 : reason.index(b"]")].decode())


def read_result(result: bytes) -> tuple[bytes, bytes | None]:
    """(the encoded seats, None) of a success, (nothing, the ``failedReason``) of a failure. UNREADABLE where it is neither."""
    check_frame(result, _FRAMES.reservation_result)
    reservation_id, outcome_at = read_string(result, _BODY_AT)
    if not reservation_id.isascii():
        reservation_id.decode()
    seats_at = at = outcome_at + 2
    if result[outcome_at:seats_at] == SUCCESS_WITH_SEATS and result.endswith(_NO_ERROR) and is_seats(seats := result[seats_at:-2]):
        return seats, None
    if _is_there(result, outcome_at + 1):
        at = end_of_seats(result, seats_at)
    seats = result[seats_at:at]
    code = message = None
    if _is_there(result, at):
        number, at = read_int(result, at + 1)
        code = ErrorCode(number)
    else:
        at += 1
    if _is_there(result, at):
        message, at = read_string(result, at + 1)
    else:
        at += 1
    if at != len(result):
        raise InvalidRecord(f"it has {len(result)} bytes and should end at {at}")
    if result[outcome_at] == _SUCCESS and seats and code is None and message is None:
        return seats, None
    if result[outcome_at] != _FAILED:
        raise InvalidRecord("it is neither a failure, nor a success with seats and without an error")
    text = (message or b"").decode()
    if code is None and text in REASONS:
        return b"", text.encode()
    return b"", f"[{(ErrorCode.INTERNAL_ERROR if code is None else code).name}]: {text}".encode()


def _is_there(data: bytes, at: int) -> bool:
    """Whether the union of null and a value at ``at`` has the value."""
    if data[at] not in (0, 2):
        raise InvalidRecord(f"a union of two has no branch {data[at] >> 1}")
    return data[at] == 2


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
