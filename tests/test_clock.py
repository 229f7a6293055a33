"""Wall time that does not jump, however the wall clock is set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.clock import SteadyClock, SystemClock

HOUR_S = 3_600


class HostClock(SystemClock):
    """A host's clock that somebody sets."""

    def __init__(self) -> None:
        self.passed_ns = 5_000_000_000
        self.ahead_ns = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        return self.passed_ns + self.ahead_ns

    def elapsed_ns(self) -> int:
        return self.passed_ns

    def pass_s(self, seconds: float) -> None:
        self.passed_ns += int(seconds * 1e9)

    def set_by_s(self, seconds: float) -> None:
        self.ahead_ns += int(seconds * 1e9)


def test_while_nobody_sets_the_host_s_clock_it_is_that() -> None:
    host = HostClock()
    steady = SteadyClock(host)
    for _ in range(100):
        host.pass_s(0.123)
        assert (steady.now_ns(), steady.now_ms()) == (host.now_ns(), host.now_ns() // 1_000_000)


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
@pytest.mark.parametrize(("per_mille", "off_s"), [(10, 6.0), (0, 0.0)], ids=["drawn", "by itself"])
def test_a_host_clock_that_is_set_by_an_hour_moves_it_by_seconds_within_a_hold_of_ten_minutes(
    by_s: float, per_mille: int, off_s: float
) -> None:
    host = HostClock()
    steady, began_ns = SteadyClock(host, per_mille), host.now_ns()
    host.set_by_s(by_s)
    assert steady.now_ns() == began_ns
    for _ in range(600):
        host.pass_s(1.0)
        steady.now_ns()

    assert (steady.now_ns() - began_ns) / 1e9 == pytest.approx(600 + (off_s if by_s > 0 else -off_s))


def test_it_finds_back_to_the_wall_clock() -> None:
    host = HostClock()
    steady = SteadyClock(host)
    host.set_by_s(2.0)
    host.pass_s(250.0)
    assert steady.now_ns() == host.now_ns()
    host.set_by_s(-2.0)
    host.pass_s(100.0)
    assert (steady.now_ns() - host.now_ns()) / 1e9 == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-1e6, 1e6))))
def test_it_never_goes_back_and_never_runs_more_than_a_hundredth_too_fast_or_too_slow(steps: list[tuple[float, float]]) -> None:
    host = HostClock()
    steady = SteadyClock(host)
    before_ns = steady.now_ns()
    for passes_s, set_by_s in steps:
        passed_ns = host.passed_ns
        host.set_by_s(set_by_s)
        host.pass_s(passes_s)
        now_ns = steady.now_ns()
        passed_ns = host.passed_ns - passed_ns
        assert abs(now_ns - before_ns - passed_ns) <= passed_ns / 100
        before_ns = now_ns


def test_the_machine_s_own_clock_counts_the_time_in_which_it_sleeps() -> None:
    clock = SystemClock()
    steady = SteadyClock(clock)
    first, second = clock.elapsed_ns(), clock.elapsed_ns()
    assert first <= second
    assert abs(steady.now_ms() - clock.now_ms()) < 1_000
    assert steady.monotonic_s() <= clock.monotonic_s()
    assert steady.random_bits(8) < 256
