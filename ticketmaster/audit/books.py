"""The books of a sale, kept from its topics: each command has one decision, each seat one holder, and every copy says the same.

Pure: records in, a report out. What the rules are is said in :class:`~ticketmaster.audit.rules.Rule`.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator

from ticketmaster.audit.areas import Areas, History, Seat, event_of
from ticketmaster.audit.deadlines import RememberedHolds
from ticketmaster.audit.hashing import state_digest
from ticketmaster.audit.places import Places
from ticketmaster.audit.releases import Releases
from ticketmaster.audit.report import AreaReport, At, Finding, Report, Totals
from ticketmaster.audit.reservations import NONE, TOPIC_NAMES, Reservations
from ticketmaster.audit.rules import Findings, Rule, text_of
from ticketmaster.audit.sales import check_sales
from ticketmaster.broker.port import Batch, TopicPartition
from ticketmaster.domain.event import KEY_SEPARATOR
from ticketmaster.domain.reservation import LIVE, State
from ticketmaster.wire import topics
from ticketmaster.wire.reservations import read_seats

_SEATS_NAMED_MAX = 5
_RECORDS_NAMED_MAX = 10
_ANSWER = TOPIC_NAMES.index(topics.RESERVATION_RESULT.name)


class Books:
    """Reads the records of all topics of a sale, then says whether they add up."""

    def __init__(self, *, in_order: bool = False) -> None:
        """``in_order``: all that is written is taken, in the order in which it became durable. Then more can be said."""
        self._findings = Findings()
        self._places = Places()
        self._areas = Areas(self._findings)
        self._reservations = Reservations(self._findings, in_order=in_order)
        self._releases = Releases(self._findings, self._reservations)
        self._deadlines = RememberedHolds(self._findings, self._reservations)

    # What the topics hold.

    def starts_at(self, source: TopicPartition, offset: int) -> None:
        """The log of a partition begins at ``offset``: if that is not 0, what was before has been removed.

        If nobody says so, a log begins with the first record that is taken.
        """
        self._places.starts_at(source, offset)

    def take(self, batch: Batch) -> None:
        """Takes the next records of a partition. Topics come in any order, each partition in the order of its offsets, from its start.

        Topics that are no part of a sale are passed over.
        """
        self._places.take(batch)
        _ = self._areas.take(batch) or self._reservations.take(batch) or self._releases.take(batch) or self._deadlines.take(batch)

    # What they come to.

    def undecided(self) -> list[bytes]:
        """Commands without a decision: none is left, once the roles have worked everything off."""
        return list(self._reservations.undecided())

    def unopened(self) -> list[bytes]:
        """Keys of announced areas without a status: none is left, once the roles have worked everything off."""
        return list(self._areas.unopened())

    def behind(self) -> list[bytes]:
        """Keys of large areas whose status lacks what has become of their seats since: none is left a second later."""
        return list(self._areas.behind)

    def releasing(self) -> list[bytes]:
        """Cancelled reservations whose seats may still come back: none is left, once the roles have worked everything off."""
        return [key for key, _ in self._releases.holding()]

    def cancelling(self) -> bool:
        """Whether reservations of cancelled events are not cancelled: none is left, once the roles have worked everything off."""
        return next(self._of_cancelled_events(), None) is not None

    def _of_cancelled_events(self) -> Iterator[tuple[bytes, int]]:
        """The key and the row of each reservation that has its seats though its event is cancelled."""
        rows = self._reservations
        cancelled = {number for number, key in enumerate(rows.area_keys) if self._areas.is_cancelled(key)}
        if cancelled:
            for key, row in rows.rows.items():
                if rows.decision_state[row] in LIVE and rows.area[row] in cancelled:
                    yield key, row

    def being_cancelled(self) -> Iterator[bytes]:
        """Keys of those whose partition is still gone through, as the reservation role remembers: it goes on when it runs."""
        for key, row in self._of_cancelled_events():
            if self._deadlines.is_cancelling(*self._partition_and_event(row)):
                yield key

    def _partition_and_event(self, row: int) -> tuple[int, bytes]:
        """Of a reservation that is decided."""
        place = self._reservations.decision_place(row)
        assert place, "a decision is a record"
        return place.partition, event_of(self._reservations.area_keys[self._reservations.area[row]])

    @property
    def open_holds(self) -> int:
        """How many reservations end unless they are paid."""
        return self._reservations.lives.open_holds

    def forgotten_holds(self) -> list[Finding]:
        """What the reservation role does not remember now, of all that is durable: of a log that has transactions at once, or not."""
        findings = Findings()
        self._deadlines.check(findings)
        return findings.listed()

    def next_steps(self) -> Iterator[tuple[bytes, At]]:
        """Everything that is under way: its key, and the record that a role must work off next for it."""
        for key in self._reservations.undecided():
            step = self._reservations.last_step(self._reservations.rows[key])
            assert step is not None, "an undecided command is a record"
            yield key, step
        for key in self._areas.unopened():
            step = self._areas.last_step(key)
            assert step is not None, "an announced area is in a record"
            yield key, step
        for key, _, step in self._releases.next_steps():
            if step:
                yield key, step
        for key, row in self._of_cancelled_events():
            if step := self._deadlines.cancel_of(*self._partition_and_event(row)):
                yield key, step
        yield from self._areas.next_steps()
        yield from self._reservations.overdue()

    def close(self, under_way: Collection[bytes] = ()) -> Report:
        """What it all comes to, as of now. ``under_way``: keys of commands and areas that may come to their end later."""
        findings, excused = self._findings.copy(), frozenset(under_way)
        rows = self._reservations
        self._areas.catch_up()
        rows.check(findings, self._places, excused)
        rows.lives.check(findings, self._places, rows.rows, excused)
        self._releases.check(findings, self._places, excused)
        self._deadlines.check(findings)
        self._areas.check(findings, self._places, excused, self._releases.given_back())
        self._check_holds(findings)
        check_sales(findings, rows, self._areas)
        for key, row in self._of_cancelled_events():
            if key not in excused:
                findings.add(Rule.EVENT_ALIVE, f"{text_of(key)} in {text_of(rows.area_keys[rows.area[row]])}", rows.decision_place(row))
        self._check_seats(findings)
        states = Counter(rows.decision_state)
        totals = Totals(
            commands=rows.commands,
            unreadable=rows.put_aside + rows.lives.put_aside + self._areas.put_aside + self._releases.put_aside,
            repeated=rows.repeated,
            answered_again=rows.answered_again,
            decisions=len(rows.rows) - states[NONE],
            reserved=sum(states[state] for state in LIVE),
            failed=states[State.FAILED],
            paid=states[State.PAID],
            cancelled=states[State.CANCELLED],
            open_holds=self.open_holds,
            changes=rows.lives.changes,
            changed_again=rows.lives.changed_again(),
            under_way=sum(key in excused for key in rows.undecided()),
            areas=len(self._areas.statuses),
            seats_sold=sum(_gone(status) for status in self._areas.statuses.values()),
        )
        areas, elsewhere = self._by_area()
        return Report(totals, areas, elsewhere, self._digest(), findings.listed())

    def _digest(self) -> str:
        rows = self._reservations
        decided = (number for number, state in zip(rows.digest, rows.decision_state, strict=True) if state != NONE)
        return state_digest([*decided, *(status.digest for status in self._areas.statuses.values())])

    def _by_area(self) -> tuple[list[AreaReport], dict[str, int]]:
        """(every area that was announced or has a status, refusals of reservations in areas that don't exist)."""
        rows = self._reservations
        reserved, failed = Counter[bytes](), defaultdict[bytes, Counter[str]](Counter)
        for state, area, reason in zip(rows.decision_state, rows.area, rows.reason, strict=True):
            if state in LIVE:
                reserved[rows.area_keys[area]] += 1
            elif state == State.FAILED:
                failed[rows.area_keys[area]][rows.reasons[reason]] += 1
        reports = []
        for key in sorted(self._areas.statuses.keys() | self._areas.announced.keys()):
            status = self._areas.statuses.get(key)
            shape = status.shape if status else self._areas.announced[key].shape
            event_id, _, area_id = text_of(key).partition(KEY_SEPARATOR)
            refusals = dict(sorted(failed.pop(key, Counter()).items()))
            sold = _gone(status) if status else 0
            reports.append(AreaReport(event_id, area_id, shape.rows * shape.cols, sold, reserved[key], refusals))
        return reports, dict(sorted(sum(failed.values(), Counter()).items()))

    # The seats.

    def _check_holds(self, findings: Findings) -> None:
        """Seats are given for as long as their area's rules say."""
        rows = self._reservations
        for key, row in rows.rows.items():
            if rows.is_success(row) and rows.area[row] != NONE:
                hold = self._areas.hold_of(rows.area_keys[rows.area[row]])
                if hold and hold.seconds != rows.hold_s[row]:
                    text = f"{text_of(key)} was given for {rows.hold_s[row]} s, its area gives for {hold.seconds} s"
                    findings.add(Rule.EVENT_RULES, text, rows.place(_ANSWER, row))

    def _check_seats(self, findings: Findings) -> None:
        """Who has which seat: each one is held once, and those that are gone from an area are those that are held."""
        holders: dict[bytes, _Holders] = {key: _Holders(status) for key, status in self._areas.statuses.items()}
        rows, ids = self._reservations, list(self._reservations.rows)
        releasing = {row for _, row in self._releases.holding()}
        for row, encoded in rows.seats.items():
            state = rows.decision_state[row]
            # Of a reservation that is not decided yet the area's answer tells; a cancelled one has its seats until they are free.
            if (state == NONE or state in LIVE or row in releasing) and rows.area[row] != NONE:
                key = rows.area_keys[rows.area[row]]
                if key not in holders:
                    holders[key] = _Holders(None)
                for seat, other in holders[key].give(read_seats(encoded, 0)[0], row):
                    text = f"{text_of(key)} {seat}: {text_of(ids[other])} and {text_of(ids[row])}"
                    findings.add(Rule.SEAT_TWICE, text, self._holding(other), self._holding(row))
        for key, area in holders.items():
            self._check_area(key, area, findings)

    def _holding(self, row: int) -> At | None:
        """The record that gives a reservation its seats."""
        return self._reservations.decision_place(row) or self._reservations.place(_ANSWER, row)

    def _check_area(self, key: bytes, area: _Holders, findings: Findings) -> None:
        status = self._areas.statuses.get(key)
        nobodys, still_free = area.nobodys(), area.still_free()
        if not nobodys and not still_free:
            return
        parts = []
        if nobodys:
            parts.append(f"{len(nobodys)} seats gone without a reservation: {_named(nobodys)}")
        if still_free:
            what = "still free" if status else "of an area without a status"
            parts.append(f"{len(still_free)} reserved seats {what}: {_named(seat for seat, _ in still_free)}")
        holding = dict.fromkeys(self._holding(row) for _, row in still_free[:_RECORDS_NAMED_MAX])
        findings.add(Rule.SEATS_GONE, f"{text_of(key)}: {'; '.join(parts)}", status.last_at if status else None, *holding)


class _Holders:
    """Who has which seat of one area."""

    def __init__(self, status: History | None) -> None:
        self._seats = status.seats if status else None
        # By position in the map: the row of the reservation that has it, plus 1.
        self._rows = array("l", bytes(array("l").itemsize * len(self._seats.free))) if self._seats else array("l")
        self._beyond: dict[Seat, int] = {}

    def give(self, seats: Iterable[Seat], row: int) -> Iterator[tuple[Seat, int]]:
        """Gives seats to a reservation; yields each that has another holder, and whose it is."""
        for seat in seats:
            if self._seats and self._seats.has(*seat):
                at = seat[0] * self._seats.stride + seat[1]
                other, self._rows[at] = self._rows[at] - 1, row + 1
            else:
                other, self._beyond[seat] = self._beyond.get(seat, -1), row
            if other >= 0:
                yield seat, other

    def nobodys(self) -> list[Seat]:
        """Seats that are gone and that nobody has."""
        seats = self._seats
        if not seats:
            return []
        found = (
            divmod(at, seats.stride) for at, (free, row) in enumerate(zip(seats.free, self._rows, strict=True)) if not free and not row
        )
        return [seat for seat in found if seats.has(*seat)]

    def still_free(self) -> list[tuple[Seat, int]]:
        """Seats that somebody has and that are free in the area, or not in it at all; and whose they are."""
        found = list(self._beyond.items())
        if self._seats:
            marks = enumerate(zip(self._seats.free, self._rows, strict=True))
            found += [(divmod(at, self._seats.stride), row - 1) for at, (free, row) in marks if free and row]
        return found


def _gone(status: History) -> int:
    return status.shape.rows * status.shape.cols - status.seats.available


def _named(seats: Iterable[Seat]) -> str:
    listed = list(seats)
    return ", ".join(map(str, listed[:_SEATS_NAMED_MAX])) + (" …" if len(listed) > _SEATS_NAMED_MAX else "")
