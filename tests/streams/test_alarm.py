"""The alarm of a task, on the loop that the program runs on: what uvloop calls at once has no time of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from ticketmaster.streams.alarm import Alarm
from ticketmaster.streams.log_clock import LogClock

NOW_MS = 1_000_000


def on_the_program_s_loop(test: Callable[[Alarm, asyncio.Event], Awaitable[None]]) -> None:
    """Runs a test of an alarm whose clock stands still, and of what it wakes."""

    async def whole() -> None:
        woken = asyncio.Event()
        async with asyncio.timeout(30):
            await test(Alarm(LogClock(lambda: NOW_MS), woken.set), woken)

    uvloop.run(whole())


@pytest.mark.parametrize("first_ms", [NOW_MS, NOW_MS - 5_000, NOW_MS + 60_000])
@pytest.mark.parametrize("second_ms", [NOW_MS, NOW_MS - 1])
def test_an_alarm_is_set_again_before_it_has_come(first_ms: int, second_ms: int) -> None:
    async def test(alarm: Alarm, woken: asyncio.Event) -> None:
        alarm.set(first_ms)
        alarm.set(second_ms)
        await woken.wait()

    on_the_program_s_loop(test)


def test_an_alarm_that_is_taken_back_wakes_nobody() -> None:
    async def test(alarm: Alarm, woken: asyncio.Event) -> None:
        alarm.set(NOW_MS)
        alarm.set(None)
        alarm.set(NOW_MS + 60_000)
        # Behind whatever was to be called at once.
        for _ in range(10):
            await asyncio.sleep(0)

        assert not woken.is_set()
        alarm.set(None)

    on_the_program_s_loop(test)
