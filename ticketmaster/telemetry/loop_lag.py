"""How long the event loop was held: nothing else is answered meanwhile, no signal seen and no heartbeat sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ticketmaster.clock import Clock

_TICK_S = 0.1
# A look costs a tenth of a millisecond where nothing else goes on. A process that has worked for less than this part of the time since the
# last one, so that nothing held its loop for longer, is looked at more and more rarely.
_WORKED_MIN = 0.03
_TICK_MAX_S = 1.6
_WINDOW_S = 60.0


class LoopLag:
    """The longest that a timer was late, which is how long the loop was held, or the rest of it."""

    def __init__(self, clock: Clock, cpu_s: Callable[[], float]) -> None:
        """``cpu_s()``: how much the process has worked so far, in seconds of CPU."""
        self._clock = clock
        self._cpu_s = cpu_s
        # (when, how late) of what was not exceeded since, so that the first is the longest of the window.
        self._peaks: deque[tuple[float, float]] = deque()

    @property
    def longest_s(self) -> float:
        """Within the last minute."""
        self._forget(self._clock.monotonic_s())
        return self._peaks[0][1] if self._peaks else 0.0

    async def run(self) -> None:
        """Looks for ever."""
        monotonic_s, tick_s, worked_s = self._clock.monotonic_s, _TICK_S, self._cpu_s()
        while True:
            began_s = monotonic_s()
            await asyncio.sleep(tick_s)
            now_s = monotonic_s()
            self._note(now_s, max(now_s - began_s - tick_s, 0.0))
            before_s, worked_s = worked_s, self._cpu_s()
            tick_s = min(2 * tick_s, _TICK_MAX_S) if worked_s - before_s < _WORKED_MIN * tick_s else _TICK_S

    def _note(self, now_s: float, late_s: float) -> None:
        while self._peaks and self._peaks[-1][1] <= late_s:
            self._peaks.pop()
        self._peaks.append((now_s, late_s))
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        while self._peaks and self._peaks[0][0] < now_s - _WINDOW_S:
            self._peaks.popleft()
