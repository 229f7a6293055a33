"""The filter before the area."""

from __future__ import annotations

import pytest

from ticketmaster.domain.admission import admits_chosen, admits_random


@pytest.mark.parametrize(
    ("count", "available", "cols", "admitted"),
    [
        (1, 1, 1, True),
        (4, 4, 4, True),
        (4, 100, 4, True),
        (5, 100, 4, False),
        (4, 4, 100, True),
        (5, 4, 100, False),
        (1, 0, 100, False),
        # The area itself refuses these, with its own reason.
        (0, 0, 10, True),
        (-1, 0, 10, True),
    ],
)
def test_random_needs_no_more_seats_than_are_free_nor_than_a_row_has(count: int, available: int, cols: int, *, admitted: bool) -> None:
    assert admits_random(count, available, cols) is admitted


def test_self_pick_needs_every_seat_to_exist_and_be_free() -> None:
    free = {(0, 0), (0, 1)}

    assert admits_chosen([(0, 0), (0, 1)], lambda row, col: (row, col) in free)
    assert not admits_chosen([(0, 0), (0, 2)], lambda row, col: (row, col) in free)
    assert not admits_chosen([(1, 0)], lambda row, col: (row, col) in free)


def test_a_choice_of_no_seat_is_left_to_the_area() -> None:
    free: set[tuple[int, int]] = set()

    assert admits_chosen([], lambda row, col: (row, col) in free)
