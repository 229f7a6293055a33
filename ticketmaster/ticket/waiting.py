"""Who waits for which reservation. All wait equally long, so those who came first time out first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Waiters by the key they wait for; several may wait for one key."""

    def __init__(self) -> None:
        self._numbers = 0
        # By arrival, which is also by deadline.
        self._waiters: dict[int, tuple[float, bytes, T]] = {}
        self._by_key: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def awaited(self) -> list[bytes]:
        """The keys that are waited for."""
        return list(self._by_key)

    def add(self, key: bytes, waiter: T, deadline: float) -> None:
        """Waits for a key; a deadline is no earlier than those before it."""
        number = self._numbers = self._numbers + 1
        self._waiters[number] = (deadline, key, waiter)
        numbers = self._by_key.get(key)
        if numbers is None:
            self._by_key[key] = [number]
        else:
            numbers.append(number)

    def take(self, key: bytes) -> list[T]:
        """Everybody who waits for a key; they wait no longer."""
        numbers = self._by_key.pop(key, None)
        if numbers is None:
            return []
        return [self._waiters.pop(number)[2] for number in numbers]

    def take_expired(self, now: float) -> Iterator[T]:
        """Everybody whose deadline has come; they wait no longer."""
        while self._waiters:
            number = next(iter(self._waiters))
            deadline, key, waiter = self._waiters[number]
            if deadline > now:
                return
            del self._waiters[number]
            numbers = self._by_key[key]
            numbers.remove(number)
            if not numbers:
                del self._by_key[key]
            yield waiter
