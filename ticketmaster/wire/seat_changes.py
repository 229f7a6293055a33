"""The changes of a large area's seats since its status was last written: values of the event role's store ``AreaRules``.

Not Avro, as nobody but this system reads it. The key is a byte 255 and the area's key. The value is a byte that tells the layout, then the
seats that were taken and those that came free (two Avro arrays of ``Seat``), all of them since the last status: the last value is enough.
There is one only while the status is behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.reservations import encode_seats, read_seats

KEYS = b"\xff"
"""No key of an area begins so, as it is UTF-8."""
_LAYOUT = b"\x03"

Seats = Sequence[tuple[int, int]]


def changes_key(area: bytes) -> bytes:
    """The key for an area's changes."""
    return KEYS + area


def area_of(key: bytes) -> bytes:
    """The area whose changes have this key."""
    return key[len(KEYS) :]


def encode_changes(taken: Seats, freed: Seats) -> bytes:
    """The value."""
    return _LAYOUT + encode_seats(taken) + encode_seats(freed)


def read_changes(value: bytes) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(seats that were taken, seats that came free). UNREADABLE: it is none."""
    if value[:1] != _LAYOUT:
        raise InvalidRecord(f"the layout of changes is {_LAYOUT.hex()}, not {value[:1].hex()}")
    taken, at = read_seats(value, 1)
    freed, at = read_seats(value, at)
    if at != len(value):
        raise InvalidRecord(f"changes have {len(value)} bytes and should end at {at}")
    return taken, freed
