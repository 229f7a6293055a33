"""The loop, as Granian's threads see it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Notes:
    """What they schedule is run on the loop in batches, with one wake-up for each."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._notes: deque[tuple[Callable[..., object], Any]] = deque()
        self._woken = False

    def call_soon_threadsafe(self, callback: Callable[..., object], argument: Any = None, context: Any = None) -> None:
        self._notes.append((callback, argument))
        # Set after the append and cleared before the notes are taken: no note stays behind.
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._woken = False
        notes = self._notes
        try:
            for _ in range(len(notes)):
                callback, argument = notes.popleft()
                callback(argument)
        finally:
            # One that raised, which the loop reports, must not hold up those behind it.
            if notes and not self._woken:
                self._woken = True
                self._loop.call_soon(self._take)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
