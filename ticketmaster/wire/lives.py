"""``Reservation`` in its second form: with what a hold, a payment or a change adds behind the fields that the original system knows.

A reservation has this form from the first such thing on; until then, and for ever where nothing of this is used, it has the first.
"""

from __future__ import annotations

from typing import NamedTuple

from ticketmaster.domain.life import NO_LIFE, Life
from ticketmaster.domain.reservation import State
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import SMALL_INTS, encode_int, encode_string, read_int, read_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.reservations import read_seats, seats_start


class Standing(NamedTuple):
    """Where a reservation stands."""

    state: State
    reason: bytes
    life: Life
    # Encoded, as a ReleaseSeats has them, and where they end.
    seats: bytes
    seats_end: int


def standing(reservation: bytes) -> Standing:
    """Where a framed ``Reservation`` of either form stands. UNREADABLE: it is none."""
    seats_at = seats_start(reservation)
    _, seats_end = read_seats(reservation, seats_at)
    number, at = read_int(reservation, seats_end)
    reason, at = read_string(reservation, at)
    life = NO_LIFE
    if reservation[:FRAME_BYTES] == FRAMES.reservation_2:
        expires_ms, at = read_int(reservation, at)
        expires_max_ms, at = read_int(reservation, at)
        reference, at = read_string(reservation, at)
        change_id, at = read_string(reservation, at)
        refusal, at = read_string(reservation, at)
        life = Life(expires_ms, expires_max_ms, reference, change_id, refusal)
    elif reservation[:FRAME_BYTES] != FRAMES.reservation:
        raise InvalidRecord(f"its frame is {reservation[:FRAME_BYTES].hex()}, not that of a Reservation")
    if at != len(reservation):
        raise InvalidRecord(f"it has {len(reservation)} bytes and should end at {at}")
    return Standing(State(number), reason, life, reservation[seats_at:seats_end], seats_end)


def stands(reservation: bytes, seats_end: int, state: State, reason: bytes, life: Life) -> bytes:
    """The reservation in its second form, in another state. ``seats_end`` is that of its :func:`standing`."""
    return b"".join((FRAMES.reservation_2, reservation[FRAME_BYTES:seats_end], SMALL_INTS[state], encode_string(reason), *_encoded(life)))


def reserved_for_now(reservation: bytes, state_at: int, expires_ms: int, expires_max_ms: int) -> bytes:
    """A reservation whose state stands at ``state_at``, RESERVED until its hold ends."""
    return stands(reservation, state_at, State.RESERVED, b"", Life(expires_ms, expires_max_ms))


def _encoded(life: Life) -> tuple[bytes, ...]:
    expires_ms, expires_max_ms, reference, change_id, refusal = life
    return (
        encode_int(expires_ms),
        encode_int(expires_max_ms),
        encode_string(reference),
        encode_string(change_id),
        encode_string(refusal),
    )
