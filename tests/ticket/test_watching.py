"""How often a server looks at its connections: deadlines are kept on a machine that is busy, too."""

from __future__ import annotations

import pytest

from ticketmaster.ticket.watching import rest_s


@pytest.mark.parametrize(
    ("took_s", "hurries", "rests_s"),
    [(0.0, False, 1.0), (0.04, False, 2.0), (3.0, False, 5.0), (0.0, True, 0.1), (0.1, True, 1.0), (3.0, True, 5.0)],
)
def test_a_look_may_take_a_part_of_the_loops_time_and_the_next_one_comes_within_seconds(
    took_s: float, *, hurries: bool, rests_s: float
) -> None:
    assert rest_s(took_s, hurries=hurries) == rests_s
