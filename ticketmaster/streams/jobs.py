"""Jobs of asyncio: ending them, and not holding up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import closing
from typing import Any, TypeVar

# Longer than a job's own tidying up takes, which a second cancellation would interrupt.
_AGAIN_S = 2.0
# Of what takes some microseconds each.
_TURN_ITEMS_MAX = 1_000

T = TypeVar("T")


async def cancel(*jobs: asyncio.Future[Any]) -> None:
    """Cancels jobs and returns when all of them have ended; what they raise is theirs.

    Once may not be enough: up to Python 3.11 an ``asyncio.wait_for`` whose result comes in the same moment swallows the cancellation, and
    aiokafka waits by it.
    """
    # In the order given: a set's would be another one in each process.
    pending = list(jobs)
    while pending:
        for job in pending:
            job.cancel()
        await asyncio.wait(pending, timeout=_AGAIN_S)
        pending = [job for job in pending if not job.done()]
    for job in jobs:
        if not job.cancelled():
            job.exception()


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Does work to its end even if whoever waits for it is cancelled meanwhile; only then goes the cancellation on."""
    job = asyncio.create_task(work)
    interruption: asyncio.CancelledError | None = None
    while not job.done():
        try:
            await asyncio.wait({job})
        except asyncio.CancelledError as cancelled:
            interruption = cancelled
    if interruption:
        raise interruption
    job.result()


async def take_steps(steps: Generator[None, None, T], check: Callable[[], None] = lambda: None) -> T:
    """Does work step by step, with turns for the loop's other jobs in between, to its result; given up midway, it is closed at once.

    ``check()`` is called behind each turn, and raises if the work is to be given up.
    """
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: T = end.value
                return found
            await asyncio.sleep(0)
            check()


async def in_turns(items: Iterable[T], do: Callable[[T], object]) -> None:
    """Does something with each of however many items, with turns for the loop's other jobs in between."""
    for number, item in enumerate(items, 1):
        do(item)
        if number % _TURN_ITEMS_MAX == 0:
            await asyncio.sleep(0)
