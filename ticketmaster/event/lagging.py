"""Large areas: their status is written now and then, and what has changed since with each transaction.

A status is 4.5 bytes a seat, twice: as state, and for those who follow it. Of an area of 100,000 seats it would be nearly a megabyte a
reservation where one comes at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.seat_changes import encode_changes, read_changes

# Changes that are larger than this part of an area are not worth it.
_CHANGES_PARTS = 16
_CHANGES_BYTES_MIN = 64


class StatusPace(NamedTuple):
    """How often the status of an area is written: at once if it is smaller than ``bytes_min``, else so many bytes a millisecond.

    Whoever follows it knows it again after ``rest_ms_max`` at most, and the time of a transaction.
    """

    bytes_min: int = 16_384
    bytes_per_ms: float = 500
    rest_ms_max: int = 950

    def rest_ms(self, size_bytes: int) -> int:
        """How long after its last status the next one of an area is written; 0: with each change."""
        return min(int(size_bytes / self.bytes_per_ms), self.rest_ms_max) if size_bytes >= self.bytes_min else 0


class _Shown(NamedTuple):
    """The seats of an area as its status shows them, and when that was written, in the log's time."""

    free: bytes
    at_ms: int


class Lagging:
    """Which areas have a status that is behind, and until when it may be."""

    def __init__(self, pace: StatusPace) -> None:
        self._pace = pace
        # Of large areas in memory whose status this process has written.
        self._shown: dict[bytes, _Shown] = {}
        # Until when a status may be behind: those with changes beside it.
        self._due_ms: dict[bytes, int] = {}

    @property
    def deadline_ms(self) -> int | None:
        """When the next status must be written; None: none is behind."""
        return min(self._due_ms.values(), default=None)

    def due(self, now_ms: int) -> Iterator[bytes]:
        """The areas whose status must be written now, those first that have been behind for longest."""
        return iter(sorted((key for key, due_ms in self._due_ms.items() if due_ms <= now_ms), key=self._due_ms.__getitem__))

    def __contains__(self, key: bytes) -> bool:
        """Whether an area's status is behind."""
        return key in self._due_ms

    def found(self, key: bytes) -> None:
        """A predecessor has left changes of an area: it is not known for how long its status has been behind."""
        self._due_ms[key] = 0

    def forget(self, key: bytes) -> None:
        """An area is not in memory any more, or can't be read: it is written with its next change."""
        self._shown.pop(key, None)
        self._due_ms.pop(key, None)

    def changes(self, key: bytes, size_bytes: int, seats: SeatMap, now_ms: int) -> bytes | None:
        """The changes since the status, if they may wait; None: it is to be written with this transaction."""
        rest_ms, shown = self._pace.rest_ms(size_bytes), self._shown.get(key)
        # Records are older than the clock by which a deadline came; and their times may go back by anything.
        if not rest_ms or shown is None or abs(now_ms - shown.at_ms) >= rest_ms:
            return None
        value = encode_changes(*_differences(shown.free, seats))
        if len(value) > max(size_bytes // _CHANGES_PARTS, _CHANGES_BYTES_MIN):
            return None
        self._due_ms[key] = shown.at_ms + rest_ms
        return value

    def written(self, key: bytes, size_bytes: int, seats: SeatMap, now_ms: int) -> bool:
        """The status is written; whether there were changes beside it, which are void now."""
        if self._pace.rest_ms(size_bytes):
            self._shown[key] = _Shown(bytes(seats.free), now_ms)
        return self._due_ms.pop(key, None) is not None


def _differences(shown: bytes, seats: SeatMap) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(the seats that were taken, those that came free) since they were shown so."""
    free, stride = seats.free, seats.stride
    marks = (int.from_bytes(shown, "big") ^ int.from_bytes(free, "big")).to_bytes(len(free), "big")
    taken, freed = list[tuple[int, int]](), list[tuple[int, int]]()
    at = marks.find(1)
    while at >= 0:
        (freed if free[at] else taken).append(divmod(at, stride))
        at = marks.find(1, at + 1)
    return taken, freed


def catch_up(seats: SeatMap, image: AreaImage, changes: bytes) -> None:
    """Brings an area from its status to what has become of it. UNREADABLE: these are no changes of this area."""
    taken, freed = read_changes(changes)
    if not all(seats.has(*seat) and seats.is_free(*seat) for seat in taken):
        raise InvalidRecord("changes take seats that are taken, or that the area does not have")
    if not all(seats.has(*seat) and not seats.is_free(*seat) for seat in freed):
        raise InvalidRecord("changes free seats that are free, or that the area does not have")
    seats.take(taken)
    image.take(taken)
    seats.release(freed)
    image.release(freed)
