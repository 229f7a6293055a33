"""When something must be done about a reservation, by seconds: nothing is done before its instant, and hardly a second later."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush


class Deadlines:
    """Ids by the second in which something is due. Of a million they take 80 MB, most of it the ids themselves.

    Nobody takes one out again: whoever is told of an id looks whether it is still due.
    """

    def __init__(self) -> None:
        # A second has what is due in the second before it, or in its own first instant.
        self._ids: dict[int, list[bytes]] = {}
        self._seconds: list[int] = []

    def add(self, reservation_id: bytes, at_ms: int) -> None:
        """Something is due at an instant."""
        second = -(-at_ms // 1000)
        ids = self._ids.get(second)
        if ids is None:
            self._ids[second] = [reservation_id]
            heappush(self._seconds, second)
        else:
            ids.append(reservation_id)

    @property
    def next_ms(self) -> int | None:
        """When the next ids are due."""
        return self._seconds[0] * 1000 if self._seconds else None

    def due_by(self, at_ms: int) -> int:
        """How many ids are due at an instant, those included that are not any more."""
        return sum([len(ids) for second, ids in self._ids.items() if second * 1000 <= at_ms])

    def take_due(self, now_ms: int, ids_max: int) -> Iterator[bytes]:
        """Up to so many ids that are due, those first that are so longest."""
        while self._seconds and self._seconds[0] * 1000 <= now_ms:
            ids = self._ids[self._seconds[0]]
            while ids:
                if not ids_max:
                    return
                ids_max -= 1
                yield ids.pop()
            del self._ids[heappop(self._seconds)]
