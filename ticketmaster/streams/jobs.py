"""Ending asyncio tasks."""

from __future__ import annotations

import asyncio
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
