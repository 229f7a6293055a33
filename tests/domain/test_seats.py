"""Seats and decisions, by example and against a model: a plain set of free seats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.domain.event import Area, EventLimits, event_violation
from ticketmaster.domain.reservation import ErrorCode, Refusal, failed_reason
from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.domain.seat_picking import pick_chosen, pick_random
from ticketmaster.wire.area_status import AreaHeader, AreaImage, seat_is_free

KEY = "concert#A"

requests = st.one_of(
    st.integers(-1, 8),
    st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 8)), max_size=4),
)


def first_run(free: set[tuple[int, int]], rows: int, cols: int, count: int) -> list[tuple[int, int]] | None:
    for row in range(rows):
        for col in range(cols - count + 1):
            run = [(row, taken) for taken in range(col, col + count)]
            if free.issuperset(run):
                return run
    return None


@given(rows=st.integers(1, 6), cols=st.integers(1, 8), asked=st.lists(requests, max_size=30))
def test_an_area_decides_as_a_set_of_free_seats_does(rows: int, cols: int, asked: list[int | list[tuple[int, int]]]) -> None:
    seats, image = SeatMap(rows, cols), AreaImage.all_free(b"concert", b"A", 5, rows, cols)
    free = {(row, col) for row in range(rows) for col in range(cols)}
    for request in asked:
        if isinstance(request, int):
            picked = pick_random(seats, request, KEY)
            expected = first_run(free, rows, cols, request) if request > 0 else None
            assert isinstance(picked, Refusal) == (expected is None)
            if expected is not None and not isinstance(picked, Refusal):
                assert picked == expected[0]
                image.take_run(*picked, request)
                free.difference_update(expected)
        else:
            possible = bool(request) and len(set(request)) == len(request) and free.issuperset(request)
            assert (pick_chosen(seats, request, KEY) is None) == possible
            if possible:
                image.take(request)
                free.difference_update(request)
        value = image.value(seats.available)
        _, parsed = AreaImage.parse(value)
        assert parsed.free == seats.free
        assert seats.available == seats.count_free() == len(free)
        header = AreaHeader(value)
        for row in range(-1, rows + 1):
            for col in range(-1, cols + 1):
                assert seat_is_free(value, header, row, col) == ((row, col) in free)
    assert seats.row_strings() == ["".join(".#"[(row, col) not in free] for col in range(cols)) for row in range(rows)]


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (0, "[INVALID_ARGUMENT]: 0 continuous seats is invalid"),
        (-1, "[INVALID_ARGUMENT]: -1 continuous seats is invalid"),
        (4, "[NOT_AVAILABLE]: no continuous 4 seats at area A in event concert"),
        (2**31 - 1, "[NOT_AVAILABLE]: no continuous 2147483647 seats at area A in event concert"),
    ],
)
def test_a_refused_random_pick_says_why(count: int, reason: str) -> None:
    refusal = pick_random(SeatMap(2, 3), count, KEY)

    assert isinstance(refusal, Refusal)
    assert failed_reason(refusal) == reason


def test_a_refused_self_pick_says_why_and_takes_nothing() -> None:
    seats = SeatMap(2, 3)
    assert pick_chosen(seats, [(0, 1)], KEY) is None

    assert pick_chosen(seats, [(0, 0), (2, 0)], KEY) == (ErrorCode.INVALID_SEAT, "concert#A (2, 0) is not a valid seat.")
    assert pick_chosen(seats, [(0, 0), (0, 1)], KEY) == (ErrorCode.NOT_AVAILABLE, "concert#A (0, 1) is unavailable.")
    for nonsense in ([], [(0, 0), (0, 0)]):
        refusal = pick_chosen(seats, nonsense, KEY)
        assert refusal is not None
        assert refusal.code is ErrorCode.INVALID_ARGUMENT
    assert seats.available == 5


@pytest.mark.parametrize("shape", [(1, 100_000), (100_000, 1), (200, 500), (2, 9_000), (70, 70)])
def test_a_large_area_reads_back_from_its_record(shape: tuple[int, int]) -> None:
    rows, cols = shape
    image = AreaImage.all_free(b"concert", b"A", 1, rows, cols)
    image.take([(rows - 1, cols - 1)])

    again, seats = AreaImage.parse(image.value(rows * cols - 1))

    assert not seats.is_free(rows - 1, cols - 1)
    assert seats.available == rows * cols - 1
    assert again.value(seats.available) == image.value(seats.available)


@pytest.mark.parametrize(
    ("name", "areas", "code"),
    [
        ("", [], "empty_name"),
        ("a#b", [], "invalid_event_name"),
        ("x" * 256, [], "name_too_long"),
        ("\ud800", [], "invalid_text"),
        ("e", [Area("A", 1, 1, 1), Area("A", 1, 1, 1)], "duplicate_area"),
        ("e", [Area("A", 1, 0, 1)], "invalid_area_size"),
        ("e", [Area("", 1, 1, 1)], "empty_name"),
        ("e", [Area("A", 1, 1, 100_001)], "area_too_large"),
        ("e", [Area(str(number), 1, 1, 1) for number in range(1_001)], "too_many_areas"),
        ("e", [Area(str(number), 1, 100, 1_000) for number in range(101)], "event_too_large"),
    ],
)
def test_a_rule_that_an_event_breaks_has_a_code(name: str, areas: list[Area], code: str) -> None:
    broken = event_violation(name, "", areas, EventLimits())

    assert broken is not None
    assert broken.code == code
