"""Ids that a gateway has minted and whose decision has not come, and how long decisions take.

How long is measured on a clock that never goes back. The time in an id is that of the wall clock, and ids only grow: after that clock was
set back they run ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

from ticketmaster.broker.port import Pair
from ticketmaster.telemetry.metrics import Histogram

# As many as there may be by far; of more a part is measured.
_IDS_MAX = 200_000
# A decision that comes later is not measured: its command may be lost, and would keep its place for ever.
_KEPT_MS = 3_600_000


class Undecided:
    """Each id with its partition: no table need be asked for it."""

    def __init__(self, clock_s: Callable[[], float], durations: Histogram | None) -> None:
        """``clock_s`` never goes back; ``durations`` takes how long decisions took, in seconds."""
        self._clock_s = clock_s
        self._durations = durations
        # Partition and time of each, the oldest first.
        self._ids: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._ids)

    def add(self, key: bytes, partition: int) -> None:
        """A command was taken."""
        if len(self._ids) < _IDS_MAX:
            self._ids[key] = partition, int(self._clock_s() * 1000)

    def partition(self, key: bytes) -> int | None:
        """The partition of an id that waits for its decision; None: it does not."""
        found = self._ids.get(key)
        return None if found is None else found[0]

    def decide(self, records: Sequence[Pair]) -> None:
        """Decisions have come. Many were asked for in the same millisecond as the one before."""
        ids, durations = self._ids, self._durations
        if not ids:
            return
        now_ms, since_ms, times = int(self._clock_s() * 1000), 0, 0
        for key, _ in records:
            found = ids.pop(key, None)
            if found is None or durations is None:
                continue
            if found[1] != since_ms:
                if times:
                    durations.observe((now_ms - since_ms) / 1000, times)
                since_ms, times = found[1], 0
            times += 1
        if times and durations is not None:
            durations.observe((now_ms - since_ms) / 1000, times)

    def forget(self, key: bytes) -> None:
        """The command was refused, or nobody knows whether it was taken: no client was told its id."""
        self._ids.pop(key, None)

    def forget_old(self) -> None:
        """Drops those that wait too long."""
        ids, kept_since_ms = self._ids, int(self._clock_s() * 1000) - _KEPT_MS
        for key in list(takewhile(lambda key: ids[key][1] < kept_since_ms, ids)):
            del ids[key]

    def clear(self) -> None:
        """Their decisions may have come unseen."""
        self._ids.clear()
