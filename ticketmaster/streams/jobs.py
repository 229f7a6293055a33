"""Ending asyncio tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

# Longer than a job's own tidying up takes, which a second cancellation would interrupt.
_AGAIN_S = 2.0


async def cancel(*jobs: asyncio.Future[Any]) -> None:
    """Cancels jobs and returns when all of them have ended; what they raise is theirs.

    Once may not be enough: up to Python 3.11 an ``asyncio.wait_for`` whose result comes in the same moment swallows the cancellation, and
    aiokafka waits by it.
    """
    pending = set(jobs)
    while pending:
        for job in pending:
            job.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
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
