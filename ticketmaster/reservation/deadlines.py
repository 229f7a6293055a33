"""When something must be done about a reservation, by seconds: nothing is done before its instant, and hardly a second later."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
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


class Deadlines:
    """Ids by the second in which something is due. Of a million they take 80 MB, most of it the ids themselves.

    Nobody takes one out again: whoever is told of an id looks whether it is still due.
    """

    def __init__(self) -> None:
        # A second has what is due in the second before it, or in its own first instant.
        self._ids: dict[int, list[bytes]] = {}
        self._seconds: list[int] = []

    def add(self, reservation_id: bytes, at_ms: int) -> None:
        """Something is due at an instant."""
        second = -(-at_ms // 1000)
        ids = self._ids.get(second)
        if ids is None:
            self._ids[second] = [reservation_id]
            heappush(self._seconds, second)
        else:
            ids.append(reservation_id)

    @property
    def next_ms(self) -> int | None:
        """When the next ids are due."""
        return self._seconds[0] * 1000 if self._seconds else None

    def due_by(self, at_ms: int) -> int:
        """How many ids are due at an instant, those included that are not any more."""
        return sum([len(ids) for second, ids in self._ids.items() if second * 1000 <= at_ms])

    def take_due(self, now_ms: int, ids_max: int) -> Iterator[bytes]:
        """Up to so many ids that are due, those first that are so longest."""
        while self._seconds and self._seconds[0] * 1000 <= now_ms:
            ids = self._ids[self._seconds[0]]
            while ids:
                if not ids_max:
                    return
                ids_max -= 1
                yield ids.pop()
            del self._ids[heappop(self._seconds)]
