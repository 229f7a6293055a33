"""Large areas, whose status is written now and then: what is kept meanwhile, and what becomes of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.event.role import PARTITION, PARTITIONS, STATUSES, Role, objection, tables_of
from tests.support.records import area_status, release_seats, reserve_seat, success
from tests.support.stores import done
from ticketmaster.broker.port import Pair
from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.errors import InvalidRecord
from ticketmaster.event.lagging import Lagging, StatusPace
from ticketmaster.event.processor import EventProcessor
from ticketmaster.event.stores import RULES
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import topics
from ticketmaster.wire.seat_changes import changes_key, encode_changes, read_changes

KEY = b"show#A"
# Each area waits for half a second.
PACE = StatusPace(bytes_min=1, bytes_per_ms=1, rest_ms_max=500)
ROWS, COLS = 10, 20


class Paced(Role):
    """A role with one open area; each call is a transaction at an instant."""

    def __init__(self, pace: StatusPace = PACE, cached_bytes_max: int = 1 << 20) -> None:
        super().__init__()
        self.pace, self.cached_bytes_max = pace, cached_bytes_max
        self.restart()
        self.at(0, (topics.AREA_REPARTITION, [(KEY, area_status(ROWS, COLS))]))

    def restart(self) -> None:
        """A successor, on what is stored."""
        done(self.overlays.writing_all())
        self.processor = EventProcessor(PARTITION, PARTITIONS, self.cached_bytes_max, status_pace=self.pace)
        done(self.processor.restored({name: overlay.table for name, overlay in self.overlays.items()}))

    def at(self, now_ms: int, *batches: tuple[topics.Topic, Sequence[Pair]]) -> Outputs:
        outputs = Outputs()
        for topic, records in batches:
            outputs.time_ms = now_ms
            self.processor.process(topic.name, records, self.overlays, outputs)
        if not batches:
            self.processor.on_time(now_ms, self.overlays, outputs)
        self.processor.end_transaction(self.overlays, outputs)
        return self._task.commit(outputs)

    def buys(self, now_ms: int, name: str, area: str = "A") -> bool:
        """Buys two seats; whether the status is told with them."""
        outputs = self.at(now_ms, (topics.RESERVE_SEAT, [(f"show#{area}".encode(), reserve_seat(name, count=2))]))
        return STATUSES in outputs

    @property
    def changes(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]] | None:
        value = self.overlays[RULES].get(changes_key(KEY))
        return None if value is None else read_changes(value)


def taken(*pairs: int) -> set[tuple[int, int]]:
    return {(0, col) for pair in pairs for col in (2 * pair, 2 * pair + 1)}


def test_a_status_that_is_due_is_written_though_records_leave_no_room_for_it() -> None:
    role = Paced()
    role.at(0, (topics.AREA_REPARTITION, [(b"show#B", area_status(ROWS, COLS, area="B"))]))
    assert not role.buys(10, "one")
    # Whatever comes spends all of it.
    role.processor._budget.bytes_max = 1

    outputs = Outputs()
    outputs.time_ms = 600
    role.processor.process(topics.RESERVE_SEAT.name, [(b"show#B", reserve_seat("two", count=2))], role.overlays, outputs)
    role.processor.on_time(600, role.overlays, outputs)
    role.processor.end_transaction(role.overlays, outputs)

    assert {key for key, _ in outputs[STATUSES]} == {b"show#A", b"show#B"}
    assert role.changes is None


def test_the_status_of_a_large_area_is_written_at_first_and_then_once_in_a_while() -> None:
    role = Paced()

    assert not role.buys(100, "r0")
    assert not role.buys(499, "r1")
    assert role.status() == area_status(ROWS, COLS)
    assert role.changes == (sorted(taken(0, 1)), [])
    assert role.processor.deadline_ms == 500
    assert role.buys(500, "r2")
    assert role.status() == area_status(ROWS, COLS, taken(0, 1, 2))
    assert role.changes is None
    assert role.processor.deadline_ms is None


def test_a_status_that_is_behind_is_told_when_nothing_follows() -> None:
    role = Paced()
    role.buys(100, "r0")

    assert STATUSES not in role.at(499)
    assert role.at(500) == {STATUSES: [(KEY, area_status(ROWS, COLS, taken(0)))]}
    assert role.status() == area_status(ROWS, COLS, taken(0))
    assert (role.changes, role.processor.deadline_ms) == (None, None)
    assert role.buys(9_000, "r1")


def test_records_that_are_a_little_older_than_a_deadline_wait_as_well() -> None:
    role = Paced()
    role.buys(100, "r0")
    role.at(500)

    assert not role.buys(450, "r1")
    assert role.processor.deadline_ms == 1_000


def test_a_small_area_is_written_with_each_change() -> None:
    role = Paced(StatusPace())

    assert role.buys(100, "r0")
    assert role.buys(100, "r1")
    assert role.changes is None


def test_records_whose_time_goes_back_do_not_hold_a_status_up() -> None:
    role = Paced()

    assert role.buys(10_000_000, "r0")
    assert role.buys(100, "r1")
    assert not role.buys(200, "r2")


@pytest.mark.parametrize("cached_bytes_max", [1 << 20, 1])
def test_a_successor_goes_on_with_what_has_changed_and_tells_it_at_once(cached_bytes_max: int) -> None:
    role = Paced(cached_bytes_max=cached_bytes_max)
    role.buys(100, "r0")
    role.buys(200, "r1")

    role.restart()

    assert role.processor.deadline_ms == 0
    assert role.at(300) == {STATUSES: [(KEY, area_status(ROWS, COLS, taken(0, 1)))]}
    assert role.changes is None
    role.restart()
    assert role.processor.deadline_ms is None
    assert role.reserve(reserve_seat("r2", count=2)) == [success("r2", sorted(taken(2)))]


def test_a_successor_gives_no_seat_twice_before_it_has_told_the_status() -> None:
    role = Paced()
    role.buys(100, "r0")
    role.restart()

    assert role.buys(100, "r1")
    assert role.status() == area_status(ROWS, COLS, taken(0, 1))


def test_seats_that_come_back_meanwhile_are_free_for_a_successor() -> None:
    role = Paced()
    role.buys(600, "r0")
    role.buys(700, "r1")
    role.at(800, (topics.RELEASE_SEATS, [(KEY, release_seats("r0", sorted(taken(0))))]))
    assert role.changes == (sorted(taken(1)), sorted(taken(0)))

    role.restart()

    assert role.at(900) == {STATUSES: [(KEY, area_status(ROWS, COLS, taken(1)))]}


def test_an_area_that_leaves_memory_is_told_before() -> None:
    role = Paced()
    role.buys(100, "r0")
    role.processor._cached_bytes_max = 1

    outputs = role.at(200, (topics.AREA_REPARTITION, [(b"show#B", area_status(ROWS, COLS, area="B"))]))

    assert outputs[STATUSES][-1] == (KEY, area_status(ROWS, COLS, taken(0)))
    assert (role.changes, role.processor.deadline_ms) == (None, None)


def test_many_changes_are_written_as_a_status() -> None:
    role = Paced()
    commands = [(KEY, reserve_seat(f"r{number}", count=2)) for number in range(60)]

    assert STATUSES in role.at(100, (topics.RESERVE_SEAT, commands))


def test_changes_that_can_t_be_read_are_no_reason_to_try_again_and_again() -> None:
    role = Paced()
    role.buys(100, "r0")
    role.overlays[RULES].put(changes_key(KEY), b"rubbish")
    role.at(150, (topics.CHANGE_EVENT, []))
    role.restart()

    assert role.at(200) == {}
    assert role.processor.deadline_ms is None


def test_commands_that_would_come_again_are_harmless_with_changes_beside_the_status() -> None:
    role = Paced()
    role.buys(100, "r0")
    done(role.overlays.writing_all())

    assert objection(tables_of(role.overlays), [topics.RESERVE_SEAT.name]) == ""


def test_an_area_of_100_000_seats_waits_for_a_second_at_most_and_one_of_400_for_nothing() -> None:
    pace = StatusPace()

    assert 0.9 < pace.rest_ms(550_000) / 1_000 < 1
    assert pace.rest_ms(1_800) == 0


def test_changes_are_those_between_what_is_shown_and_what_is() -> None:
    chance = random.Random(1)
    for _ in range(50):
        seats = SeatMap.from_free(7, 9, bytearray(0 if at % 10 == 9 else chance.randrange(2) for at in range(70)))
        shown = SeatMap.from_free(7, 9, bytearray(0 if at % 10 == 9 else chance.randrange(2) for at in range(70)))
        lagging = Lagging(StatusPace(bytes_min=1, bytes_per_ms=1))
        lagging.written(KEY, 5_000, shown, 0)

        value = lagging.changes(KEY, 5_000, seats, 1)

        assert value is not None
        assert shown.changed(*read_changes(value)).free == seats.free


@pytest.mark.parametrize("value", [b"", b"\x01\x00\x00", b"\x03\x00", b"\x03\x00\x00\x00", encode_changes([(0, 0)], [])[:-2]])
def test_what_is_no_change_is_not_read(value: bytes) -> None:
    with pytest.raises((InvalidRecord, IndexError)):
        read_changes(value)
