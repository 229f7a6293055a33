"""The areas as the filter knows them: the last status of the most recently used ones, kept as bytes until somebody looks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair
from ticketmaster.domain.admission import admits_chosen, admits_random
from ticketmaster.domain.event import KEY_SEPARATOR
from ticketmaster.domain.reservation import ReservationType
from ticketmaster.streams.table import Unreadable
from ticketmaster.wire.area_status import AreaHeader, area_names, seat_is_free
from ticketmaster.wire.binary import UNREADABLE, encode_string
from ticketmaster.wire.reservations import read_seats

_SEPARATOR = KEY_SEPARATOR.encode()
_AREAS_MAX = 1_000


class KnownArea:
    """An area's last status. ``key`` and ``partition`` are those of the commands for it."""

    __slots__ = ("_header", "_value", "key", "partition")

    def __init__(self, key: bytes, partition: int, value: bytes) -> None:
        self.key = key
        self.partition = partition
        self.update(value)

    def update(self, value: bytes) -> None:
        """A newer status came."""
        self._value = value
        self._header: AreaHeader | None = None

    def admits(self, create: bytes, count: int, kind: int, seats_at: int) -> bool:
        """Whether the area, as it was last seen, can serve a ``CreateReservation``; True, too, where it can't be read."""
        try:
            header = self._header or AreaHeader(self._value)
            self._header = header
            if kind == ReservationType.RANDOM:
                return admits_random(count, header.available, header.cols)
            chosen, _ = read_seats(create, seats_at)
            return admits_chosen(chosen, lambda row, col: seat_is_free(self._value, header, row, col))
        except UNREADABLE:
            # The area itself decides.
            return True


class AreaCache:
    """Areas by the encoded names of event and area: the very bytes that a command carries."""

    def __init__(self, partitions: int, is_fresh: Callable[[], bool], areas_max: int = _AREAS_MAX) -> None:
        """``is_fresh()``: whether every status of a moment ago has come. If not, seats may have come back that nobody here knows of."""
        self.is_fresh = is_fresh
        self._partitions = partitions
        self._areas_max = areas_max
        self._areas: OrderedDict[bytes, KnownArea] = OrderedDict()

    def apply(self, records: Sequence[Pair]) -> list[Unreadable]:
        """Takes records of ``state.event.area_status``, and returns those that are none."""
        areas, unreadable = self._areas, list[Unreadable]()
        for at, (key, value) in enumerate(records):
            if value is None:
                continue
            try:
                names = area_names(value)
            except UNREADABLE as reason:
                unreadable.append((at, f"no AreaStatus: {reason}"))
                self._forget(key)
                continue
            area = areas.get(names)
            if area is None:
                areas[names] = KnownArea(key, partition_of(key, self._partitions), value)
                if len(areas) > self._areas_max:
                    areas.popitem(last=False)
            else:
                area.update(value)
        return unreadable

    def _forget(self, key: bytes) -> None:
        """What is known of an area is not its last status any more, so it must not be refused by."""
        parts = key.split(_SEPARATOR)
        # Names may have the separator in them.
        for at in range(1, len(parts)):
            event_id, area_id = _SEPARATOR.join(parts[:at]), _SEPARATOR.join(parts[at:])
            self._areas.pop(encode_string(event_id) + encode_string(area_id), None)

    def get(self, names: bytes) -> KnownArea | None:
        """The area of these encoded names, which counts as a use."""
        area = self._areas.get(names)
        if area is not None:
            self._areas.move_to_end(names)
        return area
