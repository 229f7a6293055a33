"""Wakes a task when its deadline has passed, by one timer. A task that sleeps costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ticketmaster.streams.log_clock import LogClock

# Records have their turn between two deadlines, and a processor that does nothing about its deadline does not spin.
_REST_S = 0.005
# The loop's timers stand still while the machine sleeps, and records of other tasks may show that it is later.
_SLEEP_MAX_S = 10.0
# After a deadline's transaction was refused; twice as long each time.
_REFUSED_REST_S = 1.0
_REFUSED_REST_MAX_S = 60.0


class Alarm:
    """The alarm of one task, by the log's clock."""

    def __init__(self, clock: LogClock, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._deadline_ms: int | None = None
        # When it goes off is kept beside it: what uvloop calls at once has no time of its own.
        self._timer: asyncio.Handle | None = None
        self._timer_at_s = 0.0
        self._rests_until_s = 0.0
        self._refused_rest_s = 0.0

    def now_ms(self) -> int | None:
        """The log's time, by which deadlines may be worked off now; None: they rest."""
        return None if asyncio.get_running_loop().time() < self._rests_until_s else self._clock.now_ms()

    def set(self, deadline_ms: int | None) -> None:
        """Wakes the task when this deadline has passed and deadlines don't rest; None: never."""
        self._deadline_ms = deadline_ms
        if deadline_ms is None:
            if self._timer:
                self._timer.cancel()
                self._timer = None
            return
        loop = asyncio.get_running_loop()
        passes_s = (deadline_ms - self._clock.now_ms()) / 1000
        at_s = max(loop.time() + min(passes_s, _SLEEP_MAX_S), self._rests_until_s)
        if self._timer:
            # One that comes too early looks at the deadline and sets itself again.
            if self._timer_at_s <= at_s:
                return
            self._timer.cancel()
        self._timer, self._timer_at_s = loop.call_at(at_s, self._look), at_s

    def _look(self) -> None:
        self._timer = None
        now_ms = self.now_ms()
        if self._deadline_ms is not None and now_ms is not None and now_ms >= self._deadline_ms:
            self._wake()
        else:
            self.set(self._deadline_ms)

    def worked_off(self) -> None:
        """The consequences of a deadline are in the log."""
        self._refused_rest_s = 0.0
        self._rest(_REST_S)

    def refused(self) -> None:
        """The broker may never take what a deadline brings: records go on without it for a while."""
        self._refused_rest_s = min(max(2 * self._refused_rest_s, _REFUSED_REST_S), _REFUSED_REST_MAX_S)
        self._rest(self._refused_rest_s)

    def _rest(self, rest_s: float) -> None:
        self._rests_until_s = asyncio.get_running_loop().time() + rest_s
