"""Seats that come back: what was given back was held, by a reservation that is cancelled, and is free."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

from ticketmaster.audit.places import Places, is_placed, packed, unpacked
from ticketmaster.audit.records import encoded_seats
from ticketmaster.audit.report import At
from ticketmaster.audit.reservations import NONE, TOPIC_NAMES, Reservations
from ticketmaster.audit.rules import Findings, Rule, text_of
from ticketmaster.broker.port import BATCH_SPAN_MS, Batch
from ticketmaster.domain.event import KEY_SEPARATOR
from ticketmaster.domain.reservation import LIVE, State
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.changes import read_release
from ticketmaster.wire.reservations import read_names, read_seats

_RELEASES, _HOLDERS = topics.RELEASE_SEATS.name, topics.HOLDER_CHANGELOG.name
_ASK, _ANSWER = TOPIC_NAMES.index(topics.RESERVE_SEAT.name), TOPIC_NAMES.index(topics.RESERVATION_RESULT.name)


class Releases:
    """Reads the commands to give seats back. What was held is the reservations' business."""

    def __init__(self, findings: Findings, reservations: Reservations) -> None:
        self._findings = findings
        self._reservations = reservations
        # By what hash() makes of the reservation: the seats, likewise, and where the command is.
        self._of, self._seats, self._at = array("q"), array("q"), array("q")
        self.put_aside = 0

    def take(self, batch: Batch) -> bool:
        """Takes records of its topic; False: the topic is another one."""
        topic, partition = batch.source
        if topic != _RELEASES:
            return False
        for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
            if value is None:
                continue
            try:
                release = read_release(value)
                area = KEY_SEPARATOR.encode().join(read_names(release.names))
            except UNREADABLE:
                self.put_aside += 1
                continue
            if area != key:
                text = f"a command to give back seats of {text_of(area)} has the key {text_of(key)}"
                self._findings.add(Rule.MISPLACED, text, At(topic, partition, offset))
            self._of.append(hash(release.reservation_id))
            self._seats.append(hash(encoded_seats(tuple(release.seats))))
            self._at.append(packed(partition, offset))
        return True

    def holding(self) -> Iterator[tuple[bytes, int]]:
        """Reservations that are cancelled, and whose area has not been told yet, or may still give them seats; and their rows."""
        rows = self._reservations
        states, closed_at = rows.decision_state, rows.closed_at
        for key, row in rows.rows.items():
            if states[row] == State.CANCELLED and closed_at[row] == NONE:
                is_asked = rows.at[_ASK][row] != NONE and rows.at[_ANSWER][row] == NONE
                if is_asked or row in rows.seats:
                    yield key, row

    def next_steps(self) -> Iterator[tuple[bytes, int, At | None]]:
        """Those of :meth:`holding`, each with the record that must be worked off next so that its seats come back."""
        rows, last = self._reservations, dict(zip(self._of, self._at, strict=True))
        for key, row in self.holding():
            release = unpacked(_RELEASES, last.get(hash(key), NONE))
            yield key, row, release or rows.place(_ANSWER, row) or rows.place(_ASK, row)

    def given_back(self) -> Counter[tuple[bytes, tuple[int, int]]]:
        """How often each seat of each area was given back."""
        rows, found = self._reservations, Counter[tuple[bytes, tuple[int, int]]]()
        for row, encoded in rows.seats.items():
            if rows.closed_at[row] != NONE and rows.area[row] != NONE:
                key = rows.area_keys[rows.area[row]]
                found.update((key, seat) for seat in read_seats(encoded, 0)[0])
        return found

    def check(self, findings: Findings, places: Places, under_way: frozenset[bytes]) -> None:
        """Compares commands, holders and reservations, now that all are read."""
        rows = self._reservations
        for key, row, step in self.next_steps():
            if key not in under_way:
                findings.add(Rule.NOT_RELEASED, text_of(key), rows.decision_place(row), step)
        for key, row in rows.rows.items():
            if rows.closed_at[row] != NONE and rows.decision_state[row] in LIVE:
                findings.add(Rule.RELEASED_LIVE, text_of(key), rows.decision_place(row), unpacked(_HOLDERS, rows.closed_at[row]))
            given_ms, asked_ms = rows.lives.given_ms[row], rows.answered_ms[row] + rows.hold_s[row] * 1000
            if rows.hold_s[row] and given_ms and abs(given_ms - asked_ms) > BATCH_SPAN_MS:
                rule = Rule.HOLD_SHORT if given_ms < asked_ms else Rule.HOLD_LONG
                text = f"{text_of(key)} was to be held for {rows.hold_s[row]} s, until {asked_ms}, and is until {given_ms}"
                findings.add(rule, text, rows.place(_ANSWER, row), rows.decision_place(row))
        if self._of:
            self._check_commands(findings, places)

    def _check_commands(self, findings: Findings, places: Places) -> None:
        rows = self._reservations
        by_hash = {hash(key): key for key in rows.rows}
        for of, seats, at in zip(self._of, self._seats, self._at, strict=True):
            key, where = by_hash.get(of), unpacked(_RELEASES, at)
            if key is None:
                findings.add(Rule.NOT_HELD, "of a reservation that is not known", where)
                continue
            row = rows.rows[key]
            if rows.decision_state[row] in LIVE:
                findings.add(Rule.RELEASED_LIVE, text_of(key), where, rows.decision_place(row))
            held = rows.seats.get(row)
            if held is not None and hash(held) != seats:
                findings.add(Rule.NOT_HELD, f"{text_of(key)} has other seats", where, rows.place(_ANSWER, row))
            if where and rows.area[row] != NONE and not is_placed({where.partition}, places.belongs_on(rows.area_keys[rows.area[row]])):
                findings.add(Rule.MISPLACED, f"a command to give back seats of {text_of(key)}", where)
