"""Ending tasks, also those that miss their first cancellation."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ticketmaster.simulation.loop import run_virtual
from ticketmaster.streams.jobs import cancel, finish


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


def test_work_that_must_be_finished_is_finished_however_often_whoever_waits_is_cancelled() -> None:
    done: list[float] = []

    async def work() -> None:
        await asyncio.sleep(10)
        done.append(asyncio.get_running_loop().time())

    async def test() -> None:
        waiting = asyncio.create_task(finish(work()))
        for _ in range(2):
            await asyncio.sleep(1)
            waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert done == [10]

    run_virtual(test())


def test_what_finished_work_raises_is_raised() -> None:
    async def failing() -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        run_virtual(finish(failing()))
