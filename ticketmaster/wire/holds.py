"""How long an unpaid reservation lasts.

That travels with the areas, among their rules, and with each success, in the second form of ``ReservationResult``: so the reservation role
needs no copy of it that might be old.
"""

from __future__ import annotations

from typing import NamedTuple

from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import encode_int, read_int
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES


class Hold(NamedTuple):
    """How long an unpaid reservation lasts, and how long at most when it is extended, in seconds. 0: for ever."""

    seconds: int = 0
    seconds_max: int = 0

    def encoded(self) -> bytes:
        """Two Avro ints."""
        return encode_int(self.seconds) + encode_int(self.seconds_max)


NO_HOLD = Hold()


def for_now(result: bytes, hold: Hold) -> bytes:
    """A successful ``ReservationResult`` in its second form: the seats are held for a while only."""
    return b"".join((FRAMES.reservation_result_2, result[FRAME_BYTES:], hold.encoded()))


def without_hold(result: bytes) -> tuple[bytes, Hold]:
    """(a ``ReservationResult`` in its first form, the hold it came with)."""
    if result[:FRAME_BYTES] != FRAMES.reservation_result_2:
        return result, NO_HOLD
    # From the end: what stands before the two integers ends in a byte that is none of theirs.
    at = len(result)
    for _ in range(2):
        at -= 1
        while at > FRAME_BYTES and result[at - 1] >= 0x80:
            at -= 1
    if at <= FRAME_BYTES:
        raise InvalidRecord(f"a result of {len(result)} bytes")
    seconds, next_at = read_int(result, at)
    return FRAMES.reservation_result + result[FRAME_BYTES:at], Hold(seconds, read_int(result, next_at)[0])
