"""Events and areas as the gateway shows them: the last status of each area, and the rules of each event, from the tables of both."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from ticketmaster.broker.port import Pair
from ticketmaster.domain.event import KEY_SEPARATOR
from ticketmaster.domain.rules import CHANGEABLE, NO_RULES, EventRules, Status
from ticketmaster.streams.table import Unreadable
from ticketmaster.ticket.bodies import AreaView, EventList, EventSummary, EventView, Page, SeatMapView
from ticketmaster.ticket.renderings import Rendered, Renderings
from ticketmaster.ticket.times import time_json
from ticketmaster.wire.area_status import AreaHeader, AreaImage
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.events import read_rules_of

_SHOWN_EVENTS_MAX = 1_000
_NS_PER_MS = 1_000_000


class _Area(NamedTuple):
    header: AreaHeader
    value: bytes
    version: int


class _Event:
    __slots__ = ("areas", "available", "seats", "version")

    def __init__(self) -> None:
        self.areas: dict[str, _Area] = {}
        self.seats = 0
        self.available = 0
        self.version = 0


class Catalog:
    """All areas in memory, as the bytes of their last status: about 4.5 bytes a seat. What it shows it renders once a version."""

    def __init__(self, are_read: Callable[[], bool]) -> None:
        """``are_read()``: whether all of both tables has been read that was there when the process began; once true, it stays so."""
        self._are_read = are_read
        self._is_whole = False
        self.ruled: dict[str, EventRules] = {}
        """The events that do not simply sell to everybody."""
        self._events: dict[str, _Event] = {}
        self._names: list[str] = []
        self._rules: dict[str, EventRules] = {}
        # How many statuses and rules it has taken: each gives its area, its event and the list a version of its own.
        self._version = 0
        self._renderings = Renderings()

    @property
    def is_whole(self) -> bool:
        """Whether an event or area that is not here does not exist; until then nothing here is to be shown, or decided by."""
        if not self._is_whole:
            self._is_whole = self._are_read()
        return self._is_whole

    def apply(self, records: Sequence[Pair]) -> list[Unreadable]:
        """Takes records of ``state.event.area_status``, and returns those that are none."""
        unreadable: list[Unreadable] = []
        for at, (key, value) in enumerate(records):
            if value is None:
                continue
            try:
                event_id, _, area_id = key.decode().partition(KEY_SEPARATOR)
                header = AreaHeader(value)
            except UNREADABLE as reason:
                unreadable.append((at, f"no AreaStatus: {reason}"))
            else:
                self._take(event_id, area_id, header, value)
        return unreadable

    def _take(self, event_id: str, area_id: str, header: AreaHeader, value: bytes) -> None:
        event = self._events.get(event_id)
        if event is None:
            event = self._events[event_id] = _Event()
            insort(self._names, event_id)
        known = event.areas.get(area_id)
        if known is None:
            event.seats += header.rows * header.cols
        else:
            event.available -= known.header.available
        event.available += header.available
        version = self._version = event.version = self._version + 1
        event.areas[area_id] = _Area(header, value, version)

    def apply_rules(self, records: Sequence[Pair]) -> list[Unreadable]:
        """Takes records of ``state.event``, and returns those that are none."""
        unreadable: list[Unreadable] = []
        for at, (key, value) in enumerate(records):
            try:
                event_id, rules = key.decode(), NO_RULES if value is None else read_rules_of(value)
            except UNREADABLE as reason:
                unreadable.append((at, f"no Event: {reason}"))
                continue
            self._rules[event_id] = rules
            if rules.are_checked or rules.status is not Status.OPEN:
                self.ruled[event_id] = rules
            else:
                self.ruled.pop(event_id, None)
            if event := self._events.get(event_id):
                event.version = self._version = self._version + 1
        return unreadable

    def has_rules(self, event_id: str) -> bool:
        """Whether an event's rules are known."""
        return event_id in self._rules

    def rules(self, event_id: str) -> EventRules:
        """The rules of an event."""
        return self._rules.get(event_id, NO_RULES)

    def has_areas(self, event_id: str, area_ids: Sequence[str] = ()) -> bool:
        """Whether an event is known, and all these areas of it."""
        event = self._events.get(event_id)
        return event is not None and all(area_id in event.areas for area_id in area_ids)

    def seats(self) -> list[tuple[str, int, int]]:
        """(name, seats, seats that are left) of the events announced last, as many as a dashboard can show; none until it is whole."""
        if not self.is_whole:
            return []
        newest = islice(reversed(self._events.items()), _SHOWN_EVENTS_MAX)
        return [(name, event.seats, event.available) for name, event in newest]

    def list_events(self, page: Page) -> Rendered:
        """A page of events, in the order of their names."""
        return self._renderings.get(
            ("events", page.limit, page.after, page.events and page.events.text), self._version, lambda: self._list(page)
        )

    def _list(self, page: Page) -> EventList:
        start = bisect_right(self._names, page.after) if page.after else 0
        if page.events:
            behind = (name for name in islice(self._names, start, None) if page.events.matches(name))
            found = list(islice(behind, page.limit + 1))
            names, more = found[: page.limit], len(found) > page.limit
        else:
            names, more = self._names[start : start + page.limit], start + page.limit < len(self._names)
        summaries = [
            EventSummary(name, len(event.areas), event.seats, event.available) for name in names for event in (self._events[name],)
        ]
        return EventList(summaries, names[-1] if more else None)

    def event(self, event_id: str) -> Rendered | None:
        """An event and its areas, in the order of their ids."""
        event = self._events.get(event_id)
        return self._renderings.get(("event", event_id), event.version, lambda: self._view(event_id, event)) if event else None

    def _view(self, event_id: str, event: _Event) -> EventView:
        areas = [
            AreaView(area_id, area.header.price, area.header.rows, area.header.cols, area.header.available)
            for area_id, area in sorted(event.areas.items())
        ]
        return EventView(event_id, event.seats, event.available, areas, **_shown(self.rules(event_id)))

    def seat_map(self, event_id: str, area_id: str) -> Rendered | None:
        """An area's seats."""
        event = self._events.get(event_id)
        area = event.areas.get(area_id) if event else None
        return self._renderings.get(("area", event_id, area_id), area.version, lambda: _seat_map(event_id, area_id, area)) if area else None


def _shown(rules: EventRules) -> dict[str, Any]:
    """What an event shows of its rules; nothing, if it has none. Times that nobody told are not shown."""
    if rules.revision == 0:
        return {}
    shown: dict[str, Any] = {"status": rules.status.name, "revision": rules.revision}
    for name, field in CHANGEABLE.items():
        value = getattr(rules, name)
        if name.endswith("_ms") and value:
            shown[field] = time_json(value * _NS_PER_MS)
        elif value and name != "status":
            shown[field] = value
    return shown


def _seat_map(event_id: str, area_id: str, area: _Area) -> SeatMapView:
    header = area.header
    _, seats = AreaImage.parse(area.value)
    return SeatMapView(event_id, area_id, header.price, header.rows, header.cols, header.available, seats.row_strings())
