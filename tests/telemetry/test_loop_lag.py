"""The longest that an event loop was held."""

from __future__ import annotations

import asyncio
import time

import pytest

from ticketmaster.clock import SystemClock
from ticketmaster.simulation.loop import VirtualClock, run_virtual
from ticketmaster.telemetry.loop_lag import LoopLag


async def test_a_loop_that_is_held_is_told_of() -> None:
    lag = LoopLag(SystemClock(), SystemClock().cpu_s)
    job = asyncio.create_task(lag.run())
    await asyncio.sleep(0.02)
    before_s = lag.longest_s

    time.sleep(0.4)  # noqa: ASYNC251 - this holds the loop
    await asyncio.sleep(0.02)

    # The timer was set before, so that a part of the hold is not seen.
    assert before_s == 0
    assert 0.25 < lag.longest_s < 2
    job.cancel()


def test_the_longest_of_the_last_minute_counts() -> None:
    async def test() -> None:
        clock = VirtualClock()
        lag = LoopLag(clock, lambda: 0.0)
        told = []
        for late_s in (0.2, 0.7, 0.3, 0.1):
            lag._note(clock.monotonic_s(), late_s)
            told.append(lag.longest_s)
            await asyncio.sleep(25)
        # The second is 75 s back by now, the third 50.
        told.append(lag.longest_s)
        await asyncio.sleep(60)
        told.append(lag.longest_s)
        assert told == [0.2, 0.7, 0.7, 0.7, 0.3, 0]

    run_virtual(test())


@pytest.mark.parametrize(("worked", "looks"), [(0.001, 600 / 1.6), (0.05, 6_000)])
def test_a_loop_is_looked_at_ten_times_a_second_while_its_process_works_and_rarely_while_it_is_idle(worked: float, looks: float) -> None:
    async def test() -> None:
        clock, asked = VirtualClock(), list[float]()

        def cpu_s() -> float:
            asked.append(clock.monotonic_s())
            return clock.monotonic_s() * worked

        lag = LoopLag(clock, cpu_s)
        job = asyncio.create_task(lag.run())
        await asyncio.sleep(600.05)
        assert lag.longest_s < 1e-6
        assert len(lag._peaks) <= 601
        assert len(asked) == pytest.approx(looks, rel=0.02)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    run_virtual(test())
