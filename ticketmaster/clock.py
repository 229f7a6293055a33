"""The only module that reads time or draws a random number, so that a simulation can replace both."""

from __future__ import annotations

import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """Where time and chance come from."""

    def now_ns(self) -> int:
        """Wall-clock time in nanoseconds since 1970."""

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since 1970."""

    def monotonic_s(self) -> float:
        """Seconds of a clock that never goes back."""

    def elapsed_ns(self) -> int:
        """Nanoseconds of a clock that never goes back, and goes on while the machine sleeps."""

    def random_bits(self, count: int) -> int:
        """An unpredictable integer of ``count`` bits."""


# Linux has one that counts while the machine is suspended; elsewhere that is the usual one, or there is none.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clock and the operating system's randomness."""

    def now_ns(self) -> int:
        return time.time_ns()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def elapsed_ns(self) -> int:
        return time.clock_gettime_ns(_ELAPSED)

    def cpu_s(self) -> float:
        """CPU seconds of this process so far."""
        return time.process_time()

    def random_bits(self, count: int) -> int:
        return secrets.randbits(count)


class SteadyClock:
    """Wall time that does not jump: a wall clock that is set moves it by a hundredth of the time that passes, and never back."""

    def __init__(self, clock: Clock, drawn_per_mille: int = 10) -> None:
        """It starts with the wall clock; ``drawn_per_mille`` of the time that passes it may be drawn towards it (0: it runs by itself)."""
        self._clock = clock
        self._drawn_per_mille = drawn_per_mille
        self._now_ns = clock.now_ns()
        self._read_at_ns = clock.elapsed_ns()

    def now_ns(self) -> int:
        elapsed_ns = self._clock.elapsed_ns()
        passed_ns = elapsed_ns - self._read_at_ns
        now_ns = self._now_ns + passed_ns
        if self._drawn_per_mille:
            drawn_ns = passed_ns * self._drawn_per_mille // 1_000
            off_ns = self._clock.now_ns() - now_ns
            # Not min and max: it is asked for each append.
            if off_ns > drawn_ns:
                off_ns = drawn_ns
            elif off_ns < -drawn_ns:
                off_ns = -drawn_ns
            now_ns += off_ns
        self._now_ns, self._read_at_ns = now_ns, elapsed_ns
        return now_ns

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def elapsed_ns(self) -> int:
        return self._clock.elapsed_ns()

    def random_bits(self, count: int) -> int:
        return self._clock.random_bits(count)
