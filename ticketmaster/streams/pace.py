"""How often a process writes: at once when little comes, rarely when much does."""

from __future__ import annotations

import math

# Records a second from which on everything gathers for the whole interval; with fewer the interval is shorter in proportion. A
# transaction costs a process and its broker about a millisecond each, whatever is in it: where one follows the other without a
# rest, they slow each other down, and their records come later than if they had waited for each other.
_FULL_PER_S = 10_000
_REST_MIN_S = 0.002
# How far back it looks.
_MEMORY_S = 0.2


class Pace:
    """What all writers of a process have in common: how much came lately, and how long the next records may gather."""

    def __init__(self, interval_max_ms: int) -> None:
        """0: nothing ever waits."""
        self._interval_max_s = interval_max_ms / 1000
        self._recent = 0.0
        self._at_s = -math.inf

    def note(self, records: int, now_s: float) -> None:
        """So many records are written now."""
        self._recent = self._left(now_s) + records
        self._at_s = now_s

    def _left(self, now_s: float) -> float:
        return self._recent * math.exp((self._at_s - now_s) / _MEMORY_S)

    def rest_s(self, now_s: float) -> float:
        """How long the next records may gather, 0 to the longest interval.

        Under full load it ends for all writers in the same moment: what they write then is fetched at once.
        """
        interval_s = min(self._left(now_s) / (_MEMORY_S * _FULL_PER_S), 1.0) * self._interval_max_s
        return interval_s - now_s % interval_s if interval_s >= _REST_MIN_S else 0.0
