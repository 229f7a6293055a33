"""What changes a reservation that exists: ``ChangeReservation``, and the ``ReleaseSeats`` that gives its seats back."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ticketmaster.domain.event import area_key
from ticketmaster.domain.life import Change, Kind
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import SMALL_INTS, encode_int, encode_string, read_int, read_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.reservations import check_frame, end_of_seats, read_names, read_seats, remembered

_KINDS = {SMALL_INTS[kind][0]: kind for kind in Kind}


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
    kind = _KINDS.get(value[at])
    if kind is None:
        raise InvalidRecord(f"no kind of change begins with {value[at]:#x}")
    at += 1
    reference, at = read_string(value, at)
    seconds, at = read_int(value, at)
    if at + 1 != len(value) or value[at] > 1:
        raise InvalidRecord(f"it has {len(value)} bytes and should end at {at + 1}, in a boolean")
    if not (change_id.isascii() and reference.isascii()):
        change_id.decode()
        reference.decode()
    return Change(change_id, kind, reference, seconds, bool(value[at]))


class Release(NamedTuple):
    """A ``ReleaseSeats``. ``names`` are the encoded names of event and area, ``encoded`` the seats."""

    reservation_id: bytes
    names: bytes
    encoded: bytes

    @property
    def seats(self) -> tuple[tuple[int, int], ...]:
        """(row, col) of each seat."""
        return _seats_of(self.encoded)


@remembered
def _seats_of(encoded: bytes) -> tuple[tuple[int, int], ...]:
    return tuple(read_seats(encoded, 0)[0])


@lru_cache(maxsize=16_384)
def _area_key_of(names: bytes) -> bytes:
    event_id, area_id = read_names(names)
    return area_key(event_id.decode(), area_id.decode()).encode()


def release_seats(reservation_id: bytes, names: bytes, seats: bytes) -> tuple[bytes, bytes]:
    """(the key of the area, the framed ``ReleaseSeats``) of a reservation; the names of event and area, and the seats, are encoded."""
    return _area_key_of(names), b"".join((FRAMES.release_seats, encode_string(reservation_id), names, seats))


def released_id(value: bytes) -> bytes:
    """The id of the reservation that a ``ReleaseSeats`` names, which may not be whole: to look up what will be asked for."""
    at = FRAME_BYTES + 1
    return value[at : at + (value[FRAME_BYTES] >> 1)] if len(value) > FRAME_BYTES else b""


def read_release(value: bytes) -> Release:
    """The release of a framed ``ReleaseSeats``. UNREADABLE where the value is none, to its last byte."""
    check_frame(value, FRAMES.release_seats)
    reservation_id, names_at = read_string(value, FRAME_BYTES)
    names_end = skip_string(value, skip_string(value, names_at))
    at = end_of_seats(value, names_end)
    if at != len(value):
        raise InvalidRecord(f"it has {len(value)} bytes and should end at {at}")
    return Release(reservation_id, value[names_at:names_end], value[names_end:])
