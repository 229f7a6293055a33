"""Rules of events on the wire: Event, ChangeEvent, the second forms of commands, and what areas keep."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import create_reservation, reserve_seat
from ticketmaster.domain.event import Event
from ticketmaster.domain.reservation import State
from ticketmaster.domain.rules import EVENT_CANCELLED, NO_RULES, REASONS, RULES_UNKNOWN, SALE_PAUSED, EventChange, EventRules, Status
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.events import (
    encode_cancel,
    encode_change,
    encode_event,
    encode_rules,
    read_announcement,
    read_cancel,
    read_change,
    read_rules_of,
)
from ticketmaster.wire.holders import holder, holder_of, result_of
from ticketmaster.wire.holds import Hold
from ticketmaster.wire.reservations import decided, processing, read_create, read_reservation, read_reserve, read_result, refused_by_rule
from ticketmaster.wire.rules import (
    AreaRules,
    Checked,
    area_rules,
    checked_reserve_seat,
    of_box_office,
    read_ruled_area,
    read_rules,
    ruled_area,
    without_box_office,
    without_check,
)

ID = b"018f3e2a-7d1c-7c3b-9b5e-2f4a6c8d0e1f"
INTS = st.integers(0, 2**31 - 1)
TIMES = st.integers(-62_135_596_800_000, 253_402_300_799_000)
RULES = st.builds(
    EventRules,
    artist=st.text(max_size=5),
    opening_ms=TIMES,
    closing_ms=TIMES,
    start_ms=TIMES,
    end_ms=TIMES,
    hold_seconds=INTS,
    hold_seconds_max=INTS,
    seats_per_user_max=INTS,
    status=st.sampled_from(Status),
    revision=INTS,
    checked_revision=INTS,
    change_id=st.text(max_size=5),
    change_refusal=st.just(""),
)


@given(RULES)
def test_the_rules_of_an_event_come_back_from_its_record(rules: EventRules) -> None:
    assert read_rules_of(encode_rules("show", rules)) == rules


def test_an_event_has_its_first_form_until_somebody_changes_it() -> None:
    rules = EventRules(opening_ms=1, closing_ms=2, hold_seconds=60, hold_seconds_max=60, revision=1, checked_revision=1)

    record = encode_rules("show", rules)

    assert avro.decode("Event", record)["revision"] == 1
    assert read_rules_of(record) == rules
    assert avro.decode("Event.2", encode_rules("show", rules._replace(change_id="c1")))["changeId"] == "c1"


@pytest.mark.parametrize(
    ("more", "form"),
    [({}, "CreateEvent"), ({"hold_seconds": 5, "hold_seconds_max": 9}, "CreateEvent.2"), ({"seats_per_user_max": 4}, "CreateEvent.3")],
)
def test_an_announcement_has_the_first_form_that_has_all_it_has(more: dict[str, Any], form: str) -> None:
    value = encode_event(Event("show", "ann", 10_000_000, 20_000_000, 0, 0, **more))

    assert avro.decode(form, value)["eventName"] == "show"
    event_id, areas, rules = read_announcement(value)
    assert (event_id, areas) == ("show", [])
    assert rules == EventRules("ann", 10, 20, **more)


CHANGES: list[dict[str, Any]] = [
    {},
    {"artist": "bob", "opening_ms": 1, "closing_ms": 2, "start_ms": 3, "end_ms": 4},
    {"hold_seconds": 5, "hold_seconds_max": 6, "seats_per_user_max": 7, "status": Status.CANCELLED},
    {"hold_seconds": 0, "seats_per_user_max": 0},
]


@pytest.mark.parametrize("values", CHANGES)
def test_a_change_comes_back_from_its_record(values: dict[str, Any]) -> None:
    change = EventChange("c1", "show", 3, values)

    assert read_change(encode_change(change)) == change


@pytest.mark.parametrize("values", [{"hold_seconds": -1}, {"seats_per_user_max": -1}])
def test_a_change_to_less_than_nothing_is_unreadable(values: dict[str, int]) -> None:
    with pytest.raises(InvalidRecord):
        read_change(encode_change(EventChange("c1", "show", 3, values)))


def test_a_change_without_an_id_is_unreadable() -> None:
    with pytest.raises(InvalidRecord):
        read_change(encode_change(EventChange("", "show", 3, {})))


def test_a_cancellation_names_its_event() -> None:
    assert read_cancel(encode_cancel("show")) == "show"


@given(INTS, INTS, INTS, st.sampled_from(Status), INTS, st.binary(max_size=10))
def test_rules_travel_with_the_area_or_alone(seconds: int, most: int, checked: int, status: Status, revision: int, area: bytes) -> None:
    rules = AreaRules(Hold(seconds, most), checked, status, revision)

    encoded, found = read_ruled_area(ruled_area(rules, area))

    assert (read_rules(encoded), found) == (rules, area)
    assert encoded == rules.encoded()
    with pytest.raises(UNREADABLE):
        read_rules(encoded + b"\x00")


def test_a_hold_alone_is_kept_as_it_always_was() -> None:
    assert area_rules(EventRules(hold_seconds=1, hold_seconds_max=2, revision=1)).encoded() == b"\x01\x02\x04"


@pytest.mark.parametrize(
    ("rules", "checked", "reason"),
    [
        (AreaRules(checked_revision=2), Checked(2), ""),
        (AreaRules(checked_revision=2), Checked(3), ""),
        (AreaRules(checked_revision=2), Checked(1), RULES_UNKNOWN),
        (AreaRules(checked_revision=2), Checked(), RULES_UNKNOWN),
        (AreaRules(checked_revision=2), Checked(0, box_office=True), ""),
        (AreaRules(status=Status.PAUSED), Checked(9), SALE_PAUSED),
        (AreaRules(status=Status.PAUSED), Checked(0, box_office=True), ""),
        (AreaRules(status=Status.CANCELLED), Checked(0, box_office=True), EVENT_CANCELLED),
        (AreaRules(), Checked(), ""),
    ],
)
def test_an_area_sells_to_those_who_were_looked_at_by_rules_that_are_no_older(rules: AreaRules, checked: Checked, reason: str) -> None:
    assert rules.refusal(checked) == reason
    assert rules.may_refuse or not reason


@given(revision=INTS, box_office=st.booleans(), seats=st.sampled_from([(), ((0, 1),), ((3, 300), (4, 5))]))
def test_the_second_form_of_a_command_is_the_first_one_with_more_behind_it(
    revision: int, *, box_office: bool, seats: tuple[tuple[int, int], ...]
) -> None:
    create = create_reservation("SELF_PICK" if seats else "RANDOM", 2, seats)
    second = checked_reserve_seat(ID, create, read_create(create).names_at, Checked(revision, box_office))
    first = reserve_seat(ID.decode(), "SELF_PICK" if seats else "RANDOM", 2, seats)

    fields = avro.decode("ReserveSeat.2", second)
    assert (fields.pop("revision"), fields.pop("boxOffice")) == (revision, box_office)
    assert fields == avro.decode("ReserveSeat", first)
    assert without_check(second) == (first, Checked(revision, box_office))
    assert without_check(first) == (first, Checked())


def test_a_box_office_asks_in_a_second_form() -> None:
    create = create_reservation()

    second = of_box_office(create)

    assert avro.decode("CreateReservation.2", second)["boxOffice"] is True
    assert without_box_office(second) == (create, True)
    assert without_box_office(second[:-1] + b"\x00") == (create, False)
    assert without_box_office(create) == (create, False)


@pytest.mark.parametrize("cut", [b"\x05", b""])
def test_second_forms_that_end_in_no_boolean_are_unreadable(cut: bytes) -> None:
    create = create_reservation()
    with pytest.raises(UNREADABLE):
        without_box_office(of_box_office(create)[: 5 if not cut else -1] + cut)
    second = checked_reserve_seat(ID, create, read_create(create).names_at, Checked(1))
    with pytest.raises(UNREADABLE):
        without_check(second[: 5 if not cut else -1] + cut)


@pytest.mark.parametrize("reason", REASONS)
def test_what_a_rule_refuses_is_told_by_its_own_name(reason: str) -> None:
    create = create_reservation()
    result = refused_by_rule(ID, reason)

    fields = avro.decode("ReservationResult", result)
    assert (fields["result"], fields["errorCode"], fields["errorMessage"]) == ("FAILED", None, reason)
    assert read_result(result) == (b"", reason.encode())
    decision = decided(processing(ID, create), result)
    assert decision
    assert decision.outcome == reason[1 : reason.index("]")]
    failed = read_reservation(decision.reservation)
    assert (failed.state, failed.failed_reason) == (State.FAILED, reason)
    # As the event role keeps it, and as it is made anew from the reservation.
    command = read_reserve(reserve_seat(ID.decode()))
    assert result_of(ID, holder(command, result)) == result
    assert holder_of(decision.reservation) == (b"show#A", holder(command, result))


def test_an_unknown_failure_without_a_code_is_an_internal_error() -> None:
    assert read_result(refused_by_rule(ID, "[OTHER]: no"))[1] == b"[INTERNAL_ERROR]: [OTHER]: no"


def test_an_event_without_rules_has_none() -> None:
    assert not NO_RULES.any
