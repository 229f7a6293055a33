"""The rules of an event that its areas keep, and the second forms of commands, which say by which rules they were found right.

Areas have them in records of our own (the original's ``AreaStatus`` has no place for them). An area has no clock and counts no users: it
only sees to it that somebody has looked, by rules that are not older than what the area knows.
"""

from __future__ import annotations

from typing import NamedTuple

from ticketmaster.domain.rules import RULES_UNKNOWN, EventRules, Status, refused_by_status
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import SMALL_INTS, encode_int, encode_string, read_int
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.holds import NO_HOLD, Hold

# A hold alone has the first layout.
_LAYOUT, _LAYOUT_WITH_STATUS = b"\x01", b"\x02"


class AreaRules(NamedTuple):
    """The rules of an event that its areas keep."""

    hold: Hold = NO_HOLD
    # As EventRules have them.
    checked_revision: int = 0
    status: Status = Status.OPEN
    revision: int = 1

    def encoded(self) -> bytes:
        """The value of the event role's store ``AreaRules``: a byte that tells the layout, then Avro ints."""
        if self[1:] == _HOLD_ALONE:
            return _LAYOUT + self.hold.encoded()
        rest = (encode_int(self.checked_revision), SMALL_INTS[self.status], encode_int(self.revision))
        return b"".join((_LAYOUT_WITH_STATUS, self.hold.encoded(), *rest))

    def refusal(self, checked: Checked) -> str:
        """Why the area gives no seats; "": it may."""
        if refused := refused_by_status(self.status, box_office=checked.box_office):
            return refused
        return RULES_UNKNOWN if checked.revision < self.checked_revision and not checked.box_office else ""

    @property
    def may_refuse(self) -> bool:
        """Whether there is anything to refuse for."""
        return self.checked_revision > 0 or self.status is not Status.OPEN


# Older than any.
NO_AREA_RULES = AreaRules(revision=0)
_HOLD_ALONE = AreaRules()[1:]


def area_rules(rules: EventRules) -> AreaRules:
    """What the areas of an event keep of its rules."""
    return AreaRules(Hold(rules.hold_seconds, rules.hold_seconds_max), rules.checked_revision, rules.status, rules.revision)


def read_rules(value: bytes) -> AreaRules:
    """The rules of such a value. UNREADABLE: it is none."""
    rules, at = _rules_at_start(value)
    if at != len(value):
        raise InvalidRecord(f"rules have {len(value)} bytes and should end at {at}")
    return rules


def ruled_area(rules: AreaRules, status: bytes) -> bytes:
    """An announced area with the rules of its event: as :meth:`AreaRules.encoded`, then its ``AreaStatus``."""
    return rules.encoded() + status


def read_ruled_area(value: bytes) -> tuple[bytes, bytes]:
    """(the rules as :meth:`AreaRules.encoded` has them, the ``AreaStatus``; nothing of an event's rules alone). UNREADABLE: it is none."""
    _, at = _rules_at_start(value)
    return value[:at], value[at:]


def _rules_at_start(value: bytes) -> tuple[AreaRules, int]:
    layout = value[:1]
    if layout not in (_LAYOUT, _LAYOUT_WITH_STATUS):
        raise InvalidRecord(f"the layout of rules is {_LAYOUT.hex()} or {_LAYOUT_WITH_STATUS.hex()}, not {layout.hex()}")
    seconds, at = read_int(value, 1)
    seconds_max, at = read_int(value, at)
    hold = Hold(seconds, seconds_max)
    if layout == _LAYOUT:
        return AreaRules(hold), at
    checked_revision, at = read_int(value, at)
    status, at = read_int(value, at)
    revision, at = read_int(value, at)
    return AreaRules(hold, checked_revision, Status(status), revision), at


class Checked(NamedTuple):
    """What a ``ReserveSeat`` of the second form says: by which revision it was found right, and whether a box office asks."""

    revision: int = 0
    box_office: bool = False


NOT_CHECKED = Checked()
_BOOLEANS = (b"\x00", b"\x01")


def checked_reserve_seat(reservation_id: bytes, create: bytes, names_at: int, checked: Checked) -> bytes:
    """The ``ReserveSeat`` of the second form for a ``CreateReservation`` whose names start at ``names_at``."""
    tail = encode_int(checked.revision) + _BOOLEANS[checked.box_office]
    return b"".join((FRAMES.reserve_seat_2, encode_string(reservation_id), create[names_at:], tail))


def without_check(reserve: bytes) -> tuple[bytes, Checked]:
    """(a ``ReserveSeat`` in its first form, what the second one said). UNREADABLE: it is none."""
    if reserve[:FRAME_BYTES] != FRAMES.reserve_seat_2:
        return reserve, NOT_CHECKED
    # From the end: what stands before the integer ends in a byte that is none of its own.
    at = len(reserve) - 2
    while at > FRAME_BYTES and reserve[at - 1] >= 0x80:
        at -= 1
    if at <= FRAME_BYTES or reserve[-1] > 1:
        raise InvalidRecord(f"a ReserveSeat of {len(reserve)} bytes whose last is no boolean")
    return FRAMES.reserve_seat + reserve[FRAME_BYTES:at], Checked(read_int(reserve, at)[0], bool(reserve[-1]))


def of_box_office(create: bytes) -> bytes:
    """A ``CreateReservation`` in its second form: what a box office asks for."""
    return b"".join((FRAMES.create_reservation_2, create[FRAME_BYTES:], b"\x01"))


def without_box_office(create: bytes) -> tuple[bytes, bool]:
    """(a ``CreateReservation`` in its first form, whether a box office asks). UNREADABLE: it is none."""
    if create[:FRAME_BYTES] != FRAMES.create_reservation_2:
        return create, False
    if len(create) <= FRAME_BYTES or create[-1] > 1:
        raise InvalidRecord(f"a CreateReservation of {len(create)} bytes whose last is no boolean")
    return FRAMES.create_reservation + create[FRAME_BYTES:-1], bool(create[-1])
