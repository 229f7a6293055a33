"""The rules of events in the reservation role: windows by the time of the command, pauses, box offices, and cancelled events."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.records import change, create_reservation, release_seats, reserve_seat, success
from tests.support.role import Role
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import TopicPartition
from ticketmaster.domain.rules import (
    EVENT_CANCELLED,
    SALE_CLOSED,
    SALE_NOT_OPEN,
    SALE_PAUSED,
    EventRules,
    Status,
)
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.lives import DEADLINES, RESERVATIONS
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.reservation.rules import KnownRules
from ticketmaster.reservation.settings import CancelSettings
from ticketmaster.state.port import Scanned
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import avro, topics
from ticketmaster.wire.deadlines import event_key
from ticketmaster.wire.events import encode_cancel, encode_rules
from ticketmaster.wire.rules import of_box_office

PARTITION, PARTITIONS = 7, 20
ID = "51998dfc-abe9-4429-bce7-255ede8d55db"
KEY = ID.encode()
DECISIONS = TopicPartition(topics.USER_RESERVATION.name, PARTITION)
COMMANDS = TopicPartition(topics.RESERVE_SEAT.name, partition_of(b"show#A", PARTITIONS))
RELEASES = TopicPartition(topics.RELEASE_SEATS.name, partition_of(b"show#A", PARTITIONS))
OPENS, CLOSES = 1_000_000, 2_000_000
WINDOW = EventRules(opening_ms=OPENS, closing_ms=CLOSES, revision=3, checked_revision=2)


class Sale:
    """A task of the reservation role, and the table of events beside it."""

    def __init__(self, cancelling: CancelSettings | None = None) -> None:
        self.fresh = True
        self.rules = KnownRules(lambda: self.fresh)
        areas = AreaCache(PARTITIONS, lambda: True)
        self.role = Role(reservation_topology(PARTITIONS, areas, self.rules, cancelling or CancelSettings()), PARTITION)

    def know(self, rules: EventRules | None, event: str = "show") -> None:
        """A record of ``state.event`` comes."""
        assert self.rules.apply([(event.encode(), rules and encode_rules(event, rules))]) == []

    def create(self, time_ms: int, create: bytes | None = None, key: bytes = KEY) -> Outputs:
        """A command that the log took at a time."""
        return self.role.run(topics.CREATE_RESERVATION, [(key, create or create_reservation())], time_ms)

    def reserve(self, key: bytes, hold: tuple[int, int] | None = None, event: str = "show") -> None:
        """A reservation that got its seats."""
        self.create(0, create_reservation(event=event), key)
        self.role.run(topics.RESERVATION_RESULT, [(key, success(key.decode(), [(0, 1)], hold))], 1_000)

    def cancel(self, event: str = "show", time_ms: int = 5_000) -> None:
        """The event is cancelled."""
        assert self.role.run(topics.CANCEL_EVENT, [(event.encode(), encode_cancel(event))], time_ms) == {}

    def work(self) -> dict[bytes, tuple[str, str]]:
        """Works until there is nothing more to do at once; returns all that is told."""
        told: dict[bytes, tuple[str, str]] = {}
        for _ in range(100):
            deadline_ms = self.role.processor.deadline_ms
            if deadline_ms is None or deadline_ms > 5_000:
                return told
            told |= decisions(self.role.on_time(5_000))
        raise AssertionError("it never comes to an end")

    def state(self, key: bytes) -> str:
        """Where a reservation stands."""
        value = self.role.overlay.get(key)
        assert value
        return str(decoded(value)["state"])


def decoded(value: bytes) -> dict[str, Any]:
    """A reservation in either form."""
    return avro.decode("Reservation" if value[4] == 2 else "Reservation.2", value)


def decisions(outputs: Outputs) -> dict[bytes, tuple[str, str]]:
    """State and reason of what is told."""
    fields = {key: decoded(value or b"") for key, value in outputs.get(DECISIONS, [])}
    return {key: (found["state"], found["failedReason"]) for key, found in fields.items()}


def checked(revision: int, *, box_office: bool = False) -> bytes:
    """The command to the area, in its second form."""
    fields = avro.decode("ReserveSeat", reserve_seat(ID))
    return avro.encode("ReserveSeat.2", fields | {"revision": revision, "boxOffice": box_office})


@pytest.fixture
def sale() -> Sale:
    return Sale()


def test_without_rules_an_area_is_asked_as_the_original_does(sale: Sale) -> None:
    sale.know(EventRules(hold_seconds=60, hold_seconds_max=60, revision=1))
    sale.know(WINDOW, "another")

    assert sale.create(5) == {COMMANDS: [(b"show#A", reserve_seat(ID))]}


@pytest.mark.parametrize(("time_ms", "reason"), [(OPENS - 1, SALE_NOT_OPEN), (CLOSES, SALE_CLOSED)])
def test_outside_of_its_window_an_event_sells_nothing(sale: Sale, time_ms: int, reason: str) -> None:
    sale.know(WINDOW)

    outputs = sale.create(time_ms)

    assert decisions(outputs) == {KEY: ("FAILED", reason)}
    assert COMMANDS not in outputs
    assert outputs.outcomes == {reason[1 : reason.index("]")]: 1}


@pytest.mark.parametrize("time_ms", [OPENS, CLOSES - 1])
def test_within_its_window_the_area_is_told_by_which_rules(sale: Sale, time_ms: int) -> None:
    sale.know(WINDOW)

    assert sale.create(time_ms) == {COMMANDS: [(b"show#A", checked(3))]}


def test_a_paused_event_sells_nothing_until_it_is_resumed(sale: Sale) -> None:
    sale.know(EventRules(status=Status.PAUSED, revision=1))
    assert decisions(sale.create(5)) == {KEY: ("FAILED", SALE_PAUSED)}

    sale.know(EventRules(revision=2))
    other = ID.replace("5", "6")
    assert sale.create(5, key=other.encode()) == {COMMANDS: [(b"show#A", reserve_seat(other))]}


def test_a_table_that_may_be_old_leaves_a_pause_to_the_area_but_not_a_window(sale: Sale) -> None:
    sale.fresh = False
    sale.know(WINDOW._replace(status=Status.PAUSED))

    assert decisions(sale.create(OPENS - 1, key=b"early")) == {b"early": ("FAILED", SALE_NOT_OPEN)}
    assert sale.create(OPENS) == {COMMANDS: [(b"show#A", checked(3))]}


@pytest.mark.parametrize(
    "rules", [None, WINDOW, EventRules(status=Status.PAUSED, revision=3), EventRules(status=Status.CLOSED, revision=3)]
)
def test_a_box_office_sells_past_windows_and_pauses(sale: Sale, rules: EventRules | None) -> None:
    sale.know(rules)

    outputs = sale.create(5, of_box_office(create_reservation()))

    assert outputs == {COMMANDS: [(b"show#A", checked(3 if rules else 0, box_office=True))]}
    # What is kept has the first form.
    assert sale.state(KEY) == "PROCESSING"


def test_nobody_sells_a_cancelled_event(sale: Sale) -> None:
    sale.know(EventRules(status=Status.CANCELLED, revision=3))

    assert decisions(sale.create(5)) == {KEY: ("FAILED", EVENT_CANCELLED)}
    assert decisions(sale.create(5, of_box_office(create_reservation()), b"box")) == {b"box": ("FAILED", EVENT_CANCELLED)}


def test_an_event_whose_record_is_none_has_no_rules(sale: Sale) -> None:
    sale.know(WINDOW)

    assert [at for at, _ in sale.rules.apply([(b"other", encode_rules("other", WINDOW)), (b"show", b"rubbish")])] == [1]

    assert sale.create(5) == {COMMANDS: [(b"show#A", reserve_seat(ID))]}


# Cancelled events.


def test_every_reservation_of_a_cancelled_event_is_cancelled_and_its_seats_are_given_back(sale: Sale) -> None:
    sale.reserve(b"held", (60, 60))
    sale.reserve(b"paid")
    sale.role.run(topics.CHANGE_RESERVATION, [(b"paid", change("PAY", reference="order-1"))], 1_000)
    sale.create(0, key=b"undecided")
    sale.reserve(b"other", event="other")
    sale.cancel()

    told: dict[bytes, tuple[str, str]] = {}
    outputs: list[Outputs] = []
    while sale.role.processor.deadline_ms is not None and sale.role.processor.deadline_ms <= 5_000:
        outputs.append(sale.role.on_time(5_000))
        told |= decisions(outputs[-1])

    assert told == dict.fromkeys((b"held", b"paid", b"undecided"), ("CANCELLED", EVENT_CANCELLED))
    assert sorted(record for one in outputs for record in one.get(RELEASES, [])) == [
        (b"show#A", release_seats("held", [(0, 1)])),
        (b"show#A", release_seats("paid", [(0, 1)])),
    ]
    assert sale.state(b"other") == "RESERVED"
    assert sale.role.overlays[DEADLINES].get(b"held") is None
    assert sale.role.processor.open_deadlines == 0
    # Seats that come for one that was undecided go back at once.
    late = sale.role.run(topics.RESERVATION_RESULT, [(b"undecided", success("undecided", [(2, 2)]))])
    assert late == {RELEASES: [(b"show#A", release_seats("undecided", [(2, 2)]))]}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_cancelled_event_sells_nothing_more_whatever_the_table_says(sale: Sale, *, restarted: bool) -> None:
    sale.cancel()
    if restarted:
        sale.role.restart()
    sale.work()
    if restarted:
        sale.role.restart()

    assert decisions(sale.create(9)) == {KEY: ("FAILED", EVENT_CANCELLED)}
    assert sale.create(9, create_reservation(event="other"), b"x")


def test_many_reservations_are_cancelled_in_pieces_that_a_restart_begins_again() -> None:
    sale = Sale(CancelSettings(rows_max=7, reservations_max=3))
    keys = [b"r%02d" % number for number in range(40)]
    for number, key in enumerate(keys):
        sale.reserve(key, event="other" if number % 4 == 0 else "show")
    sale.cancel()

    first = decisions(sale.role.on_time(5_000)) | decisions(sale.role.on_time(5_000))
    sale.role.restart()
    again = sale.work()

    assert 3 <= len(first) <= 6
    assert not first.keys() & again.keys()
    assert {key for key in keys if sale.state(key) == "CANCELLED"} == first.keys() | again.keys()
    assert len(first) + len(again) == 30
    assert sale.role.processor.deadline_ms is None
    sale.role.restart()
    assert sale.role.processor.deadline_ms is None


def test_a_reservation_that_begins_in_the_transaction_of_the_cancellation_is_cancelled_too(sale: Sale) -> None:
    outputs = Outputs()
    processor, stores = sale.role.processor, sale.role.overlays
    processor.process(topics.CREATE_RESERVATION.name, [(KEY, create_reservation())], stores, outputs)
    processor.process(topics.CANCEL_EVENT.name, [(b"show", encode_cancel("show"))], stores, outputs)
    assert processor.deadline_ms is None
    processor.end_transaction(stores, outputs)
    sale.role.commit(outputs)

    assert sale.work() == {KEY: ("CANCELLED", EVENT_CANCELLED)}


@pytest.mark.parametrize("reservations_max", [1, 2])
def test_a_look_for_the_reservations_of_a_cancelled_event_looks_at_each_once(
    reservations_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = Sale(CancelSettings(rows_max=10, reservations_max=reservations_max))
    for number in range(34):
        sale.reserve(b"r%02d" % number)
    looked_at: list[bytes] = []
    overlay = sale.role.overlays[RESERVATIONS]
    scan = overlay.scan

    def noted(after: bytes, part: bytes, rows_max: int) -> Scanned:
        scanned = scan(after, part, rows_max)
        looked_at.extend(key for key, _ in scanned.items)
        return scanned

    monkeypatch.setattr(type(overlay), "scan", lambda _, *arguments: noted(*arguments))
    sale.cancel()
    sale.work()

    assert looked_at == [b"r%02d" % number for number in range(34)]


def test_a_reservation_that_is_paid_back_after_it_was_found_is_left_as_it_is() -> None:
    sale = Sale(CancelSettings(rows_max=10, reservations_max=1))
    for number in range(3):
        sale.reserve(b"r%d" % number)
    sale.cancel()
    sale.role.on_time(5_000)
    sale.role.run(topics.CHANGE_RESERVATION, [(b"r1", change("CANCEL"))], 1_500)

    assert sale.work().keys() == {b"r2"}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_cancelled_event_is_forgotten_when_a_week_later_another_one_is_cancelled(sale: Sale, *, restarted: bool) -> None:
    week_ms = 7 * 86_400_000
    for event, now_ms in (("show", 5_000), ("second", 6_000), ("third", week_ms + 5_000)):
        if restarted:
            sale.role.restart()
        sale.cancel(event)
        while sale.role.processor.deadline_ms is not None:
            sale.role.on_time(now_ms)

    marks = sale.role.overlays[DEADLINES]
    assert [marks.get(event_key(event)) is None for event in (b"show", b"second", b"third")] == [True, False, False]
    # The table of events has all that is known of it from now on.
    assert COMMANDS in sale.create(9)
    sale.know(EventRules(status=Status.CANCELLED, revision=3))
    assert decisions(sale.create(9, key=b"other")) == {b"other": ("FAILED", EVENT_CANCELLED)}


def test_an_event_that_is_cancelled_while_another_one_is_has_its_reservations_found_too() -> None:
    sale = Sale(CancelSettings(rows_max=2))
    for number in range(9):
        sale.reserve(b"r%d" % number, event="other" if number % 2 else "show")
    sale.cancel()
    sale.role.on_time(5_000)
    sale.role.on_time(5_000)
    sale.cancel("other")

    sale.work()

    assert {sale.state(b"r%d" % number) for number in range(9)} == {"CANCELLED"}


@pytest.mark.parametrize(("kind", "refusal"), [("PAY", "event_cancelled"), ("EXTEND", "event_cancelled"), ("CANCEL", "")])
@pytest.mark.parametrize("worked_off", [False, True])
def test_a_change_behind_the_cancellation_of_the_event_finds_it_cancelled(sale: Sale, kind: str, refusal: str, *, worked_off: bool) -> None:
    sale.reserve(KEY, (60, 60))
    sale.cancel()
    if worked_off:
        sale.work()

    outputs = sale.role.run(topics.CHANGE_RESERVATION, [(KEY, change(kind, reference="order-1", seconds=5))], 1_500)

    ((_, value),) = outputs[DECISIONS]
    fields = decoded(value or b"")
    assert (fields["state"], fields["failedReason"]) == ("CANCELLED", EVENT_CANCELLED)
    assert (fields["changeId"], fields["changeRefusal"]) == ("change-1", refusal)
    assert (RELEASES in outputs) is not worked_off
    assert sale.work() == {}
    assert sale.role.processor.open_deadlines == 0


def test_an_event_that_is_cancelled_twice_is_looked_through_once(sale: Sale) -> None:
    sale.cancel()
    sale.work()
    before = sale.role.overlays[DEADLINES].get(event_key(b"show"))

    sale.cancel(time_ms=9_000)

    assert sale.role.processor.deadline_ms is None
    assert sale.role.overlays[DEADLINES].get(event_key(b"show")) == before


def test_what_cancels_no_event_is_put_aside(sale: Sale) -> None:
    outputs = Outputs()

    records = [(b"show", b"rubbish"), (b"", encode_cancel("")), (b"show", None)]
    sale.role.processor.process(topics.CANCEL_EVENT.name, records, sale.role.overlays, outputs)

    assert [at for at, _ in outputs.rejected] == [0, 1]


def test_while_reservations_are_cancelled_holds_end_too(sale: Sale) -> None:
    sale.reserve(b"r1", (1, 1), event="other")
    sale.reserve(b"r2")
    sale.cancel()
    sale.role.run(topics.CHANGE_RESERVATION, [(b"", None)], 5_000)

    assert sale.work().keys() == {b"r1", b"r2"}
