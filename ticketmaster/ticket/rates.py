"""How many requests a second each may send: one number is kept of each, and of a bounded number of them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

# What one may send at once after a rest: a second's worth.
_BURST_S: Final = 1.0
# Sums of floats.
_ROUNDING_S: Final = 1e-6


class Rates:
    """The rates of the clients that came last. A client that is forgotten begins anew, with all that a second allows.

    Kept is when somebody would have sent all that they have, at the pace they may (GCRA). It is asked in the server's threads: two
    at the same moment may count as one.
    """

    __slots__ = ("_half", "_new", "_old")

    def __init__(self, kept_max: int) -> None:
        self._half = max(kept_max // 2, 1)
        # When the new ones are as many as half of all, they become the old ones, and those that were old are forgotten at once.
        self._new: dict[Hashable, float] = {}
        self._old: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def allow(self, key: Hashable, per_second: int, now_s: float) -> bool:
        """Whether one more is within this pace, on a clock that never goes back; one that is refused does not count."""
        new = self._new
        until_s = new.get(key)
        if until_s is None:
            until_s = self._old.get(key, now_s)
        if until_s < now_s:  # noqa: PLR1730 - asked for each request
            until_s = now_s
        until_s += 1.0 / per_second
        if until_s - now_s > _BURST_S + _ROUNDING_S:
            return False
        new[key] = until_s
        if len(new) >= self._half:
            self._old, self._new = new, {}
        return True
