"""The wall clock of a simulated process: it may jump. And its chance, which is the seed's."""

from __future__ import annotations

import asyncio
from random import Random

_START_S = 1_700_000_000.0


def true_ms() -> int:
    """What time it is for a clock that is right, as the brokers' are."""
    return int((_START_S + asyncio.get_running_loop().time()) * 1e3)


class SimulatedClock:
    """A machine's clock, ``shift_s`` ahead of the others or behind them."""

    def __init__(self, random: Random, shift_s: float = 0.0) -> None:
        self._random = random
        self.shift_s = shift_s

    def now_ns(self) -> int:
        return int((_START_S + self.monotonic_s() + self.shift_s) * 1e9)

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def elapsed_ns(self) -> int:
        return int(self.monotonic_s() * 1e9)

    def random_bits(self, count: int) -> int:
        return self._random.getrandbits(count)
