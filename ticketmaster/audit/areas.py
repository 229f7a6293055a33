"""What the topics say about each area: what was announced, and the history of its seats."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from ticketmaster.audit.hashing import digest_of
from ticketmaster.audit.places import Places, is_placed, packed, partition_at, unpacked
from ticketmaster.audit.report import At
from ticketmaster.audit.rules import Findings, Rule, text_of
from ticketmaster.broker.port import Batch, TopicPartition
from ticketmaster.domain.event import KEY_SEPARATOR, area_key
from ticketmaster.domain.rules import NO_RULES, EventRules, Status, announced
from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import area_names, read_seat_map
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.events import read_announcement, read_rules_of
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.holds import Hold
from ticketmaster.wire.reservations import read_names
from ticketmaster.wire.rules import NO_AREA_RULES, AreaRules, area_rules, read_rules
from ticketmaster.wire.seat_changes import KEYS, read_changes
from ticketmaster.wire.seat_changes import area_of as area_of_changes

_STATUS, _CHANGELOG = topics.AREA_STATUS.name, topics.AREA_CHANGELOG.name
_EVENTS, _RULES = topics.EVENT.name, topics.AREA_RULES_CHANGELOG.name
_TELLING = topics.RULED_AREA_REPARTITION.name
_OPENING = (topics.AREA_REPARTITION.name, _TELLING)
_SEATS_NAMED_MAX = 5
_SEPARATOR = KEY_SEPARATOR.encode()

Seat = tuple[int, int]


class Shape(NamedTuple):
    """What of an area never changes."""

    rows: int
    cols: int
    price: int

    def __str__(self) -> str:
        return f"{self.rows} × {self.cols} seats for {self.price}"


class History:
    """The records of one topic about one area."""

    def __init__(self, topic: str, shape: Shape, seats: SeatMap) -> None:
        self.topic = topic
        self.shape = shape
        self.seats = seats
        self.digest = 0
        self._capacity = shape.rows * shape.cols
        # Of each record: where it is, how many seats it shows free, and the hash of its value.
        self._places, self._free, self._hashes = array("q"), array("q"), array("q")

    def add(self, at: int, value: bytes) -> None:
        """Notes a record whose seats are :attr:`seats`."""
        self._places.append(at)
        self._free.append(self.seats.available)
        self._hashes.append(hash(value))

    @property
    def starts_all_free(self) -> bool:
        """Whether the first record is that of the area as it came to be."""
        return self._free[0] == self._capacity

    @property
    def source(self) -> TopicPartition:
        """The partition it is read from."""
        return TopicPartition(self.topic, partition_at(self._places[0]))

    @property
    def last_at(self) -> At | None:
        """Where the last record is."""
        return unpacked(self.topic, self._places[-1])

    @property
    def last_hash(self) -> int:
        """Of the last record."""
        return self._hashes[-1]

    def first_difference(self, other: History) -> tuple[At | None, At | None] | None:
        """Of two whole histories: the first records that are not the same. One may be shorter."""
        for here, there, mine, its in zip(self._places, other._places, self._hashes, other._hashes, strict=False):
            if mine != its:
                return unpacked(self.topic, here), unpacked(other.topic, there)
        if len(self._hashes) != len(other._hashes) and self.last_hash == other.last_hash:
            return self.last_at, other.last_at
        return None

    def contradiction(self, other: History) -> tuple[At | None, At | None] | None:
        """Of two histories with parts removed: records with as many free seats that are not the same."""
        known = {free: (its, there) for free, its, there in zip(other._free, other._hashes, other._places, strict=True)}
        for free, mine, here in zip(self._free, self._hashes, self._places, strict=True):
            its, there = known.get(free, (mine, -1))
            if its != mine:
                return unpacked(self.topic, here), unpacked(other.topic, there)
        return None


class Announced(NamedTuple):
    """An area as an event has it that was announced, whether it came with rules, and where."""

    shape: Shape
    is_ruled: bool
    at: At | None


class _Freed(NamedTuple):
    """The seats of an area that came free: how often each in the records of a topic, and the last two that show it."""

    seats: Counter[Seat]
    before: At | None
    now: At | None


class Areas:
    """Reads the topics that are about areas, and the rules of their events. Everything is by the area's key."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.announced: dict[bytes, Announced] = {}
        self._repartitioned: dict[bytes, At | None] = {}
        self._histories: dict[str, dict[bytes, History]] = {_STATUS: {}, _CHANGELOG: {}}
        self.statuses, self._changelog = self._histories[_STATUS], self._histories[_CHANGELOG]
        self._freed: dict[tuple[str, bytes], _Freed] = {}
        # The rules of events, and what each partition keeps of them for the areas on it; and where that is said.
        self._events: dict[bytes, tuple[EventRules, At]] = {}
        self._kept: dict[tuple[bytes, int], tuple[AreaRules, At]] = {}
        # The last record by which each partition was told of an event's rules.
        self._told: dict[tuple[bytes, int], At] = {}
        # Of areas whose status is behind: what has become of their seats since.
        self.behind: dict[bytes, bytes] = {}
        self.put_aside = 0

    def take(self, batch: Batch) -> bool:
        """Takes records of its topics; False: the topic is none of them."""
        topic, partition = batch.source
        if topic == topics.CREATE_EVENT.name:
            for offset, (_, value) in zip(batch.offsets, batch.records, strict=True):
                self._take_event(value, At(topic, partition, offset), batch.timestamp_ms)
        elif topic in _OPENING:
            for offset, (key, _) in zip(batch.offsets, batch.records, strict=True):
                at = At(topic, partition, offset)
                if topic == _TELLING and _SEPARATOR not in key:
                    self._told[key, partition] = at
                else:
                    self._repartitioned.setdefault(key, at)
        elif topic in self._histories:
            for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
                self._take_status(topic, key, value, packed(partition, offset))
        elif topic in (_EVENTS, _RULES):
            for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
                self._take_rules(topic, key, value, At(topic, partition, offset))
        else:
            return False
        return True

    def _take_event(self, value: bytes | None, at: At, time_ms: int) -> None:
        if value is None:
            return
        try:
            event_id, areas, rules = read_announcement(value)
        except UNREADABLE:
            self.put_aside += 1
            return
        is_ruled = announced(rules, time_ms).any
        for area in areas:
            # The first announcement is the one that counts.
            shape = Shape(area.row_count, area.col_count, area.price)
            self.announced.setdefault(area_key(event_id, area.area_id).encode(), Announced(shape, is_ruled, at))

    def _take_changes(self, key: bytes, value: bytes | None, at: At) -> None:
        area = area_of_changes(key)
        self.behind.pop(area, None)
        if value is None:
            # The status has it all.
            return
        try:
            read_changes(value)
            self.behind[area] = value
        except UNREADABLE as reason:
            self._findings.add(Rule.UNREADABLE, f"what has changed of {text_of(area)}: {reason}", at)

    def catch_up(self) -> None:
        """Brings areas to what has become of their seats since their last status. The status is read whole by now, whatever came first."""
        for key, changes in self.behind.items():
            taken, freed = read_changes(changes)
            for history in (table[key] for table in self._histories.values() if key in table):
                history.seats = history.seats.changed(taken, freed)

    def _take_rules(self, topic: str, key: bytes, value: bytes | None, at: At) -> None:
        if topic == _RULES and key.startswith(KEYS):
            self._take_changes(key, value, at)
            return
        name = f"the rules of {text_of(key)}"
        if value is None:
            self._findings.add(Rule.DELETED, name, at)
            return
        try:
            if topic == _EVENTS:
                self._events[key] = read_rules_of(value), at
            else:
                self._kept[key, at.partition] = read_rules(value), at
        except UNREADABLE as reason:
            self._findings.add(Rule.UNREADABLE, f"{name}: {reason}", at)

    def _take_status(self, topic: str, key: bytes, value: bytes | None, at: int) -> None:
        here, name = unpacked(topic, at), f"area {text_of(key)}"
        if value is None:
            self._findings.add(Rule.DELETED, name, here)
            return
        try:
            header, seats = read_seat_map(value)
        except UNREADABLE as reason:
            self._findings.add(Rule.UNREADABLE, f"{name}: {reason}", here)
            return
        named = _SEPARATOR.join(read_names(area_names(value)))
        if named != key:
            self._findings.add(Rule.MISPLACED, f"a status of {text_of(named)} has the key {text_of(key)}", here)
        if header.available != seats.available:
            text = f"{name}: {header.available} free seats are said, {seats.available} are shown, of {seats.rows * seats.cols}"
            self._findings.add(Rule.FREE_SEATS, text, here)
        shape, table = Shape(header.rows, header.cols, header.price), self._histories[topic]
        history = table.get(key)
        if history is None:
            history = table[key] = History(topic, shape, seats)
        elif history.source.partition != partition_at(at):
            self._findings.add(Rule.MISPLACED, f"{name} is on several partitions", history.last_at, here)
            return
        else:
            self._compare(key, history, shape, seats, here)
            history.shape, history.seats = shape, seats
        history.add(at, value)
        history.digest = digest_of(key, value[FRAME_BYTES:])

    def _compare(self, key: bytes, history: History, shape: Shape, seats: SeatMap, here: At | None) -> None:
        if shape != history.shape:
            text = f"area {text_of(key)}: from {history.shape} to {shape}"
            self._findings.add(Rule.AREA_CHANGED, text, history.last_at, here)
        if len(seats.free) == len(history.seats.free) and (freed := _freed(history.seats, seats)):
            known = self._freed.get((history.topic, key))
            times = known.seats if known else Counter[Seat]()
            times.update(freed)
            self._freed[history.topic, key] = _Freed(times, history.last_at, here)

    # What it comes to.

    def unopened(self) -> Iterator[bytes]:
        """Areas that were announced and have no status."""
        return (key for key in self.announced if key not in self.statuses)

    def last_step(self, key: bytes) -> At | None:
        """The record that must be worked off next for an area that has no status."""
        return self._repartitioned.get(key) or self.announced[key].at

    def hold_of(self, key: bytes) -> Hold | None:
        """For how long an area gives its seats; None: that has changed, or may have."""
        rules, at = self._rules_of(key)
        return self._kept_of(key)[0].hold if at is None or self.unchanged_rules(key) is rules else None

    def check(self, findings: Findings, places: Places, under_way: frozenset[bytes], given_back: Mapping[tuple[bytes, Seat], int]) -> None:
        """Compares the topics with each other, now that all are read. ``given_back``: how often seats were that came free."""
        for key in self.unopened():
            if key not in under_way:
                findings.add(Rule.NOT_OPENED, text_of(key), self.announced[key].at, self._repartitioned.get(key))
        self._check_places(findings, places)
        announcements_trimmed = places.any_trimmed(topics.CREATE_EVENT.name)
        came_back = {key for key, _ in given_back}
        for key in dict.fromkeys(chain(self.statuses, self._changelog)):
            status, changelog = self.statuses.get(key), self._changelog.get(key)
            if status is None or changelog is None or status.last_hash != changelog.last_hash:
                found = [history.last_at for history in (status, changelog) if history]
                findings.add(Rule.AREA_COPY, text_of(key), *found)
            if status and changelog and (differing := _differing(status, changelog, places, came_back=key in came_back)):
                findings.add(Rule.AREA_HISTORY, text_of(key), *differing)
            if status and not announcements_trimmed:
                self._check_announced(key, status, findings)
            if key not in under_way:
                self._check_rules(key, findings)
        for (_, key), freed in self._freed.items():
            if wrong := [seat for seat, times in freed.seats.items() if times > given_back.get((key, seat), 0)]:
                text = f"area {text_of(key)}: {len(wrong)} seats, e.g. {', '.join(map(str, wrong[:_SEATS_NAMED_MAX]))}"
                findings.add(Rule.SEAT_FREED, text, freed.before, freed.now)

    def _check_rules(self, key: bytes, findings: Findings) -> None:
        """An area keeps what its event says; and there is an event that says it."""
        kept, at = self._kept_of(key)
        rules, told_at = self._rules_of(key)
        if not self._keeps_rules(key):
            findings.add(Rule.EVENT_RULES, f"area {text_of(key)}: {kept}, its event: {area_rules(rules)}", at, told_at)

    def _rules_of(self, key: bytes) -> tuple[EventRules, At | None]:
        """The rules of an area's event, and the record that says so."""
        return self._events.get(event_of(key), (NO_RULES, None))

    def _kept_of(self, key: bytes) -> tuple[AreaRules, At | None]:
        """The rules that an area's partition keeps, and the record that says so."""
        return self._kept.get(self._lives_at(key), (NO_AREA_RULES, None))

    def _lives_at(self, key: bytes) -> tuple[bytes, int]:
        """The event of an area, and its partition; -1 of one that has no status."""
        history = self.statuses.get(key) or self._changelog.get(key)
        return event_of(key), history.source.partition if history else -1

    def _keeps_rules(self, key: bytes) -> bool:
        return self._kept_of(key)[0] == area_rules(self._rules_of(key)[0])

    def next_steps(self) -> Iterator[tuple[bytes, At]]:
        """Areas that do not keep the rules of their event, and the records that may not be worked off yet."""
        for key in self.statuses:
            if not self._keeps_rules(key) and (step := self._told.get(self._lives_at(key))):
                yield key, step

    def unchanged_rules(self, key: bytes) -> EventRules:
        """The rules of the event of an area, if they are those that the area was announced with."""
        rules, _ = self._rules_of(key)
        first = self.announced.get(key)
        return NO_RULES if rules.change_id or (first and not first.is_ruled) else rules

    def is_cancelled(self, key: bytes) -> bool:
        """Whether the event of an area is cancelled."""
        return self._rules_of(key)[0].status is Status.CANCELLED

    def _check_places(self, findings: Findings, places: Places) -> None:
        for table in self._histories.values():
            for key, history in table.items():
                self._check_place(findings, places, key, history.last_at, f"area {text_of(key)}")
        for key, at in self._repartitioned.items():
            self._check_place(findings, places, key, at, f"area {text_of(key)}")
        for key, first in self.announced.items():
            event = event_of(key)
            self._check_place(findings, places, event, first.at, f"the announcement of {text_of(event)}")

    @staticmethod
    def _check_place(findings: Findings, places: Places, key: bytes, at: At | None, name: str) -> None:
        if at and not is_placed({at.partition}, places.belongs_on(key)):
            findings.add(Rule.MISPLACED, f"{name} has a record elsewhere than on partition {places.belongs_on(key)}, where it belongs", at)

    def _check_announced(self, key: bytes, status: History, findings: Findings) -> None:
        first = self.announced.get(key)
        if first is None:
            findings.add(Rule.NOT_ANNOUNCED, text_of(key), status.last_at)
        elif first.shape != status.shape:
            text = f"area {text_of(key)}: announced with {first.shape}, it has {status.shape}"
            findings.add(Rule.AREA_CHANGED, text, first.at, status.last_at)


def _differing(status: History, changelog: History, places: Places, *, came_back: bool) -> tuple[At | None, At | None] | None:
    whole = places.whole(status.source) and places.whole(changelog.source)
    # A state topic may have been filled later, with last values only.
    if whole and status.starts_all_free and changelog.starts_all_free:
        return status.first_difference(changelog)
    # Where seats have come back, there were as many free seats more than once.
    return None if came_back else status.contradiction(changelog)


def _freed(before: SeatMap, now: SeatMap) -> list[Seat]:
    """The seats that were taken before and are free now; the separators never are free."""
    came_back = int.from_bytes(now.free, "big") & ~int.from_bytes(before.free, "big")
    if not came_back:
        return []
    marks = came_back.to_bytes(len(now.free), "big")
    return [divmod(at, now.stride) for at, mark in enumerate(marks) if mark]


def event_of(area: bytes) -> bytes:
    """The name of the event in the key of an area."""
    return area.partition(_SEPARATOR)[0]
