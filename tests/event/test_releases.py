"""Seats that come back: once, and only from who holds them. Events whose seats are held for a while."""

from __future__ import annotations

import pytest

from tests.event.role import PARTITION, PARTITIONS, STATUSES, Role, objection, tables_of
from tests.support.records import area_status, create_event, failure, release_seats, reserve_seat, success
from tests.support.stores import done
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import TopicPartition
from ticketmaster.event.processor import EventProcessor
from ticketmaster.event.stores import EVENTS, HOLDERS
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import avro, topics
from ticketmaster.wire.holders import CLOSED
from ticketmaster.wire.holds import Hold
from ticketmaster.wire.rules import AreaRules, ruled_area

HOLD = (600, 900)
RULED = AreaRules(Hold(*HOLD))


def release(role: Role, *values: bytes) -> Outputs:
    """What a transaction of releases writes."""
    return role.run((topics.RELEASE_SEATS, [(b"show#A", value) for value in values]))


def test_what_was_held_is_free_again_and_told() -> None:
    role = Role()
    role.open(1, 3)
    role.reserve(reserve_seat("r1", count=2))

    outputs = release(role, release_seats("r1", [(0, 0), (0, 1)]))

    assert outputs == {STATUSES: [(b"show#A", area_status(1, 3))]}
    assert role.reserve(reserve_seat("r2", count=3)) == [success("r2", [(0, 0), (0, 1), (0, 2)])]


def test_a_release_that_comes_twice_does_not_free_what_somebody_else_has_since() -> None:
    role = Role()
    role.open(1, 2)
    role.reserve(reserve_seat("r1", count=2))
    release(role, release_seats("r1", [(0, 0), (0, 1)]))
    role.reserve(reserve_seat("r2", count=2))

    assert release(role, release_seats("r1", [(0, 0), (0, 1)])) == {}

    assert role.status() == area_status(1, 2, {(0, 0), (0, 1)})


def test_only_what_the_reservation_holds_is_freed_whatever_it_names() -> None:
    role = Role()
    role.open(1, 3)
    role.reserve(reserve_seat("r1"), reserve_seat("r2"))

    release(role, release_seats("r1", [(0, 0), (0, 1), (0, 2)]))

    assert role.status() == area_status(1, 3, {(0, 1)})


def test_a_reservation_that_was_refused_has_nothing_to_give_back() -> None:
    role = Role()
    role.open(1, 1)
    role.reserve(reserve_seat("r1"), reserve_seat("r2"))

    assert release(role, release_seats("r2", [(0, 0)])) == {}


def test_a_command_that_comes_again_after_its_seats_were_given_back_gets_none() -> None:
    role = Role()
    role.open(1, 2)
    role.reserve(reserve_seat("r1"))
    release(role, release_seats("r1", [(0, 0)]))

    assert role.reserve(reserve_seat("r1")) == []
    assert role.status() == area_status(1, 2)


def test_seats_that_were_taken_before_there_were_holders_are_freed_on_the_word_of_the_reservation_role() -> None:
    role = Role()
    role.run((topics.AREA_REPARTITION, [(b"show#A", area_status(1, 3, {(0, 0), (0, 1)}))]))

    release(role, release_seats("old", [(0, 1), (0, 2), (7, 7)]))

    assert role.status() == area_status(1, 3, {(0, 0)})
    assert role.overlays[HOLDERS].get(b"old") == CLOSED


@pytest.mark.parametrize(
    "value",
    [
        b"rubbish",
        release_seats("r1", [(0, 0)]) + b"\x00",
        # Of another area than the one that it holds seats of.
        release_seats("r1", [(0, 0)], area="B"),
    ],
)
def test_what_is_no_release_is_put_aside_and_frees_nothing(value: bytes) -> None:
    role = Role()
    role.open(1, 1)
    role.reserve(reserve_seat("r1"))
    outputs = Outputs()

    role.processor.process(topics.RELEASE_SEATS.name, [(b"show#A", value), (b"show#A", None)], role.overlays, outputs)

    assert [at for at, _ in outputs.rejected] == [0]
    assert role.status() == area_status(1, 1, {(0, 0)})


def test_released_seats_do_not_forbid_reading_again() -> None:
    role = Role()
    role.open(1, 3)
    role.reserve(reserve_seat("r1"), reserve_seat("r2"))
    release(role, release_seats("r1", [(0, 0)]))
    done(role.overlays.writing_all())

    assert objection(tables_of(role.overlays), [topics.RESERVE_SEAT.name]) == ""


# --- Holds -------------------------------------------------------------------------------------------------------------------


def announced(role: Role, hold: tuple[int, int] | None) -> Outputs:
    """What the announcement of an event writes."""
    return role.run((topics.CREATE_EVENT, [(b"show", create_event("show", [("A", 10, 1, 2)], hold))]))


def test_an_event_with_a_hold_is_told_and_its_areas_travel_with_it() -> None:
    role = Role()

    outputs = announced(role, HOLD)

    at = TopicPartition(topics.RULED_AREA_REPARTITION.name, partition_of(b"show#A", PARTITIONS))
    assert outputs[at] == [(b"show", RULED.encoded()), (b"show#A", ruled_area(RULED, area_status(1, 2)))]
    event = role.overlays[EVENTS].get(b"show")
    assert event
    fields = avro.decode("Event", event)
    assert (fields["eventName"], fields["holdSeconds"], fields["holdSecondsMax"]) == ("show", *HOLD)
    assert (fields["status"], fields["revision"], fields["seatsPerUserMax"]) == ("OPEN", 1, 0)


def test_an_event_without_a_hold_leaves_no_trace_that_the_original_would_not() -> None:
    role = Role()

    outputs = announced(role, None)

    assert [source.topic for source in outputs] == [topics.AREA_REPARTITION.name]
    assert role.overlays[EVENTS].get(b"show") is None


@pytest.mark.parametrize("again", [None, (5, 5)])
def test_an_event_that_is_announced_again_keeps_its_first_hold(again: tuple[int, int] | None) -> None:
    role = Role()
    announced(role, HOLD)
    before = role.overlays[EVENTS].get(b"show")

    outputs = announced(role, again)

    at = TopicPartition(topics.RULED_AREA_REPARTITION.name, partition_of(b"show#A", PARTITIONS))
    assert outputs == {at: [(b"show#A", ruled_area(RULED, area_status(1, 2)))]}
    assert role.overlays[EVENTS].get(b"show") == before


@pytest.mark.parametrize("restarted", [False, True])
def test_seats_of_such_an_area_are_held_for_a_while(*, restarted: bool) -> None:
    role = Role()
    outputs = role.run((topics.RULED_AREA_REPARTITION, [(b"show#A", ruled_area(RULED, area_status(1, 2)))]))
    # What the original reads is as it always was.
    assert outputs == {STATUSES: [(b"show#A", area_status(1, 2))]}
    if restarted:
        role.processor = EventProcessor(PARTITION, PARTITIONS)

    results = role.reserve(reserve_seat("r1", count=2), reserve_seat("r2"), reserve_seat("r1", count=2))

    given, refused = success("r1", [(0, 0), (0, 1)], HOLD), failure("r2", "NOT_AVAILABLE", "no continuous 1 seats at area A in event show")
    assert sorted(results) == sorted([given, refused, given])


def test_what_is_no_area_with_rules_is_put_aside() -> None:
    role, outputs = Role(), Outputs()

    records = [(b"show#A", b"\x00"), (b"show#A", ruled_area(AreaRules(Hold(1, 1)), b"rubbish")), (b"show#A", None)]
    role.processor.process(topics.RULED_AREA_REPARTITION.name, records, role.overlays, outputs)

    assert [at for at, _ in outputs.rejected] == [0, 1]
    assert role.status() is None
