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

    def random_bits(self, count: int) -> int:
        """An unpredictable integer of ``count`` bits."""


class SystemClock:
    """The machine's clock and the operating system's randomness."""

    def now_ns(self) -> int:
        return time.time_ns()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def cpu_s(self) -> float:
        """CPU seconds of this process so far."""
        return time.process_time()

    def random_bits(self, count: int) -> int:
        return secrets.randbits(count)
