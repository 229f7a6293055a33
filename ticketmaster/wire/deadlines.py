"""What the reservation role must do some time: the values of its store ``Deadline``, by the ids of reservations."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ticketmaster.errors import InvalidRecord

_HEAD = Struct(">BQ")
# A reservation whose hold ends; a cancellation of one that has not come yet.
HOLD, EARLY_CANCEL = 1, 2


class Deadline(NamedTuple):
    """The value of the store ``Deadline``, by the id of a reservation. ``change_id`` is that of an early cancellation."""

    kind: int
    at_ms: int
    change_id: bytes = b""

    def encoded(self) -> bytes:
        """The kind in a byte, the instant in 8, big-endian, then the rest."""
        return _HEAD.pack(self.kind, self.at_ms) + self.change_id


def read_deadline(value: bytes) -> Deadline:
    """The deadline of such a value. UNREADABLE: it is none."""
    if len(value) < _HEAD.size or value[0] not in (HOLD, EARLY_CANCEL):
        raise InvalidRecord(f"no Deadline: {value[: _HEAD.size].hex()}")
    kind, at_ms = _HEAD.unpack_from(value)
    return Deadline(kind, at_ms, value[_HEAD.size :])
