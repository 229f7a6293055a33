"""Who holds seats: the value of the event role's store ``Holder``, by the id of a reservation.

Not Avro, as nobody but this system reads it: a byte that tells the layout, the names of event and area as a ``ReserveSeat`` has them (two
Avro strings), then what a ``ReservationResult`` has behind its id (result, seats, error code, error message, and the hold in its second
form). So an answer that was given once is given again as it was. Of a holder that gave its seats back a byte is left: it gets no answer
any more, and frees nothing again.
"""

from __future__ import annotations

from ticketmaster.domain.event import area_key
from ticketmaster.domain.reservation import LIVE, ErrorCode, Refusal, State
from ticketmaster.domain.rules import REASONS
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import encode_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.holds import without_hold
from ticketmaster.wire.lives import standing
from ticketmaster.wire.reservations import (
    SUCCESS_WITH_SEATS,
    Command,
    encode_seats,
    read_names,
    read_reservation,
    read_result,
    read_seats,
    refused,
    refused_by_rule,
    succeeded,
)

_LAYOUT, _LAYOUT_WITH_HOLD, CLOSED = b"\x01", b"\x02", b"\x03"
_NAMES_AT = 1


def holder(command: Command, result: bytes) -> bytes:
    """The value for the ``ReservationResult`` of a ``ReserveSeat``: both are framed and begin with the id, so they go on at one place."""
    layout = _LAYOUT if result[:FRAME_BYTES] == FRAMES.reservation_result else _LAYOUT_WITH_HOLD
    return layout + command.names + result[command.names_at :]


def result_of(reservation_id: bytes, value: bytes) -> bytes:
    """The ``ReservationResult`` that this holder was given. UNREADABLE: the value is no holder's, or that of a closed one."""
    frame = FRAMES.reservation_result if value[:_NAMES_AT] == _LAYOUT else FRAMES.reservation_result_2
    return b"".join((frame, encode_string(reservation_id), value[_answer_at(value) :]))


def holds_just(value: bytes, names: bytes, seats: bytes) -> bool:
    """Whether this is plainly the value of a holder of these seats, encoded, in the area of these names.

    False: it may be all the same, written in another way. :func:`read_holder` tells.
    """
    return value[:_NAMES_AT] in (_LAYOUT, _LAYOUT_WITH_HOLD) and value.startswith(names + SUCCESS_WITH_SEATS + seats, _NAMES_AT)


def read_holder(reservation_id: bytes, value: bytes) -> tuple[bytes, bytes, list[tuple[int, int]]]:
    """(event, area, the seats held; none where the answer was no). UNREADABLE: the value is no holder's, or that of a closed one."""
    seats, reason = read_result(without_hold(result_of(reservation_id, value))[0])
    event_id, area_id = read_names(value[_NAMES_AT : _answer_at(value)])
    return event_id, area_id, read_seats(seats, 0)[0] if reason is None else []


def holder_of(reservation: bytes) -> tuple[bytes, bytes] | None:
    """(the key of its area, the holder's value) of a ``Reservation`` that its area has decided; None: it has not.

    What the event role wrote when it answered, made again from what became of the reservation. UNREADABLE: it is none.
    """
    state = standing(reservation).state
    fields = read_reservation(reservation)
    who = fields.reservation_id.encode()
    if state == State.CANCELLED:
        return area_key(fields.event_id, fields.area_id).encode(), CLOSED
    if state in LIVE:
        result = succeeded(who, encode_seats(fields.seats))
    elif state == State.FAILED and fields.failed_reason in REASONS:
        # Whether its area was asked is not told; if not, nobody ever asks for this answer.
        result = refused_by_rule(who, fields.failed_reason)
    elif state == State.FAILED and (refusal := _refusal(fields.failed_reason)):
        result = refused(who, refusal)
    else:
        return None
    names = encode_string(fields.event_id) + encode_string(fields.area_id)
    answer = result[skip_string(result, FRAME_BYTES) :]
    return area_key(fields.event_id, fields.area_id).encode(), b"".join((_LAYOUT, names, answer))


def _refusal(reason: str) -> Refusal | None:
    """What an area said, by the ``failedReason`` that was made of it; None: no area was asked."""
    code, separator, message = reason.partition("]: ")
    return Refusal(ErrorCode[code[1:]], message) if separator and code[1:] in ErrorCode.__members__ else None


def _answer_at(value: bytes) -> int:
    if value[:_NAMES_AT] not in (_LAYOUT, _LAYOUT_WITH_HOLD):
        raise InvalidRecord(f"a holder's layout is {_LAYOUT.hex()} or {_LAYOUT_WITH_HOLD.hex()}, not {value[:_NAMES_AT].hex()}")
    return skip_string(value, skip_string(value, _NAMES_AT))
