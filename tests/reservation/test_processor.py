"""The reservation role's decisions, driven record by record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.records import area_status, create_reservation, failure, reserve_seat, success
from tests.support.role import Role
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import ReservationProcessor, reservation_topology
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import avro, topics
from ticketmaster.wire.registry import SCHEMA_IDS, frame

PARTITION, PARTITIONS = 7, 20
KEY = b"51998dfc-abe9-4429-bce7-255ede8d55db"
ID = KEY.decode()
DECISIONS = TopicPartition(topics.USER_RESERVATION.name, PARTITION)
COMMANDS = TopicPartition(topics.RESERVE_SEAT.name, partition_of(b"show#A", PARTITIONS))


@pytest.fixture
def areas() -> AreaCache:
    """What the filter knows: nothing yet."""
    return AreaCache(PARTITIONS, lambda: True)


@pytest.fixture
def role(areas: AreaCache) -> Role:
    """A task of the reservation role."""
    return Role(reservation_topology(PARTITIONS, areas), PARTITION)


def reservation(create: bytes, state: str, reason: str = "", **changed: object) -> bytes:
    """The ``Reservation`` that a command has become."""
    fields = avro.decode("CreateReservation", create) | {"reservationId": ID, "state": state, "failedReason": reason} | changed
    return avro.encode("Reservation", fields)


@pytest.mark.parametrize("known", [False, True])
def test_a_command_is_passed_on_to_the_areas_partition(role: Role, areas: AreaCache, *, known: bool) -> None:
    if known:
        areas.apply([(b"show#A", area_status(2, 2))])
    create = create_reservation(count=2)

    outputs = role.run(topics.CREATE_RESERVATION, [(KEY, create)])

    assert outputs == {COMMANDS: [(b"show#A", reserve_seat(ID, count=2))]}
    assert role.overlay.get(KEY) == reservation(create, "PROCESSING")


def test_the_seats_that_are_chosen_are_passed_on_in_their_order(role: Role) -> None:
    outputs = role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation("SELF_PICK", 2, [(9, 300), (0, 1)]))])

    assert outputs == {COMMANDS: [(b"show#A", reserve_seat(ID, "SELF_PICK", 2, [(9, 300), (0, 1)]))]}


@pytest.mark.parametrize(
    "create",
    [
        create_reservation(count=2),
        create_reservation(count=3),
        create_reservation("SELF_PICK", 1, [(0, 0)]),
        create_reservation("SELF_PICK", 1, [(1, 0)]),
    ],
)
def test_what_the_area_can_not_serve_fails_at_once(role: Role, areas: AreaCache, create: bytes) -> None:
    areas.apply([(b"show#A", area_status(1, 2, {(0, 0)}))])

    outputs = role.run(topics.CREATE_RESERVATION, [(KEY, create)])

    failed = reservation(create, "FAILED", "request rejected at cache level")
    assert outputs == {DECISIONS: [(KEY, failed)]}
    assert role.overlay.get(KEY) == failed


@pytest.mark.parametrize("create", [create_reservation(count=2), create_reservation("SELF_PICK", 1, [(0, 0)])])
def test_where_the_filter_may_be_behind_the_area_is_asked_itself(create: bytes) -> None:
    fresh = [False]
    areas = AreaCache(PARTITIONS, lambda: fresh[-1])
    role = Role(reservation_topology(PARTITIONS, areas), PARTITION)
    areas.apply([(b"show#A", area_status(1, 2, {(0, 0)}))])

    asked = role.run(topics.CREATE_RESERVATION, [(KEY, create)])

    assert [(source, [key for key, _ in records]) for source, records in asked.items()] == [(COMMANDS, [b"show#A"])]
    assert role.overlay.get(KEY) == reservation(create, "PROCESSING")
    fresh.append(True)
    assert list(role.run(topics.CREATE_RESERVATION, [(KEY[:-1] + b"0", create)])) == [DECISIONS]


@pytest.mark.parametrize("known", [False, True])
def test_a_type_that_is_neither_fails_at_once(role: Role, areas: AreaCache, *, known: bool) -> None:
    if known:
        areas.apply([(b"show#A", area_status(1, 2))])
    create = create_reservation("INVALID")

    outputs = role.run(topics.CREATE_RESERVATION, [(KEY, create)])

    assert outputs == {DECISIONS: [(KEY, reservation(create, "FAILED", "INVALID type reservation is not supported"))]}


def test_a_repeated_command_is_not_asked_again(role: Role) -> None:
    create = create_reservation()

    outputs = role.run(topics.CREATE_RESERVATION, [(KEY, create), (KEY, create), (KEY, create_reservation(count=9))])

    assert outputs == {COMMANDS: [(b"show#A", reserve_seat(ID))]}
    assert role.run(topics.CREATE_RESERVATION, [(KEY, create)]) == {}


def test_a_command_that_is_repeated_after_its_decision_changes_nothing(role: Role) -> None:
    create = create_reservation()
    role.run(topics.CREATE_RESERVATION, [(KEY, create)])
    role.run(topics.RESERVATION_RESULT, [(KEY, success(ID, [(0, 0)]))])

    assert role.run(topics.CREATE_RESERVATION, [(KEY, create)]) == {}
    assert role.overlay.get(KEY) == reservation(create, "RESERVED", seats=[{"row": 0, "col": 0}])


def test_a_success_reserves(role: Role) -> None:
    create = create_reservation(count=2)
    role.run(topics.CREATE_RESERVATION, [(KEY, create)])

    outputs = role.run(topics.RESERVATION_RESULT, [(KEY, success(ID, [(3, 4), (3, 5)]))])

    reserved = reservation(create, "RESERVED", seats=[{"row": 3, "col": 4}, {"row": 3, "col": 5}])
    assert outputs == {DECISIONS: [(KEY, reserved)]}
    assert role.overlay.get(KEY) == reserved


def test_a_refusal_fails_with_its_reason(role: Role) -> None:
    create = create_reservation(area="Z")
    role.run(topics.CREATE_RESERVATION, [(KEY, create)])

    outputs = role.run(topics.RESERVATION_RESULT, [(KEY, failure(ID, "INVALID_EVENT_AREA", "show#Z event area does not exist"))])

    failed = reservation(create, "FAILED", "[INVALID_EVENT_AREA]: show#Z event area does not exist")
    assert outputs == {DECISIONS: [(KEY, failed)]}


def test_the_first_result_is_final(role: Role) -> None:
    create = create_reservation()
    role.run(topics.CREATE_RESERVATION, [(KEY, create)])
    results: list[Pair] = [(KEY, success(ID, [(0, 0)])), (KEY, success(ID, [(0, 1)])), (KEY, failure(ID, "NOT_AVAILABLE", "no"))]

    outputs = role.run(topics.RESERVATION_RESULT, results)

    reserved = reservation(create, "RESERVED", seats=[{"row": 0, "col": 0}])
    assert outputs == {DECISIONS: [(KEY, reserved)]}
    assert role.run(topics.RESERVATION_RESULT, results) == {}
    assert role.overlay.get(KEY) == reserved


def test_a_filtered_reservation_takes_no_late_result(role: Role, areas: AreaCache) -> None:
    areas.apply([(b"show#A", area_status(1, 1, {(0, 0)}))])
    role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation())])

    assert role.run(topics.RESERVATION_RESULT, [(KEY, success(ID, [(0, 0)]))]) == {}


def test_a_result_for_an_id_that_nobody_asked_about_is_ignored(role: Role) -> None:
    assert role.run(topics.RESERVATION_RESULT, [(KEY, success(ID, [(0, 0)]))]) == {}
    assert role.overlay.get(KEY) is None


def test_tombstones_are_ignored(role: Role) -> None:
    create = create_reservation()
    role.run(topics.CREATE_RESERVATION, [(KEY, create)])

    assert role.run(topics.CREATE_RESERVATION, [(KEY, None), (b"other", None)]) == {}
    assert role.run(topics.RESERVATION_RESULT, [(KEY, None), (b"other", None)]) == {}
    assert role.overlay.get(KEY) == reservation(create, "PROCESSING")


def test_the_role_is_what_its_names_say(areas: AreaCache) -> None:
    topology = reservation_topology(PARTITIONS, areas)

    assert topology.application_id == "reservation-service"
    assert topology.sources == (
        topics.CREATE_RESERVATION.name,
        topics.RESERVATION_RESULT.name,
        topics.CHANGE_RESERVATION.name,
        topics.CANCEL_EVENT.name,
    )
    assert topology.stores == (
        ("Reservation", "reservation-service-Reservation-changelog"),
        ("Deadline", "reservation-service-Deadline-changelog"),
        ("UserSeats", "reservation-service-UserSeats-changelog"),
    )
    assert isinstance(topology.new_processor(0), ReservationProcessor)


class Sale:
    """Both roles side by side, one task each on one partition; each step is a transaction of each role."""

    def __init__(self) -> None:
        self.areas = AreaCache(1, lambda: True)
        self.reservation = Role(reservation_topology(1, self.areas), 0)
        self.event = Role(event_topology(1), 0)
        self.log: dict[str, list[Pair]] = {}

    def append(self, outputs: Outputs) -> None:
        """Writes what a transaction decided; the filter reads the statuses at once."""
        for source, records in outputs.items():
            self.log.setdefault(source.topic, []).extend(records)
        self.areas.apply(outputs.get(TopicPartition(topics.AREA_STATUS.name, 0), []))

    def create(self, event: bytes) -> None:
        """Announces an event."""
        # When the times of the golden event are past, which then are no window.
        announced = self.event.run(topics.CREATE_EVENT, [(b"", event)], 1_800_000_000_000)
        self.append(announced)
        for records in announced.values():
            self.append(self.event.run(topics.AREA_REPARTITION, records))

    def reserve(self, records: Sequence[Pair]) -> None:
        """Takes commands through both roles to their decisions."""
        asked = self.reservation.run(topics.CREATE_RESERVATION, records)
        self.append(asked)
        decided = self.event.run(topics.RESERVE_SEAT, asked.get(TopicPartition(topics.RESERVE_SEAT.name, 0), []))
        self.append(decided)
        results = decided.get(TopicPartition(topics.RESERVATION_RESULT.name, 0), [])
        self.append(self.reservation.run(topics.RESERVATION_RESULT, results))


def test_a_repeated_command_never_takes_seats_twice() -> None:
    sale = Sale()
    sale.areas.apply([(b"show#A", area_status(3, 3))])
    sale.append(sale.event.run(topics.AREA_REPARTITION, [(b"show#A", area_status(3, 3))]))
    create = create_reservation(count=2)

    for _ in range(3):
        sale.reserve([(KEY, create), (KEY, create)])

    assert sale.event.overlay.get(b"show#A") == area_status(3, 3, {(0, 0), (0, 1)})
    assert len(sale.log[topics.RESERVE_SEAT.name]) == len(sale.log[topics.USER_RESERVATION.name]) == 1


def test_the_golden_commands_lead_to_the_golden_records() -> None:
    golden = json.loads((Path(__file__).parents[1] / "golden.json").read_text(encoding="utf-8"))
    values: dict[str, list[Pair]] = {}
    for record in golden["records"]:
        value = frame(SCHEMA_IDS[record["schema"]]) + bytes.fromhex(record["avro_hex"])
        values.setdefault(record["topic"], []).append((record["key"].encode(), value))
    sale = Sale()
    posted: list[dict[str, Any]] = [exchange for exchange in golden["http"] if exchange["path"].endswith("/reservation")]
    commands = dict(values[topics.CREATE_RESERVATION.name])

    sale.create(values[topics.CREATE_EVENT.name][0][1] or b"")
    for exchange in posted:
        key = exchange["response"].encode()
        sale.reserve([(key, commands[key])])

    assert len(posted) == len(commands) == 15
    for topic in (topics.RESERVE_SEAT, topics.RESERVATION_RESULT, topics.USER_RESERVATION, topics.AREA_STATUS):
        assert sorted(sale.log[topic.name]) == sorted(values[topic.name]), topic.name
    for area in (b"golden#A", b"golden#B"):
        assert [value for key, value in sale.log[topics.AREA_STATUS.name] if key == area] == [
            value for key, value in values[topics.AREA_STATUS.name] if key == area
        ]


@pytest.mark.parametrize("rubbish", [b"", b"\x00", b"rubbish", create_reservation()[:-1], create_reservation() + b"\x00"])
def test_a_command_that_cant_be_read_is_rejected_and_changes_nothing(role: Role, rubbish: bytes) -> None:
    outputs = role.run(topics.CREATE_RESERVATION, [(b"tombstone", None), (KEY, rubbish)])

    assert outputs == {}
    assert [at for at, _ in outputs.rejected] == [1]
    assert role.overlay.get(KEY) is None


@pytest.mark.parametrize("key", [b"", b"\xff"])
def test_a_command_whose_key_can_be_no_id_is_rejected(role: Role, key: bytes) -> None:
    outputs = role.run(topics.CREATE_RESERVATION, [(key, create_reservation())])

    assert outputs == {}
    assert [at for at, _ in outputs.rejected] == [0]


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", success(ID, [(0, 0)])[:-1], success(ID, [(0, 0)]) + b"\x00"])
def test_a_result_that_cant_be_read_is_rejected_and_the_next_one_decides(role: Role, rubbish: bytes) -> None:
    role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation())])

    outputs = role.run(topics.RESERVATION_RESULT, [(KEY, rubbish), (KEY, success(ID, [(0, 0)]))])

    assert [at for at, _ in outputs.rejected] == [0]
    assert outputs == {DECISIONS: [(KEY, reservation(create_reservation(), "RESERVED", seats=[{"row": 0, "col": 0}]))]}


def test_a_result_that_cant_be_read_is_rejected_also_where_nothing_waits_for_one(role: Role) -> None:
    outputs = role.run(topics.RESERVATION_RESULT, [(KEY, b"rubbish"), (KEY, success(ID, [(0, 0)]))])

    assert [at for at, _ in outputs.rejected] == [0]
    assert outputs == {}


@pytest.mark.parametrize("status", [area_status(2, 2)[:12], area_status(2, 2)[:-8]])
def test_an_area_whose_status_cant_be_read_is_asked_itself(role: Role, areas: AreaCache, status: bytes) -> None:
    areas.apply([(b"show#A", status)])

    outputs = role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation(count=9))])

    assert outputs == {COMMANDS: [(b"show#A", reserve_seat(ID, count=9))]}
