"""How long the event loop was held: nothing else is answered meanwhile, no signal seen and no heartbeat sent."""

from __future__ import annotations

import asyncio
from collections import deque

from ticketmaster.clock import Clock

# Ten looks a second cost nothing that could be measured.
_TICK_S = 0.1
_WINDOW_S = 60.0


class LoopLag:
    """The longest that a timer was late, which is how long the loop was held, or the rest of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # (when, how late) of what was not exceeded since, so that the first is the longest of the window.
        self._peaks: deque[tuple[float, float]] = deque()

    @property
    def longest_s(self) -> float:
        """Within the last minute."""
        self._forget(self._clock.monotonic_s())
        return self._peaks[0][1] if self._peaks else 0.0

    async def run(self) -> None:
        """Looks for ever."""
        monotonic_s = self._clock.monotonic_s
        while True:
            began_s = monotonic_s()
            await asyncio.sleep(_TICK_S)
            now_s = monotonic_s()
            self._note(now_s, max(now_s - began_s - _TICK_S, 0.0))

    def _note(self, now_s: float, late_s: float) -> None:
        while self._peaks and self._peaks[-1][1] <= late_s:
            self._peaks.pop()
        self._peaks.append((now_s, late_s))
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        while self._peaks and self._peaks[0][0] < now_s - _WINDOW_S:
            self._peaks.popleft()
