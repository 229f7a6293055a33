"""What became of reservations that have their seats: changes that were asked for, holds that ended, seats that were given back.

Topics are read in any order, so changes and their answers are brought together at the end, by the ids of the changes.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from ticketmaster.audit.places import Places, packed, partition_at, unpacked
from ticketmaster.audit.records import ReservationRecord
from ticketmaster.audit.report import At
from ticketmaster.audit.rules import Findings, Rule, text_of
from ticketmaster.broker.port import BATCH_SPAN_MS, Batch, TopicPartition
from ticketmaster.domain.life import HOLD_EXPIRED, REFUNDED, ChangeRefusal, Kind
from ticketmaster.domain.reservation import State
from ticketmaster.domain.rules import EVENT_CANCELLED
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.changes import read_change

_NONE = -1
_CHANGES, _DECISIONS = topics.CHANGE_RESERVATION.name, topics.USER_RESERVATION.name
# So far the clocks of a gateway's, a role's and the log's hosts may be apart.
_APART_MS = 10_000
# What a hold may last beyond its instant, as the changes of its partition show what time it is.
_OVERDUE_MAX_MS = 60_000
_EXPIRED, _REFUSED = HOLD_EXPIRED.encode(), ChangeRefusal.HOLD_EXPIRED.encode()
_EVENT_CANCELLED = EVENT_CANCELLED.encode()


class _Asked(NamedTuple):
    """A change, which the log may have several times: when it took the first and the last, and how often."""

    kind: Kind
    first_ms: int
    last_ms: int
    times: int
    seconds: int
    refund: bool
    at: int


class _Answer(NamedTuple):
    """What a change made of a reservation. Times of holds are 0 where there is none."""

    change: int
    row: int
    before: int
    ends_before_ms: int
    state: int
    ends_ms: int
    is_refused: bool
    at: int


class Lives:
    """Reads the topic of changes, and is told of the decisions."""

    def __init__(self, findings: Findings, column: Callable[[str, int], array[int]], *, in_order: bool) -> None:
        """``column(kind, default)`` makes a column of the reservations' rows. ``in_order``: records come as they became durable."""
        self._findings = findings
        self._in_order = in_order
        # How much younger a change may be than it is thought to be: a role may have read it in another batch.
        self._younger_ms = 0 if in_order else BATCH_SPAN_MS
        self._state, self._ends_ms, self._ends_max_ms = column("b", _NONE), column("q", 0), column("q", 0)
        self._change, self._decided_ms, self._at = column("q", 0), column("q", _NONE), column("q", _NONE)
        # Of holds that have ended: when, and the record that says so.
        self._ended_ms, self._ended_at = column("q", 0), column("q", _NONE)
        # Of holds as they were given: when they end.
        self.given_ms = column("q", 0)
        # Of each partition of changes: the newest time, and where that is.
        self._log: dict[int, tuple[int, int]] = {}
        # Changes by what hash() makes of their reservation and their id, the time, and whether the reservation was decided then.
        self._asked_of, self._asked, self._asked_ms = array("q"), array("q"), array("q")
        self._asked_at, self._asked_decided = array("q"), array("b")
        self._changes: dict[int, _Asked] = {}
        self._answers: list[_Answer] = []
        self.open_holds = 0
        """How many reservations end unless they are paid."""
        self.put_aside = 0

    @property
    def changes(self) -> int:
        """How many were asked for."""
        return len(self._asked)

    def take(self, batch: Batch, row_of: Callable[[bytes], int | None]) -> None:
        """Takes changes."""
        partition, time_ms = batch.source.partition, batch.timestamp_ms
        if batch.offsets and time_ms >= self._log.get(partition, (0, 0))[0]:
            self._log[partition] = time_ms, packed(partition, batch.offsets[-1])
        for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
            if value is None:
                continue
            try:
                change = read_change(value)
            except UNREADABLE:
                self.put_aside += 1
                continue
            at, number = packed(partition, offset), hash(change.change_id)
            known = self._changes.get(number)
            first_ms, times = (known.first_ms, known.times + 1) if known else (time_ms, 1)
            refund = change.refund or bool(known and known.refund)
            self._changes[number] = _Asked(change.kind, first_ms, time_ms, times, change.seconds, refund, at)
            row = row_of(key)
            self._asked_of.append(hash(key))
            self._asked.append(number)
            self._asked_ms.append(time_ms)
            self._asked_at.append(at)
            self._asked_decided.append(self._in_order and row is not None and self._state[row] != _NONE)

    def moved(self, row: int, key: bytes, found: ReservationRecord, at: int, time_ms: int) -> bool:
        """A decision, or what became of it; whether it is one that was there already."""
        before, ends_before_ms, change = self._state[row], self._ends_ms[row], self._change[row]
        state, life = found.state, found.life
        number = hash(life.change_id) if life.change_id else 0
        if before == _NONE:
            self._decided_ms[row] = time_ms
            if not number:
                self.given_ms[row] = life.hold_expires_ms
        is_refused = life.change_refusal == _REFUSED
        has_expired = before == State.RESERVED and state is State.CANCELLED and found.reason == _EXPIRED
        is_time = has_expired and number == change and not is_refused
        # Whatever it was, and whatever was asked meanwhile: the event is no more.
        by_event = state is State.CANCELLED and found.reason == _EVENT_CANCELLED
        if has_expired:
            self._ended_ms[row], self._ended_at[row] = ends_before_ms, at
        if is_time:
            self._check_time(row, key, at, time_ms, ends_before_ms)
        elif number and not (by_event and number == change):
            before_it = state if by_event else before
            self._answers.append(_Answer(number, row, before_it, ends_before_ms, state, life.hold_expires_ms, is_refused, at))
        place = unpacked(_DECISIONS, self._at[row]), unpacked(_DECISIONS, at)
        if before == State.PAID and state is State.CANCELLED and found.reason != REFUNDED.encode() and not by_event:
            self._findings.add(Rule.PAYMENT_UNDONE, f"{text_of(key)}: {text_of(found.reason)}", *place)
        if before == state == State.RESERVED:
            if life.hold_expires_ms < ends_before_ms:
                self._findings.add(Rule.HOLD_SHORT, f"{text_of(key)}: {ends_before_ms} → {life.hold_expires_ms}", *place)
            if life.hold_expires_max_ms != self._ends_max_ms[row]:
                self._findings.add(Rule.HOLD_LONG, f"{text_of(key)} may last longer than before", *place)
        if life.hold_expires_ms > life.hold_expires_max_ms:
            self._findings.add(Rule.HOLD_LONG, f"{text_of(key)}: {life.hold_expires_ms} of {life.hold_expires_max_ms}", *place)
        holds = state is State.RESERVED and life.hold_expires_ms > 0
        self.open_holds += holds - (before == State.RESERVED and ends_before_ms > 0)
        self._state[row], self._ends_ms[row], self._ends_max_ms[row] = state, life.hold_expires_ms, life.hold_expires_max_ms
        self._change[row], self._at[row] = number, at
        return before == state and not number

    def _check_time(self, row: int, key: bytes, at: int, time_ms: int, ends_ms: int) -> None:
        """Of a hold that has ended of itself: the log had gone past its instant."""
        early = self._log.get(partition_at(at), (0, 0))[0] < ends_ms if self._in_order else time_ms + _APART_MS < ends_ms
        if early:
            self._findings.add(Rule.HOLD_SHORT, f"{text_of(key)} ends at {ends_ms}", *self._places(row, at))

    def _places(self, row: int, at: int) -> tuple[At | None, At | None]:
        return unpacked(_DECISIONS, self._at[row]), unpacked(_DECISIONS, at)

    # What it comes to.

    def holds_until_ms(self, row: int) -> int:
        """When the hold of a reservation ends; 0: it has none."""
        return self._ends_ms[row] if self._state[row] == State.RESERVED else 0

    def overdue(self, row: int, partition: int) -> At | None:
        """The record that shows that a hold should have ended long ago; None: it should not."""
        ends_ms = self.holds_until_ms(row)
        time_ms, at = self._log.get(partition, (0, _NONE))
        return unpacked(_CHANGES, at) if ends_ms and time_ms > ends_ms + _OVERDUE_MAX_MS else None

    def changed_again(self) -> int:
        """How many answers there are more than changes: they were worked off more than once."""
        answers = Counter(one.change for one in self._answers)
        return sum(max(0, times - self._changes[number].times) for number, times in answers.items() if number in self._changes)

    def check(self, findings: Findings, places: Places, rows: dict[bytes, int], under_way: frozenset[bytes]) -> None:
        """Compares changes with what became of them."""
        if not self._answers and not self._asked:
            return
        keys = list(rows)
        for answer in self._answers:
            asked, partition = self._changes.get(answer.change), partition_at(answer.at)
            if asked:
                # What came in between may be lost to compaction.
                if self._in_order or places.whole(TopicPartition(_DECISIONS, partition)):
                    self._check_answer(findings, text_of(keys[answer.row]), answer, asked)
            elif not places.trimmed(TopicPartition(_CHANGES, partition)):
                findings.add(Rule.NO_CHANGE, text_of(keys[answer.row]), unpacked(_DECISIONS, answer.at))
        self._check_asked(findings, {hash(key): key for key in rows}, rows, under_way)

    def _check_answer(self, findings: Findings, name: str, answer: _Answer, asked: _Asked) -> None:
        where = unpacked(_CHANGES, asked.at), unpacked(_DECISIONS, answer.at)
        ends_ms, kind = answer.ends_before_ms, asked.kind
        if answer.before == State.PAID and answer.state == State.CANCELLED and not (kind is Kind.CANCEL and asked.refund):
            findings.add(Rule.REFUND, name, *where)
        if answer.before != State.RESERVED:
            return
        in_time = not ends_ms or asked.last_ms + self._younger_ms < ends_ms
        if kind is Kind.PAY:
            if answer.state == State.PAID and ends_ms and asked.first_ms >= ends_ms + BATCH_SPAN_MS:
                findings.add(Rule.PAID_LATE, f"{name}: {asked.first_ms - ends_ms} ms", *where)
            if answer.state != State.PAID and in_time:
                findings.add(Rule.PAYMENT_LOST, name, *where)
        elif kind is Kind.EXTEND:
            if answer.state != State.RESERVED:
                if in_time:
                    findings.add(Rule.HOLD_SHORT, name, *where)
            elif answer.ends_ms > max(ends_ms, asked.last_ms + self._younger_ms + asked.seconds * 1000):
                findings.add(Rule.HOLD_LONG, f"{name}: extended further than was asked for", *where)

    def _check_asked(self, findings: Findings, names: dict[int, bytes], rows: dict[bytes, int], under_way: frozenset[bytes]) -> None:
        answered = {answer.change for answer in self._answers}
        for of, number, time_ms, at, decided in zip(
            self._asked_of, self._asked, self._asked_ms, self._asked_at, self._asked_decided, strict=True
        ):
            key = names.get(of)
            if key is None or key in under_way:
                continue
            row = rows[key]
            decided_ms = self._decided_ms[row]
            if not (decided if self._in_order else decided_ms != _NONE and time_ms > decided_ms + _APART_MS):
                continue
            kind = self._changes[number].kind
            if kind is Kind.PAY and self._ended_at[row] != _NONE and time_ms + self._younger_ms < self._ended_ms[row]:
                findings.add(Rule.PAYMENT_LOST, text_of(key), unpacked(_CHANGES, at), unpacked(_DECISIONS, self._ended_at[row]))
            elif number not in answered and self._in_order:
                findings.add(Rule.CHANGE_UNANSWERED, f"{text_of(key)}: {kind.name}", unpacked(_CHANGES, at))
