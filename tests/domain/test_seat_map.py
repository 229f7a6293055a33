"""The seat map against a plain set of free seats, and its Avro image in step with it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ticketmaster.domain.reservation import ErrorCode, Refusal
from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.domain.seat_picking import pick_chosen, pick_random
from ticketmaster.wire.area_status import AreaImage

FROM_TEXT = bytes.maketrans(b"#.", b"\x00\x01")


def test_a_new_area_is_free() -> None:
    seats = SeatMap(2, 3)

    assert seats.row_strings() == ["...", "..."]
    assert seats.available == seats.count_free() == 6


@pytest.mark.parametrize(("rows", "cols"), [(0, 1), (1, 0), (-1, -1)])
def test_an_area_without_seats_is_a_programmers_error(rows: int, cols: int) -> None:
    with pytest.raises(ValueError, match="at least one row and one column"):
        SeatMap(rows, cols)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_bytes_of_another_shape_are_a_programmers_error(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes for an area of 2 x 3 seats"):
        SeatMap.from_free(2, 3, bytearray(size))


def test_an_area_is_made_again_from_its_bytes() -> None:
    seats = SeatMap(2, 3)
    seats.take([(0, 1), (1, 2)])

    again = SeatMap.from_free(2, 3, bytearray(seats.free))

    assert again.row_strings() == [".#.", "..#"]
    assert again.available == 4


def test_a_seat_outside_the_area_is_not_there() -> None:
    seats = SeatMap(2, 3)

    assert all(seats.has(row, col) for row in range(2) for col in range(3))
    assert not any(seats.has(row, col) for row, col in [(-1, 0), (0, -1), (2, 0), (0, 3)])


def test_a_search_goes_on_behind_a_run_that_is_found_but_not_taken() -> None:
    seats = SeatMap(1, 6)

    assert seats.find_run(2) == (0, 0)
    assert seats.find_run(2) == (0, 0)
    seats.take([(0, 1)])
    assert seats.find_run(2) == (0, 2)
    assert seats.find_run(1) == (0, 0)


@pytest.mark.parametrize(("rows", "cols"), [(1, 100_000), (100_000, 1), (250, 400)])
def test_an_area_of_100_000_seats_is_sold_to_the_last_one(rows: int, cols: int) -> None:
    seats = SeatMap(rows, cols)
    sold = 0
    while (start := seats.find_run(cols)) is not None:
        assert start == (sold, 0)
        seats.take_run(*start, cols)
        sold += 1

    assert sold == rows
    assert seats.available == seats.count_free() == 0
    assert seats.find_run(1) is None


def test_released_seats_are_found_again() -> None:
    seats = SeatMap(2, 4)
    seats.take([(row, col) for row in range(2) for col in range(4)])
    assert [seats.find_run(count) for count in (1, 2, 3)] == [None] * 3

    seats.release([(1, 2), (0, 3), (1, 1)])

    assert seats.row_strings() == ["###.", "#..#"]
    assert seats.available == seats.count_free() == 3
    assert [seats.find_run(count) for count in (1, 2, 3)] == [(0, 3), (1, 1), None]


@pytest.mark.parametrize(
    ("rows", "released", "places"),
    [
        # Where each length goes on: back to where it fits, and no further.
        (["#####", "#####"], [(1, 2)], {1: (1, 2)}),
        (["#####", "##..#"], [(1, 1)], {1: (1, 1), 2: (1, 1), 3: (1, 1)}),
        (["#####", "..#.."], [(1, 2)], {1: (1, 0), 2: (1, 0), 3: (1, 0), 5: (1, 0)}),
        (["#####", ".#.##"], [(0, 0)], {1: (0, 0)}),
        # Across a row's end no run goes.
        (["####.", "#####"], [(1, 0)], {1: (0, 4)}),
        (["#####", ".####"], [(0, 4)], {1: (0, 4)}),
        # Of several, to the first one that is long enough.
        (["#.###", "#####"], [(1, 4), (1, 3), (1, 2), (0, 2), (0, 4)], {1: (0, 1), 2: (0, 1), 3: (1, 2)}),
    ],
)
def test_a_search_goes_back_to_the_first_run_that_released_seats_make(
    rows: list[str], released: list[tuple[int, int]], places: dict[int, tuple[int, int]]
) -> None:
    seats = SeatMap.from_free(len(rows), len(rows[0]), bytearray(b"".join(row.encode() + b"#" for row in rows).translate(FROM_TEXT)))
    for count in (1, 2, 3, 5):
        seats.find_run(count)

    seats.release(released)

    assert {count: divmod(at, seats.stride) for count, at in seats._search_from.items() if at < len(seats.free)} == places


class AreaModel(RuleBasedStateMachine):
    """A plain set of free seats, the seat map, and the record that is kept in step with it."""

    @initialize(rows=st.integers(1, 6), cols=st.integers(1, 10))
    def open_area(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        self.free = {(row, col) for row in range(rows) for col in range(cols)}
        self.seats = SeatMap(rows, cols)
        self.image = AreaImage.all_free(b"show", b"A", 10, rows, cols)

    def first_run(self, count: int) -> tuple[int, int] | None:
        """What RANDOM must find, tried seat by seat."""
        for row in range(self.rows):
            for col in range(self.cols - count + 1):
                if all((row, taken) in self.free for taken in range(col, col + count)):
                    return row, col
        return None

    @rule(count=st.integers(-1, 11))
    def reserve_random(self, count: int) -> None:
        picked = pick_random(self.seats, count, "show#A")

        if count < 1:
            assert picked == Refusal(ErrorCode.INVALID_ARGUMENT, f"{count} continuous seats is invalid")
            return
        start = self.first_run(count)
        if start is None:
            assert picked == Refusal(ErrorCode.NOT_AVAILABLE, f"no continuous {count} seats at area A in event show")
            return
        assert picked == start
        row, col = start
        self.image.take_run(row, col, count)
        self.free -= {(row, taken) for taken in range(col, col + count)}

    @rule(chosen=st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 10)), max_size=5))
    def reserve_chosen(self, chosen: list[tuple[int, int]]) -> None:
        refusal = pick_chosen(self.seats, chosen, "show#A")

        if chosen and len(set(chosen)) == len(chosen) and set(chosen) <= self.free:
            assert refusal is None
            self.image.take(chosen)
            self.free -= set(chosen)
        else:
            assert refusal is not None

    @rule(data=st.data())
    def reserve_free_seats(self, data: st.DataObject) -> None:
        if self.free:
            self.reserve_chosen(data.draw(st.lists(st.sampled_from(sorted(self.free)), min_size=1, max_size=4, unique=True)))

    @rule()
    def sell_out(self) -> None:
        self.seats.take(sorted(self.free))
        self.image.take(sorted(self.free))
        self.free.clear()

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        taken = [(row, col) for row in range(self.rows) for col in range(self.cols) if (row, col) not in self.free]
        released = data.draw(st.lists(st.sampled_from(taken), max_size=6, unique=True)) if taken else []
        before = dict(self.seats._search_from)
        # Named with others: such as are free, do not exist, or come twice.
        named = [*released, *sorted(self.free)[:2], (-1, 0), (0, self.cols), (self.rows, 0), *released[:1]]

        assert sorted(self.seats.release(data.draw(st.permutations(named)))) == sorted(released)
        self.image.release(released)

        self.free |= set(released)
        for count, at in self.seats._search_from.items():
            # A search that went back went to where it finds something at once.
            assert at == before[count] or divmod(at, self.cols + 1) == self.first_run(count)

    @rule()
    def restart(self) -> None:
        self.image, self.seats = AreaImage.parse(self.image.value(self.seats.available))

    @invariant()
    def the_map_is_the_set(self) -> None:
        assert self.seats.available == self.seats.count_free() == len(self.free)
        assert self.seats.row_strings() == [
            "".join(".#"[(row, col) not in self.free] for col in range(self.cols)) for row in range(self.rows)
        ]

    @invariant()
    def no_search_has_passed_a_run(self) -> None:
        for count, at in self.seats._search_from.items():
            assert self.seats.free.find(b"\x01" * count) in (-1, *range(at, len(self.seats.free)))

    @invariant()
    def the_record_gives_the_same_map(self) -> None:
        value = self.image.value(self.seats.available)
        image, seats = AreaImage.parse(value)
        assert (seats.rows, seats.cols, seats.available) == (self.rows, self.cols, len(self.free))
        assert seats.free == self.seats.free
        assert image.value(seats.available) == value


TestAreaModel = AreaModel.TestCase
TestAreaModel.settings = settings(max_examples=60, stateful_step_count=25)
