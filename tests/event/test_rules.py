"""The rules of events in the event role: changes in the order of the log, and areas that keep them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.event.role import PARTITIONS, STATUSES, Role
from tests.support.records import area_status, failure, reserve_seat, success
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.domain.event import Area, Event
from ticketmaster.domain.rules import (
    ANY_REVISION,
    EVENT_CANCELLED,
    RULES_UNKNOWN,
    SALE_CLOSED,
    SALE_PAUSED,
    EventChange,
    EventRules,
    Status,
)
from ticketmaster.event.events import Budget
from ticketmaster.event.processor import EventProcessor
from ticketmaster.event.stores import EVENTS, RULES
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import avro, topics
from ticketmaster.wire.events import encode_cancel, encode_change, encode_event, read_rules_of
from ticketmaster.wire.holds import Hold
from ticketmaster.wire.reservations import refused_by_rule
from ticketmaster.wire.rules import AreaRules, ruled_area

RULED = TopicPartition(topics.RULED_AREA_REPARTITION.name, partition_of(b"show#A", PARTITIONS))
PLAIN = TopicPartition(topics.AREA_REPARTITION.name, partition_of(b"show#A", PARTITIONS))


def asked(change_id: str = "c1", revision: int = ANY_REVISION, **values: object) -> EventChange:
    return EventChange(change_id, "show", revision, values)


def ask(role: Role, *changes: EventChange) -> Outputs:
    return role.run((topics.CHANGE_EVENT, [(b"show", encode_change(change)) for change in changes]))


def rules_of(role: Role) -> EventRules:
    value = role.overlays[EVENTS].get(b"show")
    assert value
    return read_rules_of(value)


def announce(role: Role, **more: Any) -> Outputs:  # noqa: ANN401 - what an Event takes
    event = Event("show", "", 0, 0, 0, 0, (Area("A", 10, 1, 2),))
    fields = {name: getattr(event, name) for name in event.__struct_fields__} | more
    return role.run((topics.CREATE_EVENT, [(b"show", encode_event(Event(**fields)))]))


def tell(role: Role, rules: AreaRules) -> Outputs:
    return role.run((topics.RULED_AREA_REPARTITION, [(b"show", rules.encoded())]))


def told(rules: AreaRules, *areas: Pair) -> dict[TopicPartition, list[Pair]]:
    """The records that tell every partition of an event's rules, and that of area A of its areas."""
    told: dict[TopicPartition, list[Pair]] = {TopicPartition(RULED.topic, at): [(b"show", rules.encoded())] for at in range(PARTITIONS)}
    told[RULED] += areas
    return told


def move(role: Role, outputs: Outputs) -> Outputs:
    """The areas read what the events have sent them."""
    return role.run(*((topic, outputs[at]) for topic, at in ((topics.RULED_AREA_REPARTITION, RULED), (topics.AREA_REPARTITION, PLAIN))))


def reserve(reservation_id: str, revision: int = 0, *, box_office: bool = False) -> bytes:
    fields = avro.decode("ReserveSeat", reserve_seat(reservation_id))
    return avro.encode("ReserveSeat.2", fields | {"revision": revision, "boxOffice": box_office})


@pytest.mark.parametrize(
    "more", [{"reservation_opening_ns": 1_000_000_000, "reservation_closing_ns": 2_000_000_000}, {"seats_per_user_max": 4}]
)
def test_the_areas_of_a_new_event_with_a_window_or_a_limit_want_reservations_that_were_looked_at(more: dict[str, int]) -> None:
    role = Role()

    rules = AreaRules(checked_revision=1)

    assert announce(role, **more) == told(rules, (b"show#A", ruled_area(rules, area_status(1, 2))))
    assert (rules_of(role).revision, rules_of(role).checked_revision) == (1, 1)


def test_an_event_whose_window_is_over_is_announced_as_one_without() -> None:
    role, outputs = Role(), Outputs()
    event = Event("show", "", 1_000_000_000, 2_000_000_000, 0, 0, (Area("A", 10, 1, 2),))
    outputs.time_ms = 2_000

    role.processor.process(topics.CREATE_EVENT.name, [(b"show", encode_event(event))], role.overlays, outputs)

    assert outputs == {PLAIN: [(b"show#A", area_status(1, 2))]}
    assert role.overlays[EVENTS].get(b"show") is None


def test_a_change_is_written_and_told_to_every_partition() -> None:
    role = Role()
    announce(role, hold_seconds=60, hold_seconds_max=90)

    outputs = ask(role, asked(closing_ms=2_000, status=Status.PAUSED))

    assert outputs == told(AreaRules(Hold(60, 90), 2, Status.PAUSED, 2))
    rules = rules_of(role)
    assert (rules.status, rules.closing_ms, rules.revision, rules.change_id, rules.change_refusal) == (Status.PAUSED, 2_000, 2, "c1", "")


def test_an_event_that_has_no_rules_gets_its_first_ones() -> None:
    role = Role()

    outputs = ask(role, asked(revision=0, status=Status.PAUSED))

    assert outputs == told(AreaRules(status=Status.PAUSED))
    assert rules_of(role) == EventRules(status=Status.PAUSED, revision=1, change_id="c1")


def test_a_refused_change_is_answered_and_told_to_nobody() -> None:
    role = Role()

    assert ask(role, asked(revision=5, status=Status.PAUSED)) == {}

    assert rules_of(role) == EventRules(change_id="c1", change_refusal="revision_conflict")


def test_a_repeated_change_is_told_again_and_changes_nothing() -> None:
    role = Role()
    first = ask(role, asked(revision=0, closing_ms=5))
    before = rules_of(role)

    assert ask(role, asked(revision=0, closing_ms=5)) == first
    assert rules_of(role) == before


def test_of_two_changes_each_is_answered_in_a_transaction_of_its_own() -> None:
    role, outputs = Role(), Outputs()
    records = [(b"show", encode_change(asked(change_id, start_ms=number))) for number, change_id in enumerate(("c1", "c2"), 1)]

    role.processor.process(topics.CHANGE_EVENT.name, records, role.overlays, outputs)

    assert outputs.left == (1, None)
    assert rules_of(role).change_id == "c1"
    role.processor.end_transaction(role.overlays, outputs)
    role.run((topics.CHANGE_EVENT, records[1:]))
    assert (rules_of(role).change_id, rules_of(role).start_ms, rules_of(role).revision) == ("c2", 2, 2)


def test_many_changes_are_told_in_bounded_transactions() -> None:
    role, outputs = Role(), Outputs()
    role.processor = EventProcessor(3, PARTITIONS, transaction_bytes_max=1)
    changes = [(name, encode_change(asked(status=Status.PAUSED)._replace(event_id=name.decode()))) for name in (b"a", b"b")]

    role.processor.process(topics.CHANGE_EVENT.name, changes, role.overlays, outputs)

    assert outputs.left == (1, None)
    assert outputs[RULED] == [(b"a", AreaRules(status=Status.PAUSED).encoded())]


def test_a_cancelled_event_is_told_to_every_partition() -> None:
    role = Role()

    outputs = ask(role, asked(status=Status.CANCELLED))

    cancels = {source: records for source, records in outputs.items() if source.topic == topics.CANCEL_EVENT.name}
    assert cancels == {TopicPartition(topics.CANCEL_EVENT.name, at): [(b"show", encode_cancel("show"))] for at in range(PARTITIONS)}


def test_an_event_that_is_announced_again_has_the_rules_that_it_has_by_now() -> None:
    role = Role()
    ask(role, asked(status=Status.PAUSED))

    outputs = announce(role, hold_seconds=60, hold_seconds_max=60)

    assert outputs == {RULED: [(b"show#A", ruled_area(AreaRules(status=Status.PAUSED), area_status(1, 2)))]}


def test_what_is_no_change_is_put_aside() -> None:
    role, outputs = Role(), Outputs()
    records = [(b"show", b"rubbish"), (b"other", encode_change(asked())), (b"show", None)]

    role.processor.process(topics.CHANGE_EVENT.name, records, role.overlays, outputs)

    assert [at for at, _ in outputs.rejected] == [0, 1]


# Areas.


@pytest.mark.parametrize(
    ("rules", "command", "reason"),
    [
        (AreaRules(checked_revision=2, revision=3), reserve_seat("r1"), RULES_UNKNOWN),
        (AreaRules(checked_revision=2, revision=3), reserve("r1", 1), RULES_UNKNOWN),
        (AreaRules(checked_revision=2, revision=3), reserve("r1", 2), ""),
        (AreaRules(status=Status.PAUSED), reserve_seat("r1"), SALE_PAUSED),
        (AreaRules(status=Status.CLOSED), reserve("r1", 9), SALE_CLOSED),
        (AreaRules(checked_revision=2, status=Status.PAUSED), reserve("r1", box_office=True), ""),
        (AreaRules(status=Status.CANCELLED), reserve("r1", box_office=True), EVENT_CANCELLED),
        (AreaRules(Hold(60, 60)), reserve_seat("r1"), ""),
    ],
)
@pytest.mark.parametrize("way", ["announced", "later", "before", "restarted", "evicted"])
def test_an_area_sells_by_the_rules_of_its_event(rules: AreaRules, command: bytes, reason: str, way: str) -> None:
    role = Role(cached_bytes_max=0 if way == "evicted" else 1 << 20)
    if way == "announced":
        role.run((topics.RULED_AREA_REPARTITION, [(b"show#A", ruled_area(rules, area_status(1, 2)))]))
    elif way == "before":
        tell(role, rules)
        role.open(1, 2)
    else:
        role.open(1, 2)
        if way == "evicted":
            role.open(1, 2, area="B")
        assert tell(role, rules) == {}
    if way == "restarted":
        role.processor = EventProcessor(3, PARTITIONS)

    hold = (60, 60) if rules.hold.seconds else None
    expected = refused_by_rule(b"r1", reason) if reason else success("r1", [(0, 0)], hold)
    assert role.reserve(command, command) == [expected, expected]


def test_an_area_that_opens_after_a_change_of_its_event_goes_by_the_change() -> None:
    role = Role()
    announced = announce(role, hold_seconds=60, hold_seconds_max=60)
    changed = ask(role, asked(status=Status.CANCELLED))

    # Its task stood still: it reads both at once. It reads the announcement again, too, as if committed offsets were lost.
    role.run((topics.RULED_AREA_REPARTITION, [*announced[RULED], *changed[RULED], *announced[RULED]]))

    assert role.reserve(reserve_seat("r1")) == [refused_by_rule(b"r1", EVENT_CANCELLED)]
    assert role.overlays[RULES].get(b"show") == AreaRules(Hold(60, 60), status=Status.CANCELLED, revision=2).encoded()


def test_an_area_goes_by_what_its_event_was_told_before_it_was_announced() -> None:
    role = Role()
    announced = announce(role)
    move(role, ask(role, asked(status=Status.PAUSED)))

    move(role, announced)

    assert role.reserve(reserve_seat("r1")) == [refused_by_rule(b"r1", SALE_PAUSED)]


def test_all_areas_of_an_event_go_by_the_same_rules_and_those_of_others_by_theirs() -> None:
    role = Role()
    for area in ("A", "B"):
        role.open(1, 2, area=area)
    role.run((topics.AREA_REPARTITION, [(b"other#A", area_status(1, 2, event="other"))]))

    tell(role, AreaRules(status=Status.PAUSED))
    role.open(1, 2, area="C")

    for area in ("A", "B", "C"):
        command = reserve_seat(f"r{area}", area=area)
        assert role.reserve(command, area=area) == [refused_by_rule(f"r{area}".encode(), SALE_PAUSED)]
    sold = role.run((topics.RESERVE_SEAT, [(b"other#A", reserve_seat("r2", event="other"))]))
    assert [(b"r2", success("r2", [(0, 0)]))] in sold.values()


@pytest.mark.parametrize("opened", [False, True])
def test_first_rules_of_an_event_that_was_announced_without_any_hold_in_the_areas_that_it_had(*, opened: bool) -> None:
    role = Role()
    first = announce(role)
    if opened:
        move(role, first)
    more = announce(role, hold_seconds=60, hold_seconds_max=90, areas=(Area("B", 10, 1, 2),))

    assert more[RULED][0] == (b"show", AreaRules(Hold(60, 90)).encoded())
    move(role, more)
    if not opened:
        move(role, first)

    assert role.reserve(reserve_seat("r1")) == [success("r1", [(0, 0)], (60, 90))]


def test_rules_that_are_older_than_those_of_the_area_change_nothing() -> None:
    role = Role()
    role.open(1, 2)
    tell(role, AreaRules(status=Status.PAUSED, revision=3))

    tell(role, AreaRules(revision=2))

    assert role.reserve(reserve_seat("r1")) == [refused_by_rule(b"r1", SALE_PAUSED)]
    assert role.overlays[RULES].get(b"show") == AreaRules(status=Status.PAUSED, revision=3).encoded()


def test_a_resumed_sale_goes_on() -> None:
    role = Role()
    role.open(1, 1)
    tell(role, AreaRules(status=Status.PAUSED, revision=1))
    tell(role, AreaRules(revision=2))

    assert sorted(role.reserve(reserve_seat("r1"), reserve_seat("r2"))) == sorted(
        [success("r1", [(0, 0)]), failure("r2", "NOT_AVAILABLE", "no continuous 1 seats at area A in event show")]
    )


def test_a_command_in_its_second_form_that_can_t_be_written_is_answered() -> None:
    role, outputs = Role(), Outputs()

    role.processor.give_up(topics.RESERVE_SEAT.name, (b"show#A", reserve("r1", 3)), role.overlays, outputs)

    assert sum(map(len, outputs.values())) == 1


def test_a_budget_is_spent_when_it_is() -> None:
    budget = Budget(10)
    assert not budget.is_spent
    budget.written_bytes = 10
    assert budget.is_spent


def test_a_status_is_not_written_because_rules_are() -> None:
    role = Role()
    role.open(1, 2)

    assert STATUSES not in tell(role, AreaRules(status=Status.PAUSED))
    assert role.status() == area_status(1, 2)
