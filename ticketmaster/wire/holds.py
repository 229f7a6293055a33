"""How long an unpaid reservation lasts.

That travels with the areas, among their rules, and with each success, in the second form of ``ReservationResult``: so the reservation role
needs no copy of it that might be old.
"""

from __future__ import annotations

from functools import lru_cache
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
# Two Avro ints, and a byte before them that is none of theirs.
_END_BYTES = 11


def for_now(result: bytes, hold: Hold) -> bytes:
    """A successful ``ReservationResult`` in its second form: the seats are held for a while only."""
    return b"".join((FRAMES.reservation_result_2, result[FRAME_BYTES:], hold.encoded()))


def without_hold(result: bytes) -> tuple[bytes, Hold]:
    """(a ``ReservationResult`` in its first form, the hold it came with)."""
    if not result.startswith(FRAMES.reservation_result_2):
        return result, NO_HOLD
    size, hold = _hold_at_end(result[FRAME_BYTES:][-_END_BYTES:])
    return FRAMES.reservation_result + result[FRAME_BYTES:-size], hold


@lru_cache(maxsize=4_096)
def _hold_at_end(end: bytes) -> tuple[int, Hold]:
    """(the bytes of a hold that these end in, the hold). InvalidRecord: they do not."""
    # From the end: what stands before the two integers ends in a byte that is none of theirs.
    at = len(end)
    for _ in range(2):
        at -= 1
        while at > 0 and end[at - 1] >= 0x80:
            at -= 1
    if at <= 0:
        raise InvalidRecord("a result that ends in no hold")
    seconds, next_at = read_int(end, at)
    return len(end) - at, Hold(seconds, read_int(end, next_at)[0])
