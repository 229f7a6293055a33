"""Ending tasks, also those that miss their first cancellation."""

from __future__ import annotations

import asyncio
import contextlib

from ticketmaster.simulation.loop import run_virtual
from ticketmaster.streams.jobs import cancel


def test_a_job_that_has_swallowed_its_cancellation_is_cancelled_again() -> None:
    async def stubborn(times: int) -> None:
        for _ in range(times):
            # As `asyncio.wait_for` does when its result comes in the same moment.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1_000)
        await asyncio.sleep(1_000)

    async def test() -> None:
        jobs = [asyncio.create_task(stubborn(times)) for times in range(3)]
        await asyncio.sleep(1)
        async with asyncio.timeout(10):
            await cancel(*jobs)
        assert all(job.cancelled() for job in jobs)

    run_virtual(test())


def test_what_a_job_raises_at_its_end_and_what_has_ended_already_does_no_harm() -> None:
    async def failing() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            raise RuntimeError("late")

    async def done() -> None:
        """At once."""

    async def test() -> None:
        jobs = [asyncio.create_task(failing()), asyncio.create_task(done())]
        await asyncio.sleep(1)
        await cancel(*jobs)
        assert all(job.done() for job in jobs)
        await cancel()

    run_virtual(test())
