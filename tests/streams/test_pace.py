"""How long records gather: not at all at a trickle, for the whole interval under full load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.streams.pace import Pace


def paced(records_per_s: int, *, interval_max_ms: int = 100, writers: int = 1) -> Pace:
    """The pace after two seconds of so many records, 50 times a second, by each of so many writers."""
    pace = Pace(interval_max_ms)
    for tick in range(100):
        for _ in range(writers):
            pace.note(records_per_s // 50, tick / 50)
    return pace


def longest_s(pace: Pace) -> float:
    """The longest rest of those who ask in the next 20 milliseconds."""
    return max(pace.rest_s(2 + step / 10_000) for step in range(200))


@pytest.mark.parametrize("records_per_s", [50, 100])
def test_at_a_trickle_nothing_waits(records_per_s: int) -> None:
    assert paced(records_per_s).rest_s(2.0) == 0


def test_the_interval_grows_with_the_load_up_to_its_limit() -> None:
    grown = [longest_s(paced(records_per_s)) for records_per_s in (1_000, 5_000, 50_000)]

    assert grown == pytest.approx([0.01, 0.05, 0.1], rel=0.2)


def test_what_all_writers_write_counts_together() -> None:
    assert longest_s(paced(500, writers=10)) == pytest.approx(longest_s(paced(5_000)))


def test_a_burst_is_forgotten_soon() -> None:
    pace = Pace(100)
    pace.note(20_000, 0.0)

    assert pace.rest_s(0.01) > 0
    assert pace.rest_s(2.0) == 0


@given(records=st.integers(0, 10**6), now_s=st.floats(0, 10**9), interval_max_ms=st.integers(0, 60_000))
def test_a_rest_is_never_longer_than_the_interval(records: int, now_s: float, interval_max_ms: int) -> None:
    pace = Pace(interval_max_ms)
    pace.note(records, now_s)

    assert 0 <= pace.rest_s(now_s) <= interval_max_ms / 1000


def test_all_writers_rest_until_the_same_moment() -> None:
    pace = paced(50_000)

    assert {round(now_s + pace.rest_s(now_s), 6) for now_s in (2.01, 2.05, 2.099)} == {2.1}
