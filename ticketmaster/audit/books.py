"""The books of a sale, kept from its topics: each command has one decision, each seat one holder, and every copy says the same.

Pure: records in, findings out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from ticketmaster.audit.report import Example, Finding, Report, Totals
from ticketmaster.broker.port import Batch, Pair
from ticketmaster.domain.event import area_key
from ticketmaster.domain.reservation import State
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.frames import FRAMES
from ticketmaster.wire.reservations import check_frame, check_id, read_create, read_reservation

_EXAMPLES_MAX = 10

Place = tuple[int, int]


class Books:
    """Reads the records of the topics, in any order of topics, each topic's partitions in their order."""

    def __init__(self) -> None:
        self._commands: set[bytes] = set()
        self._put_aside = 0
        self._decisions: dict[bytes, bytes] = {}
        self._decided_again: Counter[bytes] = Counter()
        self._areas: dict[bytes, bytes] = {}
        self._area_changelog: dict[bytes, bytes] = {}
        self._reservation_changelog: dict[bytes, bytes] = {}
        self._unreadable: list[str] = []

    def take(self, batch: Batch) -> None:
        """Takes the next records of a partition; a batch without records tells where the log starts (``next_offset``).

        Topics come in any order, the batches of each partition in the order of their offsets, from the start of its log. Topics
        that tell nothing about a sale are passed over.
        """
        topic = batch.source.topic
        if topic == topics.CREATE_RESERVATION.name:
            self.add_commands(batch.records)
        elif topic == topics.USER_RESERVATION.name:
            self.add_decisions(batch.records)
        elif topic == topics.AREA_STATUS.name:
            self.add_areas(batch.records)
        elif topic == topics.AREA_CHANGELOG.name:
            self.add_area_changelog(batch.records)
        elif topic == topics.RESERVATION_CHANGELOG.name:
            self.add_reservation_changelog(batch.records)

    # What the topics hold.

    def add_commands(self, records: Iterable[Pair]) -> None:
        """Takes records of ``command.reservation.create_reservation``."""
        for key, value in records:
            if value is None:
                continue
            try:
                read_create(value)
                check_id(key)
            except UNREADABLE:
                self._put_aside += 1
            else:
                self._commands.add(key)

    def add_decisions(self, records: Iterable[Pair]) -> None:
        """Takes records of ``state.user.reservation``."""
        for key, value in records:
            if value is None:
                continue
            if key in self._decisions:
                self._decided_again[key] += 1
            self._decisions[key] = value

    def add_areas(self, records: Iterable[Pair]) -> None:
        """Takes records of ``state.event.area_status``."""
        _follow(self._areas, records)

    def add_area_changelog(self, records: Iterable[Pair]) -> None:
        """Takes records of the event role's changelog."""
        _follow(self._area_changelog, records)

    def add_reservation_changelog(self, records: Iterable[Pair]) -> None:
        """Takes records of the reservation role's changelog."""
        _follow(self._reservation_changelog, records)

    # What they come to.

    def undecided(self) -> list[bytes]:
        """Commands without a decision: none is left, once the roles have worked everything off."""
        return [key for key in self._commands if key not in self._decisions]

    def close(self, under_way: Collection[bytes] = ()) -> Report:
        """What it all comes to. ``under_way``: keys of commands, and of announced areas, that may come to their end later."""
        sold, states = self._sold()
        findings = [
            _finding("a command has no decision", map(_text, set(self.undecided()).difference(under_way))),
            _finding("a reservation was decided more than once", map(_text, self._decided_again)),
            _finding("a seat is in two live reservations", sold.twice),
            _finding("the seats gone from an area are not those of its live reservations", self._wrong_areas(sold.places)),
            _finding(
                "an area's last status is not what the event role has in its changelog", _differences(self._areas, self._area_changelog)
            ),
            _finding(
                "a decision is not what the reservation role has in its changelog",
                _differences(self._decisions, {key: self._reservation_changelog.get(key, b"") for key in self._decisions}),
            ),
            _finding("a record can't be read", self._unreadable),
        ]
        totals = Totals(
            commands=len(self._commands) + self._put_aside,
            unreadable=self._put_aside,
            repeated=0,
            decisions=len(self._decisions),
            reserved=states[State.RESERVED],
            failed=states[State.FAILED],
            under_way=0,
            areas=len(self._areas),
            seats_sold=sum(map(len, sold.places.values())),
        )
        return Report(totals, [], "", [finding for finding in findings if finding.times])

    def _sold(self) -> tuple[_Sold, Counter[int]]:
        sold, states = _Sold(), Counter[int]()
        for key, value in self._decisions.items():
            try:
                check_frame(value, FRAMES.reservation)
                found = read_reservation(value)
            except UNREADABLE as reason:
                self._unreadable.append(f"reservation {_text(key)}: {reason}")
                continue
            states[found.state] += 1
            if found.state in (State.RESERVED, State.PAID):
                sold.add(area_key(found.event_id, found.area_id).encode(), found.seats, key)
        return sold, states

    def _wrong_areas(self, sold: dict[bytes, dict[Place, bytes]]) -> Iterable[str]:
        for key, value in self._areas.items():
            try:
                _, seats = AreaImage.parse(value)
            except UNREADABLE as reason:
                self._unreadable.append(f"area {_text(key)}: {reason}")
                continue
            gone = {(row, col) for row, marks in enumerate(seats.row_strings()) for col, mark in enumerate(marks) if mark == "#"}
            live = sold.get(key, {}).keys()
            if gone != live:
                yield f"{_text(key)}: {len(gone - live)} seats gone without a reservation, {len(live - gone)} reserved seats still free"
        for key in sold.keys() - self._areas.keys():
            yield f"{_text(key)}: {len(sold[key])} seats reserved of an area without a status"


class _Sold:
    """Who holds which seat, by area."""

    def __init__(self) -> None:
        self.places: dict[bytes, dict[Place, bytes]] = defaultdict(dict)
        self.twice: list[str] = []

    def add(self, area: bytes, seats: Sequence[Place], reservation_id: bytes) -> None:
        places = self.places[area]
        for place in seats:
            if place in places:
                self.twice.append(f"{_text(area)} {place}: {_text(places[place])} and {_text(reservation_id)}")
            places[place] = reservation_id


def _follow(table: dict[bytes, bytes], records: Iterable[Pair]) -> None:
    for key, value in records:
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value


def _differences(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> Iterable[str]:
    return (_text(key) for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _finding(rule: str, breaches: Iterable[str]) -> Finding:
    times, examples = 0, list[Example]()
    for breach in breaches:
        times += 1
        if len(examples) < _EXAMPLES_MAX:
            examples.append(Example(breach, ()))
    return Finding(rule, times, examples)


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
