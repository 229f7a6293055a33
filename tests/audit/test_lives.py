"""The books of a sale with holds: what people paid, extended, cancelled and let go adds up, and what does not is found with its records."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.audit.sale import ANSWERS, COMMANDS, DECISIONS, EVENTS, HOLDERS, LOG, OF_LIVES, QUESTIONS, STATUS, Sale, question_of
from tests.support.records import Seat, create_event, create_reservation, release_seats, success
from ticketmaster.audit.books import Books
from ticketmaster.audit.report import At
from ticketmaster.audit.rules import Rule
from ticketmaster.broker.port import Batch
from ticketmaster.domain.life import HOLD_EXPIRED, Change, ChangeRefusal, Kind, Life, changed
from ticketmaster.domain.reservation import State
from ticketmaster.domain.rules import EventRules, Status
from ticketmaster.wire import avro, topics
from ticketmaster.wire.changes import encode_change
from ticketmaster.wire.deadlines import CANCELLED_EVENT, CANCELLING_EVENT, HOLD, Deadline, event_key
from ticketmaster.wire.events import encode_cancel, encode_rules
from ticketmaster.wire.holders import CLOSED, holder
from ticketmaster.wire.holds import Hold
from ticketmaster.wire.lives import reserved_for_now, standing, stands
from ticketmaster.wire.reservations import decided, processing, read_reserve
from ticketmaster.wire.rules import AreaRules, area_rules

CHANGES, RELEASES = topics.CHANGE_RESERVATION.name, topics.RELEASE_SEATS.name
DEADLINES, RULES, STATE_EVENT = topics.DEADLINE_CHANGELOG.name, topics.AREA_RULES_CHANGELOG.name, topics.EVENT.name
HOLD_S, HOLD_MAX_S = 10, 60
GIVEN_MS = 1_000_000
ENDS_MS, ENDS_MAX_MS = GIVEN_MS + HOLD_S * 1000, GIVEN_MS + HOLD_MAX_S * 1000
FREE = [(0, 1), (1, 0)]


class HeldSale(Sale):
    """As :class:`Sale`, and a second event whose area holds its 2 x 2 seats for 10 s: h1 holds (0, 1) from ``GIVEN_MS`` on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = GIVEN_MS
        self._times: dict[At, int] = {}
        self._taken: set[Seat] = {(0, 0), (1, 1)}
        self.put(EVENTS, b"show", create_event("show", [("A", 10, 2, 2)], (HOLD_S, HOLD_MAX_S)))
        self.add(RULES, b"show", AreaRules(Hold(HOLD_S, HOLD_MAX_S)).encoded())
        self.add(STATE_EVENT, b"show", EVENT_WITH_HOLD)
        for key, seats in ((b"r1", [(0, 0)]), (b"r2", [(1, 1)])):
            self.put(ANSWERS, key, success(key.decode(), seats, (HOLD_S, HOLD_MAX_S)))
            command = read_reserve(question_of(key, self._create(key)))
            self.put(HOLDERS, key, holder(command, success(key.decode(), seats, (HOLD_S, HOLD_MAX_S))))
        self.hold(b"h1", [(0, 1)])

    def _create(self, key: bytes) -> bytes:
        return create_reservation("SELF_PICK", 1, [(1, 1)]) if key == b"r2" else create_reservation()

    def add(self, topic: str, key: bytes, value: bytes | None, *, partition: int = 0) -> At:
        at = super().add(topic, key, value, partition=partition)
        if hasattr(self, "_times"):
            self._times[at] = self.now_ms
        return at

    def hold(self, key: bytes, seats: list[Seat]) -> None:
        """A reservation that holds seats from now on."""
        create, result = create_reservation(), success(key.decode(), seats, (HOLD_S, HOLD_MAX_S))
        self.add(COMMANDS, key, create)
        self.add(LOG, key, processing(key, create))
        self.add(QUESTIONS, b"show#A", question_of(key, create))
        self.add(ANSWERS, key, result)
        self.add(HOLDERS, key, holder(read_reserve(question_of(key, create)), result))
        self._taken |= set(seats)
        self.status(*self._taken)
        decision = decided(processing(key, create), success(key.decode(), seats))
        assert decision
        ends_ms = self.now_ms + HOLD_S * 1000
        self.add(DEADLINES, key, Deadline(HOLD, ends_ms).encoded())
        self.decide(key, reserved_for_now(decision.reservation, ends_ms, self.now_ms + HOLD_MAX_S * 1000))

    def last(self, key: bytes) -> bytes:
        """The last decision of a reservation."""
        value = [value for source, log in self.logs.items() if source.topic == DECISIONS for at, value in log if at == key][-1]
        assert value is not None
        return value

    def set(self, key: bytes, state: State, reason: str, life: Life) -> At:
        """Another state of a reservation."""
        value = self.last(key)
        self.decide(key, stands(value, standing(value).seats_end, state, reason.encode(), life))
        self.add(DEADLINES, key, Deadline(HOLD, life.hold_expires_ms).encoded() if life.hold_expires_ms else None)
        return self.at(DECISIONS, key)

    def ask(self, key: bytes, change: Change, at_ms: int) -> At:
        """A change that the log takes then."""
        self.now_ms = at_ms
        return self.add(CHANGES, key, encode_change(change))

    def make(self, key: bytes, change: Change, at_ms: int) -> At:
        """A change that is made."""
        there = self.ask(key, change, at_ms)
        where = standing(self.last(key))
        moved = changed(change, where.state, where.reason.decode(), where.life, at_ms)
        assert moved
        self.set(key, moved.state, moved.reason, moved.life)
        if moved.frees:
            self.release(key, [(0, 1)])
        return there

    def expire(self, key: bytes, seats: list[Seat]) -> At:
        """The hold ends of itself, at its instant."""
        self.now_ms = ENDS_MS
        self.add(CHANGES, b"", None)
        there = self.set(
            key, State.CANCELLED, HOLD_EXPIRED, standing(self.last(key)).life._replace(hold_expires_ms=0, hold_expires_max_ms=0)
        )
        self.release(key, seats)
        return there

    def release(self, key: bytes, seats: list[Seat]) -> At:
        """Seats come back."""
        there = self.add(RELEASES, b"show#A", release_seats(key.decode(), seats))
        self.add(HOLDERS, key, CLOSED)
        self._taken -= set(seats)
        self.status(*self._taken)
        return there

    def batches(self) -> list[Batch]:
        """Every record as a batch with its time."""
        return [
            batch._replace(
                records=[record],
                offsets=[offset],
                next_offset=offset + 1,
                timestamp_ms=self._times.get(At(*batch.source, offset), GIVEN_MS),
            )
            for batch in super().batches()
            for offset, record in zip(batch.offsets, batch.records, strict=True)
        ]


def _event() -> bytes:
    times = dict.fromkeys(("reservationOpeningTime", "reservationClosingTime", "eventStartTime", "eventEndTime"), 0)
    rules = {"holdSeconds": HOLD_S, "holdSecondsMax": HOLD_MAX_S, "seatsPerUserMax": 0, "status": "OPEN", "revision": 1}
    fields = {"eventName": "show", "artist": "", **times, **rules}
    return avro.encode("Event", fields)


EVENT_WITH_HOLD = _event()
PAY = Change(b"pay", Kind.PAY, b"p-1")
CANCEL = Change(b"cancel", Kind.CANCEL)
REFUND = Change(b"refund", Kind.CANCEL, refund=True)
EXTEND = Change(b"extend", Kind.EXTEND, seconds=30)


@pytest.fixture
def sale() -> HeldSale:
    return HeldSale()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("changes", [[], [PAY], [CANCEL], [EXTEND], [EXTEND, PAY], [PAY, REFUND], [PAY, CANCEL], [EXTEND, CANCEL, PAY]])
def test_a_whole_life_adds_up(sale: HeldSale, changes: list[Change], order: int) -> None:
    for number, change in enumerate(changes):
        sale.make(b"h1", change, GIVEN_MS + number)

    books = Books()
    for batch in sorted(sale.batches(), key=lambda batch: (order * hash(batch.source), batch.next_offset)):
        books.take(batch)

    report = books.close()
    assert report.findings == []
    assert report.totals.changes == len(changes)
    assert report.totals.changed_again == 0


def test_a_hold_that_ended_adds_up_and_its_seats_may_be_sold_again(sale: HeldSale) -> None:
    sale.expire(b"h1", [(0, 1)])
    sale.hold(b"h2", [(0, 1)])

    assert sale.rules() == []
    totals = sale.report().totals
    assert (totals.reserved, totals.cancelled, totals.open_holds) == (3, 1, 1)


def test_what_was_cancelled_undecided_is_released_when_its_area_has_answered(sale: HeldSale) -> None:
    create = create_reservation()
    sale.add(COMMANDS, b"h3", create)
    sale.add(LOG, b"h3", processing(b"h3", create))
    sale.add(QUESTIONS, b"show#A", question_of(b"h3", create))
    sale.ask(b"h3", CANCEL, GIVEN_MS)
    value = processing(b"h3", create)
    sale.decide(b"h3", stands(value, standing(value).seats_end, State.CANCELLED, b"[CANCELLED]: so", Life(change_id=b"cancel")))
    books = sale.books()
    # The area has not seen it yet.
    assert books.releasing() == [b"h3"]
    assert [at for key, at in books.next_steps() if key == b"h3"] == [sale.at(QUESTIONS, b"show#A")]
    assert books.close([b"h3"]).sound

    result = success("h3", [(1, 0)], (HOLD_S, HOLD_MAX_S))
    answer = sale.add(ANSWERS, b"h3", result)
    sale.add(HOLDERS, b"h3", holder(read_reserve(question_of(b"h3", create)), result))
    sale.status((0, 0), (0, 1), (1, 0), (1, 1))
    assert [at for key, at in sale.books().next_steps() if key == b"h3"] == [answer]
    assert sale.books().close([b"h3"]).sound
    assert sale.rules() == [Rule.NOT_RELEASED]

    sale.release(b"h3", [(1, 0)])
    assert sale.rules() == []


# --- What is wrong ----------------------------------------------------------------------------------------------------------


def planted_not_released(sale: HeldSale) -> dict[Rule, list[At]]:
    sale.now_ms = ENDS_MS
    sale.add(CHANGES, b"", None)
    ended = sale.set(b"h1", State.CANCELLED, HOLD_EXPIRED, Life())
    return {Rule.NOT_RELEASED: [ended, sale.add(RELEASES, b"show#A", release_seats("h1", [(0, 1)]))]}


def planted_release_of_a_live_one(sale: HeldSale) -> dict[Rule, list[At]]:
    there = sale.release(b"h1", [(0, 1)])
    decision, status = sale.at(DECISIONS, b"h1"), sale.at(STATUS, b"show#A")
    return {Rule.SEATS_GONE: [status, decision], Rule.RELEASED_LIVE: [decision, sale.at(HOLDERS, b"h1"), there]}


def planted_release_of_other_seats(sale: HeldSale) -> dict[Rule, list[At]]:
    sale.expire(b"h1", [(0, 1)])
    return {Rule.NOT_HELD: [sale.add(RELEASES, b"show#A", release_seats("h1", [(1, 1)])), sale.at(ANSWERS, b"h1")]}


def planted_payment_undone(sale: HeldSale) -> dict[Rule, list[At]]:
    sale.make(b"h1", PAY, GIVEN_MS)
    paid = sale.at(DECISIONS, b"h1")
    undone = sale.set(b"h1", State.CANCELLED, HOLD_EXPIRED, Life(change_id=b"pay", payment_reference=b"p-1"))
    sale.release(b"h1", [(0, 1)])
    return {Rule.PAYMENT_UNDONE: [paid, undone], Rule.REFUND: [sale.at(CHANGES, b"h1"), undone]}


def planted_payment_lost(sale: HeldSale) -> dict[Rule, list[At]]:
    asked = sale.ask(b"h1", PAY, ENDS_MS - 2_000)
    sale.add(CHANGES, b"", None)
    life = Life(change_id=b"pay", change_refusal=ChangeRefusal.HOLD_EXPIRED.encode())
    refused = sale.set(b"h1", State.CANCELLED, HOLD_EXPIRED, life)
    sale.release(b"h1", [(0, 1)])
    return {Rule.PAYMENT_LOST: [asked, refused]}


def planted_paid_late(sale: HeldSale) -> dict[Rule, list[At]]:
    asked = sale.ask(b"h1", PAY, ENDS_MS + 1_000)
    return {Rule.PAID_LATE: [asked, sale.set(b"h1", State.PAID, "", Life(payment_reference=b"p-1", change_id=b"pay"))]}


def planted_hold_that_ended_early(sale: HeldSale) -> dict[Rule, list[At]]:
    given, sale.now_ms = sale.at(DECISIONS, b"h1"), GIVEN_MS - 1_000
    ended = sale.set(b"h1", State.CANCELLED, HOLD_EXPIRED, Life())
    sale.release(b"h1", [(0, 1)])
    return {Rule.HOLD_SHORT: [given, ended]}


def planted_hold_without_an_end(sale: HeldSale) -> dict[Rule, list[At]]:
    sale.now_ms = ENDS_MS + 60_001
    return {Rule.HOLD_LONG: [sale.at(DECISIONS, b"h1"), sale.add(CHANGES, b"", None)]}


def planted_hold_extended_too_far(sale: HeldSale) -> dict[Rule, list[At]]:
    asked = sale.ask(b"h1", EXTEND, GIVEN_MS)
    return {Rule.HOLD_LONG: [asked, sale.set(b"h1", State.RESERVED, "", Life(ENDS_MAX_MS, ENDS_MAX_MS, change_id=b"extend"))]}


def planted_refund_without_the_right(sale: HeldSale) -> dict[Rule, list[At]]:
    sale.make(b"h1", PAY, GIVEN_MS)
    asked = sale.ask(b"h1", CANCEL, GIVEN_MS)
    undone = sale.set(b"h1", State.CANCELLED, "[REFUNDED]: refunded on request", Life(change_id=b"cancel"))
    sale.release(b"h1", [(0, 1)])
    return {Rule.REFUND: [asked, undone]}


def planted_change_of_nobody(sale: HeldSale) -> dict[Rule, list[At]]:
    return {Rule.NO_CHANGE: [sale.set(b"h1", State.PAID, "", Life(payment_reference=b"p-1", change_id=b"unknown"))]}


def planted_deadline(sale: HeldSale) -> dict[Rule, list[At]]:
    forgotten = sale.add(DEADLINES, b"h1", Deadline(HOLD, ENDS_MS + 1).encoded())
    return {Rule.DEADLINE: [sale.at(DECISIONS, b"h1"), forgotten]}


def planted_rules(sale: HeldSale) -> dict[Rule, list[At]]:
    rules = sale.add(RULES, b"show", AreaRules(Hold(HOLD_S, HOLD_MAX_S + 1)).encoded())
    return {Rule.EVENT_RULES: [rules, sale.at(STATE_EVENT, b"show")]}


def _becomes(sale: HeldSale, status: Status) -> tuple[At, bytes]:
    """(where the event says so, what its area is told)."""
    rules = EventRules(hold_seconds=HOLD_S, hold_seconds_max=HOLD_MAX_S, status=status, revision=2, change_id="c")
    return sale.add(STATE_EVENT, b"show", encode_rules("show", rules)), area_rules(rules).encoded()


def planted_cancelled_event(sale: HeldSale) -> dict[Rule, list[At]]:
    sale.add(RULES, b"show", _becomes(sale, Status.CANCELLED)[1])
    return {Rule.EVENT_ALIVE: [sale.at(DECISIONS, key) for key in (b"r1", b"r2", b"h1")]}


def test_a_cancellation_is_under_way_until_its_partition_remembers_that_it_is_done(sale: HeldSale) -> None:
    told = sale.add(topics.CANCEL_EVENT.name, b"show", encode_cancel("show"))
    sale.add(RULES, b"show", _becomes(sale, Status.CANCELLED)[1])
    alive = [b"r1", b"r2", b"h1"]

    # A kill may come before the record is read, and while the reservations are gone through.
    unread = sale.books()
    assert set(unread.next_steps()) >= {(key, told) for key in alive}
    assert list(unread.being_cancelled()) == []
    assert unread.close(alive).sound

    sale.add(DEADLINES, event_key(b"show"), Deadline(CANCELLING_EVENT, GIVEN_MS).encoded())
    assert list(sale.books().being_cancelled()) == alive

    sale.add(DEADLINES, event_key(b"show"), Deadline(CANCELLED_EVENT, GIVEN_MS).encoded())
    assert list(sale.books().being_cancelled()) == []
    assert [finding.rule for finding in sale.report().findings] == [str(Rule.EVENT_ALIVE)]


def test_an_area_that_has_not_read_the_rules_of_its_event_is_under_way(sale: HeldSale) -> None:
    told = sale.add(topics.RULED_AREA_REPARTITION.name, b"show", b"rules")
    _, rules = _becomes(sale, Status.PAUSED)

    books = sale.books()
    assert [step for key, step in books.next_steps() if key == b"show#A"] == [told]
    assert books.close([b"show#A"]).sound
    assert [finding.rule for finding in books.close().findings] == [str(Rule.EVENT_RULES)]

    sale.add(RULES, b"show", rules)
    assert [step for key, step in sale.books().next_steps() if key == b"show#A"] == []


def planted_area_that_sells_a_paused_event(sale: HeldSale) -> dict[Rule, list[At]]:
    paused, _ = _becomes(sale, Status.PAUSED)
    return {Rule.EVENT_RULES: [sale.at(RULES, b"show"), paused]}


def ruled(sale: HeldSale, **more: int) -> None:
    rules = EventRules(hold_seconds=HOLD_S, hold_seconds_max=HOLD_MAX_S, revision=1, checked_revision=1, **more)  # type: ignore[arg-type]
    sale.add(STATE_EVENT, b"show", encode_rules("show", rules))
    sale.add(RULES, b"show", area_rules(rules).encoded())


def planted_window(sale: HeldSale) -> dict[Rule, list[At]]:
    # What was asked for in the very second of the closing is another one's.
    ruled(sale, opening_ms=GIVEN_MS + 1, closing_ms=GIVEN_MS + 90_000)
    return {Rule.SOLD_OUTSIDE: [sale.at(topic, key) for key in (b"r1", b"r2", b"h1") for topic in (COMMANDS, DECISIONS)]}


def test_what_an_area_sold_before_its_event_had_rules_is_not_held_against_them(sale: HeldSale) -> None:
    planted_window(sale)
    assert not sale.report().sound

    # Announced without any, and with some later.
    sale.put(EVENTS, b"show", create_event("show", [("A", 10, 2, 2)]))

    assert sale.report().sound


def planted_limit(sale: HeldSale) -> dict[Rule, list[At]]:
    ruled(sale, seats_per_user_max=2)
    return {Rule.USER_OVER: [sale.at(COMMANDS, b"h1"), sale.at(DECISIONS, b"h1")]}


PLANTED = [value for name, value in sorted(globals().items()) if name.startswith("planted_")]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.removeprefix("planted_"))
@pytest.mark.parametrize("order", [1, -1])
def test_what_is_wrong_is_found_with_its_records(plant: Callable[[HeldSale], dict[Rule, list[At]]], order: int) -> None:
    sale = HeldSale()
    expected = plant(sale)
    books = Books()
    batches: dict[str, list[Batch]] = {}
    for batch in sale.batches():
        batches.setdefault(batch.source.topic, []).append(batch)
    for topic in list(batches)[::order]:
        for batch in batches[topic]:
            books.take(batch)

    findings = books.close().findings

    assert [finding.rule for finding in findings] == [str(rule) for rule in Rule if rule in expected]
    for finding in findings:
        assert {at for example in finding.examples for at in example.records} == set(expected[Rule(finding.rule)])


def test_every_rule_is_planted_at_least_once() -> None:
    found = {rule for plant in PLANTED for rule in plant(HeldSale())}

    # That is known only to those who saw in which order all was written.
    assert found >= OF_LIVES - {Rule.CHANGE_UNANSWERED}


def test_a_change_of_what_was_decided_is_answered(sale: HeldSale) -> None:
    def books() -> Books:
        books = Books(in_order=True)
        by_time = [batch for batch in sale.batches() if batch.source.topic != CHANGES]
        for batch in [*by_time, *(batch for batch in sale.batches() if batch.source.topic == CHANGES)]:
            books.take(batch)
        return books

    assert books().close().sound
    asked = sale.ask(b"h1", PAY, GIVEN_MS)

    (finding,) = books().close().findings
    assert finding.rule == Rule.CHANGE_UNANSWERED
    assert finding.examples[0].records == (asked,)
