"""What changes a reservation that exists: ``ChangeReservation``, and the ``ReleaseSeats`` that gives its seats back."""

from __future__ import annotations

from typing import NamedTuple

from ticketmaster.domain.event import area_key
from ticketmaster.domain.life import Change, Kind
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import SMALL_INTS, encode_int, encode_string, read_int, read_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.reservations import check_frame, read_seats


def encode_change(change: Change) -> bytes:
    """The framed ``ChangeReservation``."""
    return b"".join(
        (
            FRAMES.change_reservation,
            encode_string(change.change_id),
            SMALL_INTS[change.kind],
            encode_string(change.reference),
            encode_int(change.seconds),
            b"\x01" if change.refund else b"\x00",
        )
    )


def read_change(value: bytes) -> Change:
    """The change of a framed ``ChangeReservation``. UNREADABLE where the value is none, to its last byte."""
    check_frame(value, FRAMES.change_reservation)
    change_id, at = read_string(value, FRAME_BYTES)
    kind, at = read_int(value, at)
    reference, at = read_string(value, at)
    seconds, at = read_int(value, at)
    if at + 1 != len(value) or value[at] > 1:
        raise InvalidRecord(f"it has {len(value)} bytes and should end at {at + 1}, in a boolean")
    change_id.decode()
    reference.decode()
    return Change(change_id, Kind(kind), reference, seconds, bool(value[at]))


class Release(NamedTuple):
    """A ``ReleaseSeats``. ``names`` are the encoded names of event and area."""

    reservation_id: bytes
    names: bytes
    seats: list[tuple[int, int]]


def release_seats(reservation_id: bytes, reservation: bytes, seats: bytes) -> tuple[bytes, bytes]:
    """(the key of the area, the framed ``ReleaseSeats``) of a ``Reservation`` in either form; ``seats`` are encoded."""
    names_at = skip_string(reservation, skip_string(reservation, FRAME_BYTES))
    event_id, area_at = read_string(reservation, names_at)
    area_id, names_end = read_string(reservation, area_at)
    value = b"".join((FRAMES.release_seats, encode_string(reservation_id), reservation[names_at:names_end], seats))
    return area_key(event_id.decode(), area_id.decode()).encode(), value


def read_release(value: bytes) -> Release:
    """The release of a framed ``ReleaseSeats``. UNREADABLE where the value is none, to its last byte."""
    check_frame(value, FRAMES.release_seats)
    reservation_id, names_at = read_string(value, FRAME_BYTES)
    names_end = skip_string(value, skip_string(value, names_at))
    seats, at = read_seats(value, names_end)
    if at != len(value):
        raise InvalidRecord(f"it has {len(value)} bytes and should end at {at}")
    return Release(reservation_id, value[names_at:names_end], seats)
