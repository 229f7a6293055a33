"""Who holds seats: the value of the event role's store ``Holder``, by the id of a reservation.

Not Avro, as nobody but this system reads it: a byte that tells the layout, the names of event and area as a ``ReserveSeat`` has them (two
Avro strings), then what a ``ReservationResult`` has behind its id (result, seats, error code, error message). So an answer that was given
once is given again as it was.
"""

from __future__ import annotations

from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import encode_string, skip_string
from ticketmaster.wire.frames import FRAMES
from ticketmaster.wire.reservations import Command, read_names, read_result, read_seats

_LAYOUT = b"\x01"
_NAMES_AT = 1


def holder(command: Command, result: bytes) -> bytes:
    """The value for the ``ReservationResult`` of a ``ReserveSeat``: both are framed and begin with the id, so they go on at one place."""
    return _LAYOUT + command.names + result[command.names_at :]


def result_of(reservation_id: bytes, value: bytes) -> bytes:
    """The ``ReservationResult`` that this holder was given. UNREADABLE: the value is no holder's."""
    return b"".join((FRAMES.reservation_result, encode_string(reservation_id), value[_answer_at(value) :]))


def read_holder(reservation_id: bytes, value: bytes) -> tuple[bytes, bytes, list[tuple[int, int]]]:
    """(event, area, the seats held; none where the answer was no). UNREADABLE: the value is no holder's."""
    seats, reason = read_result(result_of(reservation_id, value))
    event_id, area_id = read_names(value[_NAMES_AT : _answer_at(value)])
    return event_id, area_id, read_seats(seats, 0)[0] if reason is None else []


def _answer_at(value: bytes) -> int:
    if value[:_NAMES_AT] != _LAYOUT:
        raise InvalidRecord(f"a holder's layout is {_LAYOUT.hex()}, not {value[:_NAMES_AT].hex()}")
    return skip_string(value, skip_string(value, _NAMES_AT))
