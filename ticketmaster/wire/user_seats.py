"""How many seats a user has of an event that has a limit: the values of the reservation role's store ``UserSeats``.

Not Avro, as nobody but this system reads it. The key is the encoded name of the event, then that of the user (two Avro strings); its
partition is where all of that user's reservations of that event are decided, one after the other. The value is a byte that tells the
layout, then of each reservation that counts its id (an Avro string) and its seats (an Avro int).
"""

from __future__ import annotations

from collections.abc import Mapping

from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import encode_int, encode_string, read_int, read_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES

_LAYOUT = b"\x01"


def user_key(event: bytes, user_id: bytes) -> bytes:
    """The key of a user at an event, whose name is encoded."""
    return event + encode_string(user_id)


def user_key_of(reservation: bytes) -> bytes:
    """The key of the user of a ``Reservation`` of either form."""
    user_at = skip_string(reservation, FRAME_BYTES)
    event_at = skip_string(reservation, user_at)
    return reservation[event_at : skip_string(reservation, event_at)] + reservation[user_at:event_at]


def encode_user_seats(seats: Mapping[bytes, int]) -> bytes:
    """The value for the seats of each reservation that counts."""
    return _LAYOUT + b"".join([encode_string(key) + encode_int(count) for key, count in seats.items()])


def read_user_seats(value: bytes) -> dict[bytes, int]:
    """The seats of each reservation that counts. UNREADABLE: the value is none."""
    if value[:1] != _LAYOUT:
        raise InvalidRecord(f"the layout of a user's seats is {_LAYOUT.hex()}, not {value[:1].hex()}")
    seats, at = dict[bytes, int](), 1
    while at < len(value):
        key, at = read_string(value, at)
        seats[key], at = read_int(value, at)
    return seats
