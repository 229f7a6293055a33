"""Waiting for what is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ticketmaster.errors import Retriable

_BACKOFF_MIN_S: Final = 0.5
_BACKOFF_MAX_S: Final = 5.0

T = TypeVar("T")


async def until_answered(attempt: Callable[[], Awaitable[T]], on_waiting: Callable[[str], None]) -> T:
    """What an attempt comes to. One that raises Retriable is repeated, after longer and longer; ``on_waiting`` is told each time why."""
    backoff_s = _BACKOFF_MIN_S
    while True:
        try:
            return await attempt()
        except Retriable as reason:
            on_waiting(str(reason))
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)
