"""What the reservation role must do some time: the values of its store ``Deadline``, by the ids of reservations.

Cancelled events have values there, too: their keys are their names behind a byte that no UTF-8 text has, so that no id begins with it.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ticketmaster.errors import InvalidRecord

_HEAD = Struct(">BQ")
# A reservation whose hold ends; a cancellation of one that has not come yet.
HOLD, EARLY_CANCEL = 1, 2
# An event whose reservations are being cancelled; an event of which all are cancelled.
CANCELLING_EVENT, CANCELLED_EVENT = 3, 4
_KINDS = (HOLD, EARLY_CANCEL, CANCELLING_EVENT, CANCELLED_EVENT)
EVENT_KEY = b"\xff"


class Deadline(NamedTuple):
    """The value of the store ``Deadline``. ``change_id`` is that of an early cancellation.

    ``at_ms`` of a cancelled event is when the last of its reservations was cancelled.
    """

    kind: int
    at_ms: int
    change_id: bytes = b""

    def encoded(self) -> bytes:
        """The kind in a byte, the instant in 8, big-endian, then the rest."""
        return _HEAD.pack(self.kind, self.at_ms) + self.change_id


def event_key(event_id: bytes) -> bytes:
    """The key of a cancelled event."""
    return EVENT_KEY + event_id


def hold_end(value: bytes) -> int:
    """The instant of the deadline of a hold; 0: it is another one, or none. A start asks this of each open hold."""
    return int.from_bytes(value[1:], "big") if len(value) == _HEAD.size and value[0] == HOLD else 0


def read_deadline(value: bytes) -> Deadline:
    """The deadline of such a value. UNREADABLE: it is none."""
    if len(value) < _HEAD.size or value[0] not in _KINDS:
        raise InvalidRecord(f"no Deadline: {value[: _HEAD.size].hex()}")
    kind, at_ms = _HEAD.unpack_from(value)
    return Deadline(kind, at_ms, value[_HEAD.size :])
