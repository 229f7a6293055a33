"""Rules of an event that its areas keep: how long an unpaid reservation lasts.

They travel with the areas, in records of our own (the original's ``AreaStatus`` has no place for them), and with each success, in the
second form of ``ReservationResult``: so the reservation role needs no copy of them that might be old.
"""

from __future__ import annotations

from typing import NamedTuple

from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import encode_int, read_int
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES

_LAYOUT = b"\x01"


class Hold(NamedTuple):
    """How long an unpaid reservation lasts, and how long at most when it is extended, in seconds. 0: for ever."""

    seconds: int = 0
    seconds_max: int = 0

    def encoded(self) -> bytes:
        """Two Avro ints."""
        return encode_int(self.seconds) + encode_int(self.seconds_max)


NO_HOLD = Hold()


def encode_rules(hold: Hold) -> bytes:
    """The value of the event role's store ``AreaRules``: a byte that tells the layout, then the hold."""
    return _LAYOUT + hold.encoded()


def read_rules(value: bytes) -> Hold:
    """The hold of such a value. UNREADABLE: it is none."""
    hold, at = _rules_at_start(value)
    if at != len(value):
        raise InvalidRecord(f"rules have {len(value)} bytes and should end at {at}")
    return hold


def ruled_area(hold: Hold, status: bytes) -> bytes:
    """An announced area with its rules: as :func:`encode_rules`, then its ``AreaStatus``."""
    return encode_rules(hold) + status


def read_ruled_area(value: bytes) -> tuple[bytes, bytes]:
    """(the rules as :func:`encode_rules` has them, the ``AreaStatus``). UNREADABLE: it is none."""
    _, at = _rules_at_start(value)
    return value[:at], value[at:]


def _rules_at_start(value: bytes) -> tuple[Hold, int]:
    if value[:1] != _LAYOUT:
        raise InvalidRecord(f"the layout of rules is {_LAYOUT.hex()}, not {value[:1].hex()}")
    seconds, at = read_int(value, 1)
    seconds_max, at = read_int(value, at)
    return Hold(seconds, seconds_max), at


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
