"""``Reservation`` in its second form: with what a hold, a payment or a change adds behind the fields that the original system knows.

A reservation has this form from the first such thing on; until then, and for ever where nothing of this is used, it has the first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ticketmaster.domain.life import NO_LIFE, Life
from ticketmaster.domain.reservation import State
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import SMALL_INTS, encode_int, encode_string, read_int, read_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.reservations import end_of_seats

_STATES = {SMALL_INTS[state][0]: state for state in State}
_NO_TEXT = b"\x00"
# The end of a held reservation that nobody has changed: no reference, no change, no refusal; and how much comes before it, at most.
_UNCHANGED = 3 * _NO_TEXT
_UNCHANGED_BYTES_MAX = 23


class Standing(NamedTuple):
    """Where a reservation stands."""

    state: State
    reason: bytes
    life: Life
    # Encoded, as a ReleaseSeats has them, and where they end.
    seats: bytes
    seats_end: int
    # The encoded names of event and area.
    names: bytes


def standing(reservation: bytes) -> Standing:
    """Where a framed ``Reservation`` of either form stands. UNREADABLE: it is none."""
    names_at = skip_string(reservation, skip_string(reservation, FRAME_BYTES))
    names_end = skip_string(reservation, skip_string(reservation, names_at))
    _, at = read_int(reservation, names_end)
    _, at = read_int(reservation, at)
    seats_at = at + 1
    seats_end = end_of_seats(reservation, seats_at)
    state = _STATES.get(reservation[seats_end])
    if state is None:
        raise InvalidRecord(f"no state begins with {reservation[seats_end]:#x}")
    reason, at = read_string(reservation, seats_end + 1)
    life = NO_LIFE
    if reservation.startswith(FRAMES.reservation_2):
        rest = reservation[at:]
        life = _read_unchanged(rest) if rest.endswith(_UNCHANGED) and len(rest) <= _UNCHANGED_BYTES_MAX else _read_life(rest)
        at = len(reservation)
    elif not reservation.startswith(FRAMES.reservation):
        raise InvalidRecord(f"its frame is {reservation[:FRAME_BYTES].hex()}, not that of a Reservation")
    if at != len(reservation):
        raise InvalidRecord(f"it has {len(reservation)} bytes and should end at {at}")
    return Standing(state, reason, life, reservation[seats_at:seats_end], seats_end, reservation[names_at:names_end])


def _read_life(data: bytes) -> Life:
    """The life of a reservation, behind its reason in the second form. UNREADABLE: it is not that, to its last byte."""
    expires_ms, at = read_int(data, 0)
    expires_max_ms, at = read_int(data, at)
    reference, at = read_string(data, at)
    change_id, at = read_string(data, at)
    refusal, at = read_string(data, at)
    if at != len(data):
        raise InvalidRecord(f"its end has {len(data)} bytes and should have {at}")
    return Life(expires_ms, expires_max_ms, reference, change_id, refusal)


# All holds that begin in one transaction end alike.
_read_unchanged = lru_cache(maxsize=4_096)(_read_life)


def stands(reservation: bytes, seats_end: int, state: State, reason: bytes, life: Life) -> bytes:
    """The reservation in its second form, in another state. ``seats_end`` is that of its :func:`standing`."""
    expires_ms, expires_max_ms, reference, change_id, refusal = life
    parts = (
        FRAMES.reservation_2,
        reservation[FRAME_BYTES:seats_end],
        SMALL_INTS[state],
        encode_string(reason) if reason else _NO_TEXT,
        _times(expires_ms, expires_max_ms),
        encode_string(reference) if reference else _NO_TEXT,
        encode_string(change_id) if change_id else _NO_TEXT,
        encode_string(refusal) if refusal else _NO_TEXT,
    )
    return b"".join(parts)


def reserved_for_now(reservation: bytes, expires_ms: int, expires_max_ms: int) -> bytes:
    """A reservation of the first form that is RESERVED, until its hold ends."""
    return b"".join((FRAMES.reservation_2, reservation[FRAME_BYTES:], _times(expires_ms, expires_max_ms), _UNCHANGED))


@lru_cache(maxsize=1_024)
def _times(expires_ms: int, expires_max_ms: int) -> bytes:
    """When a hold ends, and when it does at the latest: the same for all holds that begin in a transaction."""
    return encode_int(expires_ms) + encode_int(expires_max_ms)
