"""Who waits for which reservation. All wait equally long, so those who came first time out first."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Waiters by the key they wait for; several may wait for one key."""

    def __init__(self) -> None:
        self._numbers = 0
        self.waiters: dict[int, tuple[float, bytes, T]] = {}
        """All of them, by arrival, which is also by deadline; all before the oldest are gone."""
        self._oldest = 1
        # With the numbers of those that were gone before others of the same key.
        self._by_key: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self.waiters)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def awaited(self) -> list[bytes]:
        """The keys that are waited for."""
        return list(self._by_key)

    def add(self, key: bytes, waiter: T, deadline: float) -> None:
        """Waits for a key; a deadline is no earlier than those before it."""
        number = self._numbers = self._numbers + 1
        self.waiters[number] = (deadline, key, waiter)
        numbers = self._by_key.get(key)
        if numbers is None:
            self._by_key[key] = [number]
        else:
            # However long a key is waited for without a pause, it keeps no more of those that are gone than of those that wait.
            if numbers[len(numbers) // 2] < self._oldest:
                del numbers[: bisect_left(numbers, self._oldest)]
            numbers.append(number)

    def take(self, key: bytes) -> list[T]:
        """Everybody who waits for a key; they wait no longer."""
        numbers = self._by_key.pop(key, None)
        if numbers is None:
            return []
        waiters = self.waiters
        return [waiters.pop(number)[2] for number in numbers if number in waiters]

    def take_expired(self, now: float) -> Iterator[T]:
        """Everybody whose deadline has come; they wait no longer."""
        waiters = self.waiters
        while waiters:
            found = waiters.get(self._oldest)
            if found is None:
                self._oldest += 1
                continue
            deadline, key, waiter = found
            if deadline > now:
                return
            del waiters[self._oldest]
            # They time out in the order in which they came: whoever came last for a key is the last to go.
            if self._by_key[key][-1] == self._oldest:
                del self._by_key[key]
            self._oldest += 1
            yield waiter
