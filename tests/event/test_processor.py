"""The event role's decisions, driven record by record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.event.role import PARTITION, PARTITIONS, STATUSES, STORES, Role, objection, tables_of
from tests.support.records import Seat, area_status, create_event, failure, reserve_seat, success
from tests.support.stores import done, write
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Batch, Pair, TopicPartition
from ticketmaster.event.kept_rules import KeptRules
from ticketmaster.event.processor import EventProcessor, LiveArea, event_topology
from ticketmaster.event.stores import AREAS, HOLDERS
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.state.port import Update
from ticketmaster.streams.task import Task
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import avro, topics
from ticketmaster.wire.holders import read_holder
from ticketmaster.wire.reservations import read_reserve


def test_an_announced_event_is_sent_area_by_area_to_where_each_lives() -> None:
    role = Role()

    outputs = role.run((topics.CREATE_EVENT, [(b"show", create_event("show", [("A", 1_200, 3, 4), ("B", 80, 1, 2)]))]))

    expected = {
        TopicPartition(topics.AREA_REPARTITION.name, partition_of(b"show#A", 20)): [(b"show#A", area_status(3, 4, price=1_200))],
        TopicPartition(topics.AREA_REPARTITION.name, partition_of(b"show#B", 20)): [(b"show#B", area_status(1, 2, price=80, area="B"))],
    }
    assert outputs == expected
    assert len(expected) == 2
    assert role.overlay.get(b"show#A") is None


def test_an_announced_area_appears_in_the_store_and_in_its_topic() -> None:
    role = Role()

    outputs = role.run((topics.AREA_REPARTITION, [(b"show#A", area_status(3, 4))]))

    assert outputs == {STATUSES: [(b"show#A", area_status(3, 4))]}
    assert role.status() == area_status(3, 4)


@pytest.mark.parametrize("again", [area_status(2, 2), area_status(1, 1), area_status(9, 9), area_status(2, 2, price=99)])
@pytest.mark.parametrize("restarted", [False, True])
def test_an_event_that_is_created_again_changes_nothing(again: bytes, *, restarted: bool) -> None:
    role = Role()
    role.open(2, 2)
    role.reserve(reserve_seat("r1", count=2))
    if restarted:
        role.processor = EventProcessor(PARTITION, PARTITIONS)

    outputs = role.run((topics.AREA_REPARTITION, [(b"show#A", again), (b"show#A", again)]))

    assert outputs == {}
    assert role.status() == area_status(2, 2, {(0, 0), (0, 1)})
    assert role.reserve(reserve_seat("r2", "SELF_PICK", 1, [(0, 0)])) == [failure("r2", "NOT_AVAILABLE", "show#A (0, 0) is unavailable.")]


def test_a_changed_event_may_add_an_area_and_keeps_what_was_sold() -> None:
    role = Role()
    role.open(1, 2)
    role.reserve(reserve_seat("r1"))

    outputs = role.run((topics.AREA_REPARTITION, [(b"show#A", area_status(1, 2)), (b"show#B", area_status(5, 5, area="B"))]))

    assert outputs == {STATUSES: [(b"show#B", area_status(5, 5, area="B"))]}
    assert role.status("A") == area_status(1, 2, {(0, 0)})
    assert role.status("B") == area_status(5, 5, area="B")


def in_transactions(topic: topics.Topic, records: list[Pair], bytes_max: int, areas: Sequence[Pair] = ()) -> list[Outputs]:
    """What a task writes that works records off in transactions of about so many bytes; ``areas`` are there before."""
    task, stores = Task(event_topology(1, bytes_max), 0), MemoryStores()
    write(stores, {AREAS: Update(dict(areas), 1)})
    task.start(Overlays(stores, STORES))
    task.queue(Batch(TopicPartition(topic.name, 0), records, range(len(records)), len(records), 0))
    found = []
    while task.queued_records:
        plan = task.decide(5_000)
        found.append(plan.outputs)
        task.committed({})
    return found


def test_a_sale_of_large_areas_is_made_in_transactions_of_bounded_bytes() -> None:
    areas: list[Pair] = [(f"show#A{number}".encode(), area_status(10, 10, area=f"A{number}")) for number in range(40)]
    commands: list[Pair] = [(areas[number % 40][0], reserve_seat(f"r{number}")) for number in range(120)]
    large = len(areas[0][1] or b"")

    sold = in_transactions(topics.RESERVE_SEAT, commands, 10 * large, areas)

    results = [key for outputs in sold for key, _ in outputs[TopicPartition(topics.RESERVATION_RESULT.name, 0)]]
    assert results == [f"r{number}".encode() for number in range(120)]
    for outputs in sold:
        of_areas = [outputs[TopicPartition(topic.name, 0)] for topic in (topics.AREA_STATUS, topics.AREA_CHANGELOG)]
        assert sum(len(value or b"") for records in of_areas for _, value in records) <= 12 * large
    # Commands to an area that is changed already cost no more bytes.
    hot: list[Pair] = [(areas[0][0], reserve_seat(f"h{number}")) for number in range(100)]
    assert len(in_transactions(topics.RESERVE_SEAT, hot, 10 * large, areas)) == 1


def test_a_large_event_comes_to_be_in_transactions_of_bounded_bytes_and_whole() -> None:
    areas = [(f"A{number}", number, 10, 10) for number in range(100)]
    other: Pair = (b"other", create_event("other", [("B", 1, 1, 1)]))

    announced = in_transactions(topics.CREATE_EVENT, [(b"show", create_event("show", areas)), other], 2_000)
    sent = [record for outputs in announced for record in outputs[TopicPartition(topics.AREA_REPARTITION.name, 0)]]
    opened = in_transactions(topics.AREA_REPARTITION, sent, 2_000)
    statuses = [record for outputs in opened for record in outputs[TopicPartition(topics.AREA_STATUS.name, 0)]]

    expected = [(f"show#{area}".encode(), area_status(rows, cols, price=price, area=area)) for area, price, rows, cols in areas]
    expected.append((b"other#B", area_status(1, 1, price=1, event="other", area="B")))
    assert sent == expected
    assert statuses == expected
    for outputs in (*announced, *opened):
        assert sum(len(value or b"") for records in outputs.values() for _, value in records) <= 2_000 + 2 * len(sent[0][1] or b"")
    assert len(announced) < 25
    assert len(opened) < 50


def test_results_go_to_the_partition_of_their_reservation() -> None:
    role = Role()
    role.open(2, 2)
    ids = [f"51998dfc-abe9-4429-bce7-255ede8d55{number:02}" for number in range(6)]

    outputs = role.run((topics.RESERVE_SEAT, [(b"show#A", reserve_seat(reservation_id)) for reservation_id in ids[:4]]))

    for number, reservation_id in enumerate(ids[:4]):
        source = TopicPartition(topics.RESERVATION_RESULT.name, partition_of(reservation_id.encode(), PARTITIONS))
        assert (reservation_id.encode(), success(reservation_id, [divmod(number, 2)])) in outputs[source]


@pytest.mark.parametrize(
    ("command", "seats"),
    [
        (reserve_seat("r", count=2), [(1, 1), (1, 2)]),
        (reserve_seat("r", count=3), [(2, 0), (2, 1), (2, 2)]),
        # The seats of RANDOM and the count of SELF_PICK mean nothing.
        (reserve_seat("r", count=1, seats=[(2, 2)]), [(0, 2)]),
        (reserve_seat("r", "SELF_PICK", 99, [(2, 1)]), [(2, 1)]),
        # The order of the seats is the client's.
        (reserve_seat("r", "SELF_PICK", 2, [(2, 2), (1, 1)]), [(2, 2), (1, 1)]),
    ],
)
def test_seats_are_given_away(command: bytes, seats: list[Seat]) -> None:
    role = Role()
    role.open(3, 3)
    taken = {(0, 0), (0, 1), (1, 0)}
    role.reserve(reserve_seat("before", "SELF_PICK", 3, sorted(taken)))

    assert role.reserve(command) == [success("r", seats)]
    assert role.status() == area_status(3, 3, taken | set(seats))


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (reserve_seat("r", count=0), "INVALID_ARGUMENT", "0 continuous seats is invalid"),
        (reserve_seat("r", count=-1), "INVALID_ARGUMENT", "-1 continuous seats is invalid"),
        (reserve_seat("r", count=3), "NOT_AVAILABLE", "no continuous 3 seats at area A in event show"),
        (reserve_seat("r", count=4), "NOT_AVAILABLE", "no continuous 4 seats at area A in event show"),
        (reserve_seat("r", "SELF_PICK", 1, [(1, 1), (0, 0)]), "NOT_AVAILABLE", "show#A (0, 0) is unavailable."),
        (reserve_seat("r", "SELF_PICK", 1, [(1, 1), (2, 0)]), "INVALID_SEAT", "show#A (2, 0) is not a valid seat."),
        (reserve_seat("r", "SELF_PICK", 1, [(-1, 0)]), "INVALID_SEAT", "show#A (-1, 0) is not a valid seat."),
        (reserve_seat("r", "SELF_PICK", 1, []), "INVALID_ARGUMENT", "no seat was picked"),
        (reserve_seat("r", "SELF_PICK", 2, [(1, 1), (1, 1)]), "INVALID_ARGUMENT", "a seat was picked twice"),
        (reserve_seat("r", "INVALID", 1), "INVALID_ARGUMENT", "INVALID reservation strategy is not implemented"),
    ],
)
def test_a_refusal_has_its_code_and_message_and_writes_no_status(command: bytes, code: str, message: str) -> None:
    role = Role()
    role.open(2, 3)
    role.reserve(reserve_seat("before", "SELF_PICK", 2, [(0, 0), (1, 2)]))

    outputs = role.run((topics.RESERVE_SEAT, [(b"show#A", command)]))

    assert [record for records in outputs.values() for record in records] == [(b"r", failure("r", code, message))]
    assert STATUSES not in outputs
    assert role.status() == area_status(2, 3, {(0, 0), (1, 2)})


def test_an_area_that_nobody_created_refuses() -> None:
    role = Role()

    assert role.reserve(reserve_seat("r", area="Z"), area="Z") == [failure("r", "INVALID_EVENT_AREA", "show#Z event area does not exist")]
    assert role.status("Z") is None


def test_a_refused_area_may_be_created_later() -> None:
    role = Role()
    role.reserve(reserve_seat("r1"))
    role.open(1, 1)

    assert role.reserve(reserve_seat("r2")) == [success("r2", [(0, 0)])]


def test_tombstones_are_ignored() -> None:
    role = Role()
    role.open(2, 2)

    for topic in (topics.CREATE_EVENT, topics.AREA_REPARTITION, topics.RESERVE_SEAT):
        assert role.run((topic, [(b"show#A", None)])) == {}
    assert role.status() == area_status(2, 2)


def test_a_transaction_writes_each_changed_area_once_as_it_is_at_its_end() -> None:
    role = Role()
    role.open(2, 2)
    role.open(1, 1, "B")

    outputs = role.run(
        (topics.RESERVE_SEAT, [(b"show#A", reserve_seat("r1")), (b"show#B", reserve_seat("r2", area="B"))]),
        (topics.AREA_REPARTITION, [(b"show#C", area_status(1, 2, area="C"))]),
        (topics.RESERVE_SEAT, [(b"show#A", reserve_seat("r3")), (b"show#C", reserve_seat("r4", area="C"))]),
    )

    statuses = outputs[STATUSES]
    assert sorted(statuses) == [
        (b"show#A", area_status(2, 2, {(0, 0), (0, 1)})),
        (b"show#B", area_status(1, 1, {(0, 0)}, area="B")),
        (b"show#C", area_status(1, 2, {(0, 0)}, area="C")),
    ]
    assert {key: role.overlay.get(key) for key, _ in statuses} == dict(statuses)


def test_a_transaction_that_changes_nothing_writes_nothing() -> None:
    role = Role()
    role.open(1, 1)

    assert role.run() == {}


def test_what_is_not_committed_is_not_sold() -> None:
    role = Role()
    role.open(1, 2)
    outputs = Outputs()
    role.processor.process(topics.RESERVE_SEAT.name, [(b"show#A", reserve_seat("r1"))], role.overlays, outputs)
    role.processor.end_transaction(role.overlays, outputs)
    for overlay in role.overlays.values():
        overlay.forget_open()

    role.processor = EventProcessor(PARTITION, PARTITIONS)

    assert role.reserve(reserve_seat("r2")) == [success("r2", [(0, 0)])]


def cached(role: Role) -> list[bytes]:
    """The areas that the processor holds in memory, the least recently changed first."""
    return list(role.processor._areas)


def test_an_area_releases_those_seats_that_it_has_and_that_are_taken() -> None:
    area = LiveArea(b"show#A", area_status(2, 3, {(0, 0), (0, 1), (1, 2)}), KeptRules())

    released = area.release([(0, 1), (0, 2), (1, 2), (0, 1), (2, 0), (0, 3), (-1, 0)])

    assert released == [(0, 1), (1, 2)]
    assert area.seats.available == area.seats.count_free() == 5
    assert area.image.value(5) == area_status(2, 3, {(0, 0)})
    assert area.release(released) == []


def test_a_released_seat_is_given_away_again() -> None:
    area = LiveArea(b"show#A", area_status(2, 2), KeptRules())
    commands = [reserve_seat(f"r{number}", count=2) for number in range(4)]
    first, second, refused, again = ((command, read_reserve(command)) for command in commands)
    assert area.reserve(*first) == (success("r0", [(0, 0), (0, 1)]), True)
    assert area.reserve(*second) == (success("r1", [(1, 0), (1, 1)]), True)
    assert area.reserve(*refused)[1] is False

    area.release([(1, 0), (1, 1)])

    assert area.reserve(*again) == (success("r3", [(1, 0), (1, 1)]), True)


def test_the_least_recently_changed_areas_leave_memory_and_lose_nothing() -> None:
    size = len(area_status(2, 2)) + 2 * 3
    role = Role(cached_bytes_max=2 * size)
    for area in "ABC":
        role.open(2, 2, area)

    assert cached(role) == [b"show#B", b"show#C"]
    assert role.reserve(reserve_seat("r1", area="A"), area="A") == [success("r1", [(0, 0)])]
    assert cached(role) == [b"show#C", b"show#A"]
    assert role.reserve(reserve_seat("r2", area="C"), area="C") == [success("r2", [(0, 0)])]
    assert cached(role) == [b"show#A", b"show#C"]
    assert role.reserve(reserve_seat("r3", area="B"), area="B") == [success("r3", [(0, 0)])]
    assert role.reserve(reserve_seat("r4", area="A"), area="A") == [success("r4", [(0, 1)])]
    assert role.status("A") == area_status(2, 2, {(0, 0), (0, 1)})


def test_an_area_larger_than_the_cache_is_held_while_it_is_the_last_one() -> None:
    role = Role(cached_bytes_max=1)
    role.open(9, 9)

    assert cached(role) == [b"show#A"]
    assert role.reserve(reserve_seat("r1"), reserve_seat("r2")) == [success("r1", [(0, 0)]), success("r2", [(0, 1)])]


def test_areas_that_only_refuse_leave_memory_too() -> None:
    role = Role(cached_bytes_max=1)
    for area in "ABC":
        role.open(1, 1, area)

    for area in "ABC":
        role.reserve(reserve_seat(f"r-{area}", count=2, area=area), area=area)

    assert cached(role) == [b"show#C"]


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.sampled_from(["RANDOM", "SELF_PICK"]),
        st.integers(0, 4),
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=3),
    ),
    max_size=30,
)


@given(commands=COMMANDS, sizes=st.lists(st.integers(1, 5), min_size=30, max_size=30))
@settings(max_examples=40)
def test_neither_cache_nor_restart_nor_batch_size_changes_a_decision(commands: list[Any], sizes: list[int]) -> None:
    plain, tight = Role(), Role(cached_bytes_max=1)
    for role in (plain, tight):
        for area in "ABC":
            role.open(3, 3, area)
    records: list[Pair] = [
        (f"show#{area}".encode(), reserve_seat(f"r{number}", kind, count, seats, area=area))
        for number, (area, kind, count, seats) in enumerate(commands)
    ]

    at_once = plain.run((topics.RESERVE_SEAT, records))
    results = [record for source, written in at_once.items() if source != STATUSES for record in written]
    in_parts: list[Pair] = []
    while records:
        size = sizes.pop()
        part, records = records[:size], records[size:]
        for source, written in tight.run((topics.RESERVE_SEAT, part)).items():
            if source != STATUSES:
                in_parts += written
        tight.processor = EventProcessor(PARTITION, PARTITIONS, 1) if size == 1 else tight.processor

    assert sorted(results, key=lambda record: record[0]) == sorted(in_parts, key=lambda record: record[0])
    assert [plain.status(area) for area in "ABC"] == [tight.status(area) for area in "ABC"]
    given_away: list[tuple[str, int, int]] = []
    for number, (area, *_) in enumerate(commands):
        (value,) = (value for key, value in results if key == f"r{number}".encode())
        assert value is not None
        given_away += [(area, seat["row"], seat["col"]) for seat in avro.decode("ReservationResult", value)["seats"] or []]
    assert len(set(given_away)) == len(given_away)


def test_the_role_is_what_its_names_say() -> None:
    topology = event_topology(PARTITIONS)

    assert topology.application_id == "event-service"
    # Those of the original first, then those that it does not have.
    assert topology.sources == (
        topics.CREATE_EVENT.name,
        topics.AREA_REPARTITION.name,
        topics.RESERVE_SEAT.name,
        topics.RELEASE_SEATS.name,
        topics.RULED_AREA_REPARTITION.name,
        topics.CHANGE_EVENT.name,
    )
    assert topology.stores == (
        ("AreaStatus", "event-service-AreaStatus-changelog"),
        ("Holder", "event-service-Holder-changelog"),
        ("AreaRules", "event-service-AreaRules-changelog"),
        ("Event", "state.event"),
    )
    assert isinstance(topology.new_processor(0), EventProcessor)
    assert topology.new_processor(0) is not topology.new_processor(0)


@pytest.mark.parametrize("topic", [topics.CREATE_EVENT, topics.AREA_REPARTITION, topics.RESERVE_SEAT])
@pytest.mark.parametrize("rubbish", [b"", b"\x00", b"rubbish", b"\x00\x00\x00\x00\x63" + reserve_seat("r0")[5:], reserve_seat("r0")[:-1]])
def test_a_record_that_cant_be_read_is_rejected_and_changes_nothing(topic: topics.Topic, rubbish: bytes) -> None:
    role = Role()
    role.open(1, 3)
    before = role.status()

    outputs = role.run((topic, [(b"show#A", None), (b"show#new", rubbish)]))

    assert outputs == {}
    assert [at for at, _ in outputs.rejected] == [1]
    assert role.status() == before
    assert role.status("new") is None


def test_records_beside_rubbish_are_worked_on() -> None:
    role = Role()
    role.open(1, 3)

    results = role.reserve(reserve_seat("r1"), b"rubbish", reserve_seat("r2"))

    assert results == [success("r1", [(0, 0)]), success("r2", [(0, 1)])]


def test_a_command_for_an_area_whose_state_cant_be_read_is_put_aside_and_answered() -> None:
    role = Role()
    role.overlay.put(b"show#A", b"rubbish")

    outputs = role.run((topics.RESERVE_SEAT, [(b"show#A", reserve_seat("r1"))]))

    ((at, reason),) = outputs.rejected
    assert at == 0
    assert "the state of its area can't be read" in reason
    results = [record for source, records in outputs.items() if source.topic == topics.RESERVATION_RESULT.name for record in records]
    assert results == [(b"r1", failure("r1", "INTERNAL_ERROR", "the area's state can't be read"))]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("command", [reserve_seat("r1", count=2), reserve_seat("r1", "SELF_PICK", 1, [(1, 1)])])
def test_a_command_that_comes_again_is_answered_as_it_was_and_takes_nothing(command: bytes, *, restarted: bool) -> None:
    role = Role()
    role.open(2, 2)
    first = role.reserve(command)
    before = role.status()
    if restarted:
        role.processor = EventProcessor(PARTITION, PARTITIONS)

    outputs = role.run((topics.RESERVE_SEAT, [(b"show#A", command), (b"show#A", command)]))

    assert [value for records in outputs.values() for _, value in records] == first * 2
    assert role.status() == before
    assert role.overlays[HOLDERS].open_writes == {}


def test_a_command_that_was_refused_for_an_unknown_area_stays_refused_when_that_is_announced() -> None:
    role = Role()
    (refused,) = role.reserve(reserve_seat("r1"))
    role.open(1, 1)

    assert role.reserve(reserve_seat("r1")) == [refused]
    assert role.status() == area_status(1, 1)


def test_a_refusal_that_comes_again_names_the_same_seat() -> None:
    role = Role()
    role.open(1, 3)
    role.reserve(reserve_seat("r1", "SELF_PICK", 1, [(0, 1)]))
    (refused,) = role.reserve(reserve_seat("r2", "SELF_PICK", 2, [(0, 0), (0, 1)]))
    role.reserve(reserve_seat("r3", "SELF_PICK", 1, [(0, 0)]))

    assert role.reserve(reserve_seat("r2", "SELF_PICK", 2, [(0, 0), (0, 1)])) == [refused]


def test_the_holder_of_seats_is_known() -> None:
    role = Role()
    role.open(2, 2)
    role.reserve(reserve_seat("r1", count=2), reserve_seat("r2", count=3), reserve_seat("r3", "SELF_PICK", 1, [(1, 0)]))

    held = {key: read_holder(key, value) for key, value in role.overlays[HOLDERS]._newer.items() if value is not None}
    seats = {b"r1": [(0, 0), (0, 1)], b"r2": [], b"r3": [(1, 0)]}
    assert held == {key: (b"show", b"A", held_seats) for key, held_seats in seats.items()}


def test_a_command_whose_holder_cant_be_read_is_put_aside() -> None:
    role = Role()
    role.open(1, 1)
    role.overlays[HOLDERS].put(b"r1", b"rubbish")

    outputs = role.run((topics.RESERVE_SEAT, [(b"show#A", reserve_seat("r1"))]))

    assert [at for at, _ in outputs.rejected] == [0]
    assert role.status() == area_status(1, 1)


def test_commands_may_be_read_again_where_every_taken_seat_has_its_holder() -> None:
    role = Role()
    role.open(2, 2)
    role.reserve(reserve_seat("r1", count=2))
    done(role.overlays.writing_behind())
    done(role.overlays.writing_behind())
    sources = [topics.RESERVE_SEAT.name]

    assert objection(tables_of(role.overlays), sources) == ""
    stores = MemoryStores()
    write(stores, {AREAS: Update({b"show#A": area_status(2, 2, {(0, 0), (0, 1), (1, 1)})}, 1)})
    unheld = Overlays(stores, STORES)
    assert "3 of 3 taken seats have no known holder" in objection(tables_of(unheld), sources)
    assert "ticketmaster topics refill" in objection(tables_of(unheld), sources)
    assert objection(tables_of(unheld), [topics.AREA_REPARTITION.name]) == ""


def test_a_command_whose_area_cant_be_written_is_answered_when_it_is_given_up() -> None:
    role, outputs = Role(), Outputs()
    for topic in (topics.CREATE_EVENT, topics.AREA_REPARTITION, topics.RESERVE_SEAT):
        for value in (None, b"rubbish"):
            role.processor.give_up(topic.name, (b"show#A", value), role.overlays, outputs)
    assert outputs == {}
    role.processor.give_up(topics.RESERVE_SEAT.name, (b"show#A", reserve_seat("r1")), role.overlays, outputs)

    ((record,),) = outputs.values()
    assert record == (b"r1", failure("r1", "INTERNAL_ERROR", "the area's new state can't be written"))


def test_a_command_whose_key_is_no_text_is_rejected() -> None:
    outputs = Role().run((topics.RESERVE_SEAT, [(b"\xff", reserve_seat("r1"))]))

    assert [at for at, _ in outputs.rejected] == [0]
