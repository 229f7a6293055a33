"""The contract's decision table, message by message."""

from __future__ import annotations

import pytest

from ticketmaster.domain.reservation import ErrorCode, Refusal
from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.domain.seat_picking import UNKNOWN_TYPE, pick_chosen, pick_random, unknown_area

KEY = "show#A"


def area(*rows: str) -> SeatMap:
    """An area as it is drawn: ``.`` is free, ``#`` is taken."""
    seats = SeatMap(len(rows), len(rows[0]))
    seats.take([(row, col) for row, text in enumerate(rows) for col, seat in enumerate(text) if seat == "#"])
    return seats


@pytest.mark.parametrize(
    ("rows", "count", "start", "after"),
    [
        (("....", "...."), 1, (0, 0), ("#...", "....")),
        (("....", "...."), 4, (0, 0), ("####", "....")),
        (("#.#.", "...."), 1, (0, 1), ("###.", "....")),
        (("#.#.", "...."), 2, (1, 0), ("#.#.", "##..")),
        # Two free seats at a row's end and two at the next one's start are not adjacent.
        (("##..", "..##", "...."), 3, (2, 0), ("##..", "..##", "###.")),
        (("#..#", "...."), 2, (0, 1), ("####", "....")),
        (("####", "###."), 1, (1, 3), ("####", "####")),
    ],
)
def test_random_takes_the_first_run_rows_in_order_columns_in_order(
    rows: tuple[str, ...], count: int, start: tuple[int, int], after: tuple[str, ...]
) -> None:
    seats = area(*rows)

    assert pick_random(seats, count, KEY) == start
    assert seats.row_strings() == list(after)


@pytest.mark.parametrize("count", [0, -1, -(2**31)])
def test_random_of_no_seats_is_an_invalid_argument(count: int) -> None:
    seats = area("..")

    assert pick_random(seats, count, KEY) == Refusal(ErrorCode.INVALID_ARGUMENT, f"{count} continuous seats is invalid")
    assert seats.row_strings() == [".."]


@pytest.mark.parametrize(("rows", "count"), [(("....",), 5), (("##..", "..##"), 3), (("#.#.",), 2), (("####",), 1), (("....",), 2**31 - 1)])
def test_random_without_such_a_run_is_not_available_and_takes_nothing(rows: tuple[str, ...], count: int) -> None:
    seats = area(*rows)

    refusal = Refusal(ErrorCode.NOT_AVAILABLE, f"no continuous {count} seats at area A in event show")
    assert pick_random(seats, count, KEY) == refusal
    assert seats.row_strings() == list(rows)


def test_the_message_of_random_splits_the_key_at_its_first_separator() -> None:
    refusal = pick_random(area("#"), 1, "show#A#1")

    assert refusal == Refusal(ErrorCode.NOT_AVAILABLE, "no continuous 1 seats at area A#1 in event show")


def test_self_pick_takes_exactly_the_chosen_seats() -> None:
    seats = area("....", "....")

    assert pick_chosen(seats, [(1, 3), (0, 0)], KEY) is None
    assert seats.row_strings() == ["#...", "...#"]
    assert seats.available == 6


@pytest.mark.parametrize("seat", [(2, 0), (0, 4), (-1, 0), (0, -1), (2**31 - 1, -(2**31))])
def test_self_pick_of_a_seat_that_is_not_there_is_an_invalid_seat(seat: tuple[int, int]) -> None:
    seats = area("....", "....")

    refusal = Refusal(ErrorCode.INVALID_SEAT, f"show#A ({seat[0]}, {seat[1]}) is not a valid seat.")
    assert pick_chosen(seats, [(0, 0), seat], KEY) == refusal
    assert seats.row_strings() == ["....", "...."]


def test_self_pick_of_a_taken_seat_is_not_available_and_takes_nothing() -> None:
    seats = area(".#", "..")

    assert pick_chosen(seats, [(0, 0), (0, 1), (1, 1)], KEY) == Refusal(ErrorCode.NOT_AVAILABLE, "show#A (0, 1) is unavailable.")
    assert seats.row_strings() == [".#", ".."]
    assert seats.available == 3


def test_self_pick_names_the_first_seat_that_is_in_the_way() -> None:
    seats = area(".#", "..")

    assert pick_chosen(seats, [(9, 9), (0, 1)], KEY) == Refusal(ErrorCode.INVALID_SEAT, "show#A (9, 9) is not a valid seat.")
    assert pick_chosen(seats, [(0, 1), (9, 9)], KEY) == Refusal(ErrorCode.NOT_AVAILABLE, "show#A (0, 1) is unavailable.")


def test_self_pick_of_no_seat_is_an_invalid_argument() -> None:
    assert pick_chosen(area(".."), [], KEY) == Refusal(ErrorCode.INVALID_ARGUMENT, "no seat was picked")


def test_self_pick_of_one_seat_twice_is_an_invalid_argument_and_takes_nothing() -> None:
    seats = area("..")

    assert pick_chosen(seats, [(0, 0), (0, 1), (0, 0)], KEY) == Refusal(ErrorCode.INVALID_ARGUMENT, "a seat was picked twice")
    assert seats.row_strings() == [".."]


def test_an_area_that_nobody_created_is_an_invalid_event_area() -> None:
    assert unknown_area("golden#Z") == Refusal(ErrorCode.INVALID_EVENT_AREA, "golden#Z event area does not exist")


def test_a_type_that_is_neither_is_an_invalid_argument() -> None:
    assert Refusal(ErrorCode.INVALID_ARGUMENT, "INVALID reservation strategy is not implemented") == UNKNOWN_TYPE
