"""Bodies of requests and responses: JSON in, commands out, and back. Names of fields are the contract's."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ticketmaster.domain.event import (
    Area,
    Event,
    EventLimits,
    event_violation,
    hold_violation,
    limit_violation,
    name_violation,
    window_violation,
)
from ticketmaster.domain.life import Life
from ticketmaster.domain.reservation import ReservationType, State
from ticketmaster.ticket.access import EventPattern
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.times import milliseconds_json, parse_time, time_json
from ticketmaster.wire.binary import read_int, read_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.lives import Standing, standing
from ticketmaster.wire.reservations import (
    encode_create,
    encode_seats,
    encode_who_and_where,
    end_of_seats,
    is_seats,
    read_names,
    read_seats,
    remembered,
)

# As JSON Schema has it, an integer is a number without a fraction, however it is written: 2.0 and 20e-1 are one, too.
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | Annotated[float, Meta(ge=-(2.0**31), le=2.0**31 - 1, multiple_of=1)]
# What msgspec says of a number that is no Int32, and what it means.
_PLAINER = (
    ("`int | float`", "`int`"),
    ("`float` that's a multiple of 1.0", "an integer"),
    ("`float`", "`int`"),
    ("7.0", "7"),
    ("8.0", "8"),
)
# What bodies begin with that are JSON to their sender only.
_BEGINNINGS = (
    (b"\xef\xbb\xbf", "It begins with a byte order mark: send UTF-8 without one"),
    (b"\xff\xfe", "It is UTF-16 or UTF-32: send UTF-8, without a byte order mark"),
    (b"\xfe\xff", "It is UTF-16 or UTF-32: send UTF-8, without a byte order mark"),
    (b"{\x00", "It is UTF-16 or UTF-32: send UTF-8"),
    (b"\x00", "It is UTF-16 or UTF-32: send UTF-8"),
    (b"\x1f\x8b", "It is compressed: send it as it is"),
)
_NO_TIME = Raw()
_TYPES = {"SELF_PICK": ReservationType.SELF_PICK, "RANDOM": ReservationType.RANDOM}
_TYPE_NAMES = tuple(kind.name.encode() for kind in ReservationType)
_STATE_NAMES = tuple(state.name.encode() for state in State)

_TIME_FIELDS = ("reservationOpeningTime", "reservationClosingTime", "eventStartTime", "eventEndTime")

encode_json = msgspec.json.Encoder().encode


class _AreaBody(Struct):
    areaId: str
    price: Int32 = 0
    rowCount: Int32 = 0
    colCount: Int32 = 0


class _EventBody(Struct):
    eventName: str
    artist: str = ""
    areas: list[_AreaBody] = []
    reservationOpeningTime: Raw = _NO_TIME
    reservationClosingTime: Raw = _NO_TIME
    eventStartTime: Raw = _NO_TIME
    eventEndTime: Raw = _NO_TIME
    holdSeconds: Int32 | UnsetType = UNSET
    holdSecondsMax: Int32 | UnsetType = UNSET
    seatsPerUserMax: Int32 | UnsetType = UNSET


class _PaymentBody(Struct):
    reference: str


class _ExtensionBody(Struct):
    seconds: Int32


class SeatBody(Struct, frozen=True, gc=False):
    """A seat, counted from 0."""

    row: Int32
    col: Int32


class _ReservationBody(Struct, gc=False):
    userId: str
    areaId: str
    eventId: str | None = None
    numOfSeats: Int32 | UnsetType = UNSET
    type: str = "INVALID"
    seats: list[SeatBody] | None = None


class AreaView(Struct):
    """An area in ``GET /v1/event/{id}``."""

    areaId: str
    price: int
    rowCount: int
    colCount: int
    availableSeats: int


class EventView(Struct):
    """``GET /v1/event/{id}``."""

    eventName: str
    seats: int
    availableSeats: int
    areas: list[AreaView]
    holdSeconds: int | UnsetType = UNSET
    holdSecondsMax: int | UnsetType = UNSET
    # Of events with rules.
    seatsPerUserMax: int | UnsetType = UNSET
    artist: str | UnsetType = UNSET
    reservationOpeningTime: Raw | UnsetType = UNSET
    reservationClosingTime: Raw | UnsetType = UNSET
    eventStartTime: Raw | UnsetType = UNSET
    eventEndTime: Raw | UnsetType = UNSET
    status: str | UnsetType = UNSET
    revision: int | UnsetType = UNSET


class EventSummary(Struct):
    """An event in ``GET /v1/event``."""

    eventName: str
    areas: int
    seats: int
    availableSeats: int


class EventList(Struct):
    """``GET /v1/event``; ``next`` is where the next page begins (``?after=``), null on the last."""

    events: list[EventSummary]
    next: str | None


class SeatMapView(Struct):
    """``GET /v1/event/{id}/area/{areaId}``: a string a row, ``.`` free and ``#`` taken."""

    eventId: str
    areaId: str
    price: int
    rowCount: int
    colCount: int
    availableSeats: int
    rows: list[str]


# What decoders raise for a body that is none.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_event = msgspec.json.Decoder(_EventBody).decode
_decode_payment = msgspec.json.Decoder(_PaymentBody).decode
_decode_extension = msgspec.json.Decoder(_ExtensionBody).decode
_decode_reservation = msgspec.json.Decoder(_ReservationBody).decode


def malformed(body: bytes, cause: Exception) -> Problem:
    """400: a body that can't be decoded."""
    code = "invalid_field" if isinstance(cause, msgspec.ValidationError) else "malformed_json"
    reason = str(cause)
    for said, meant in _PLAINER:
        reason = reason.replace(said, meant)
    hint = "It is empty" if not body.strip() else next((text for start, text in _BEGINNINGS if body.startswith(start)), "")
    return Problem(400, code, f"The body is not what this path takes: {reason}.{hint and f' {hint}.'}")


def read_event(body: bytes, limits: EventLimits, now_ns: int) -> Event:
    """The event that a client announces. Problem: it breaks a rule."""
    try:
        read = _decode_event(body)
    except UNDECODABLE as cause:
        raise malformed(body, cause) from cause
    areas = tuple(Area(area.areaId, int(area.price), int(area.rowCount), int(area.colCount)) for area in read.areas)
    broken = event_violation(read.eventName, read.artist, areas, limits)
    if broken:
        raise Problem(400, broken.code, f"{broken.message}.")
    opening, closing, start, end = (parse_time(field, bytes(getattr(read, field)), now_ns) for field in _TIME_FIELDS)
    if broken := window_violation(opening, closing):
        raise Problem(400, broken.code, f"{broken.message}.")
    return Event(read.eventName, read.artist, opening, closing, start, end, areas, *_hold(read, limits), _limit(read, limits))


def _limit(read: _EventBody, limits: EventLimits) -> int:
    """How many seats a user may have; 0: any number."""
    if read.seatsPerUserMax is UNSET:
        return 0
    seats = int(read.seatsPerUserMax)
    if broken := limit_violation(seats, limits):
        raise Problem(400, broken.code, f"{broken.message}.")
    return seats


def _hold(read: _EventBody, limits: EventLimits) -> tuple[int, int]:
    """For how long seats are held, and at most."""
    if read.holdSeconds is UNSET and read.holdSecondsMax is UNSET:
        return 0, 0
    seconds = 0 if read.holdSeconds is UNSET else int(read.holdSeconds)
    seconds_max = seconds if read.holdSecondsMax is UNSET else int(read.holdSecondsMax)
    if broken := hold_violation(seconds, seconds_max, limits):
        raise Problem(400, broken.code, f"{broken.message}.")
    return seconds, seconds_max


def read_payment(body: bytes, bytes_max: int) -> bytes:
    """The reference of a payment. Problem: it is none."""
    try:
        reference = _decode_payment(body).reference
    except UNDECODABLE as cause:
        raise malformed(body, cause) from cause
    if broken := name_violation("reference", reference, bytes_max):
        raise Problem(400, "invalid_reference", f"{broken.message}.")
    return reference.encode()


def read_extension(body: bytes, seconds_max: int) -> int:
    """For how many seconds from now on a hold shall last. Problem: it is no such number."""
    try:
        seconds = int(_decode_extension(body).seconds)
    except UNDECODABLE as cause:
        raise malformed(body, cause) from cause
    if not 1 <= seconds <= seconds_max:
        raise Problem(400, "invalid_extension", f"seconds is a number from 1 to {seconds_max}.")
    return seconds


class _AnnouncedEvent(Struct):
    eventName: str
    artist: str
    areas: list[_AreaBody]
    reservationOpeningTime: Raw
    reservationClosingTime: Raw
    eventStartTime: Raw
    eventEndTime: Raw
    holdSeconds: int | UnsetType = UNSET
    holdSecondsMax: int | UnsetType = UNSET
    seatsPerUserMax: int | UnsetType = UNSET


def event_json(event: Event) -> bytes:
    """The answer to an announcement."""
    areas = [_AreaBody(area.area_id, area.price, area.row_count, area.col_count) for area in event.areas]
    times = (event.reservation_opening_ns, event.reservation_closing_ns, event.event_start_ns, event.event_end_ns)
    opening, closing, start, end = map(time_json, times)
    seconds, seconds_max, limit = event.hold_seconds or UNSET, event.hold_seconds_max or UNSET, event.seats_per_user_max or UNSET
    return encode_json(_AnnouncedEvent(event.event_name, event.artist, areas, opening, closing, start, end, seconds, seconds_max, limit))


def read_reservation_request(body: bytes, event_id: str, limits: TicketLimits) -> bytes:
    """The ``CreateReservation`` that a client asks for. Problem: it breaks a rule."""
    try:
        read = _decode_reservation(body)
    except UNDECODABLE as cause:
        raise malformed(body, cause) from cause
    if read.eventId is not None and read.eventId != event_id:
        raise Problem(400, "event_id_mismatch", "eventId in the body is not the one in the path.")
    seats, kind = read.seats or (), _TYPES.get(read.type, ReservationType.INVALID)
    picked = len(seats) if kind is ReservationType.SELF_PICK else 0
    count = picked if read.numOfSeats is UNSET else int(read.numOfSeats)
    seats_max = limits.seats_per_reservation_max
    if count > seats_max or len(seats) > seats_max:
        raise Problem(400, "too_many_seats", f"A reservation may have {seats_max} seats.")
    if picked and picked != count:
        raise Problem(400, "seat_count_mismatch", f"numOfSeats is {count}, but seats are {picked}; it may be left out.")
    return encode_create(
        _checked_names(read.userId, event_id, read.areaId, limits.event.name_bytes_max),
        count,
        kind,
        encode_seats([(int(seat.row), int(seat.col)) for seat in seats]),
    )


def _checked_names(user_id: str, event_id: str, area_id: str, bytes_max: int) -> bytes:
    # A character has at most 4 bytes of UTF-8: short names need no closer look.
    short = bytes_max // 4
    if not (0 < len(user_id) <= short and 0 < len(event_id) <= short and 0 < len(area_id) <= short) or "#" in event_id:
        for field, name in (("userId", user_id), ("eventId", event_id), ("areaId", area_id)):
            broken = name_violation(field, name, bytes_max)
            if broken:
                raise Problem(400, broken.code, f"{broken.message}.")
        if "#" in event_id:
            raise Problem(400, "invalid_event_name", "An event's name must not contain '#'.")
    return encode_who_and_where(user_id, event_id, area_id)


def reservation_json(reservation: bytes, stands: Standing | None = None) -> bytes:
    """The JSON of a framed ``Reservation`` of either form, keys in the contract's order; ``stands``: by its :func:`standing`, if known."""
    reservation_id, at = read_string(reservation, FRAME_BYTES)
    user_id, where_at = read_string(reservation, at)
    at = skip_string(reservation, skip_string(reservation, where_at))
    where = _where_json(reservation[where_at:at])
    count, at = read_int(reservation, at)
    retired_count, at = read_int(reservation, at)
    kind, seats_at, more = reservation[at], at + 1, b""
    number: int
    if reservation.startswith(FRAMES.reservation_2):
        number, reason, life, seats, *_ = stands or standing(reservation)
        shown, more = _seats_json(seats), _life_json(life)
    else:
        # Without a reason its end tells where the seats end, if they are whole up to there.
        shown = _seats_json(reservation[seats_at:-2]) if reservation[-1] == 0 else b""
        if shown:
            number, reason = reservation[-2] >> 1, b""
        else:
            at = end_of_seats(reservation, seats_at)
            reason, _ = read_string(reservation, at + 1)
            shown, number = _seats_json(reservation[seats_at:at]), reservation[at] >> 1
    return _RESERVATION_JSON % (
        encode_json(reservation_id.decode()),
        encode_json(user_id.decode()),
        where,
        count,
        retired_count,
        _TYPE_NAMES[kind >> 1],
        shown,
        _STATE_NAMES[number],
        encode_json(reason.decode()) if reason else b'""',
        more,
    )


def _life_json(life: Life) -> bytes:
    """What a reservation of the second form has besides."""
    shown = b',"holdExpiresAt":%b' % milliseconds_json(life.hold_expires_ms) if life.hold_expires_ms else b""
    if life.payment_reference:
        shown += b',"paymentReference":%b' % encode_json(life.payment_reference.decode())
    return shown


_RESERVATION_JSON = (
    b'{"reservationId":%b,"userId":%b,%b,"numOfSeats":%d,"numOfSeat":%d,"type":"%b","seats":%b,"state":"%b","failedReason":%b%b}'
)


@lru_cache(maxsize=16_384)
def _where_json(names: bytes) -> bytes:
    event_id, area_id = read_names(names)
    return b'"eventId":%b,"areaId":%b' % (encode_json(event_id.decode()), encode_json(area_id.decode()))


@remembered
def _seats_json(seats: bytes) -> bytes:
    """Of one whole array of them; nothing of anything else."""
    if not is_seats(seats):
        return b""
    return encode_json([SeatBody(row, col) for row, col in read_seats(seats, 0)[0]])


class Page(NamedTuple):
    """Which events ``GET /v1/event`` lists: at most ``limit``, those behind ``after``."""

    limit: int
    after: str
    # None: all of them.
    events: EventPattern | None = None
