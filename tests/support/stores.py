"""One store of a task that has no other, as its tests like to ask it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from ticketmaster.state.port import Changes, StateStores, Steps, Update

NAME = "Only"


def done(steps: Steps) -> None:
    """Takes all steps in one go."""
    deque(steps, maxlen=0)


def write(stores: StateStores, updates: Mapping[str, Update]) -> None:
    """Writes in one go."""
    done(stores.writing(updates))


class OnlyStore:
    """A store by itself."""

    def __init__(self, stores: StateStores) -> None:
        self.stores = stores

    def get(self, key: bytes) -> bytes | None:
        return self.stores.table(NAME).get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self.stores.table(NAME).items()

    def checkpoint(self) -> int | None:
        return self.stores.table(NAME).checkpoint()

    def write(self, changes: Changes, checkpoint: int) -> None:
        """Writes in a transaction of its own."""
        write(self.stores, {NAME: Update(changes, checkpoint)})

    def clear(self) -> None:
        """Forgets everything."""
        self.stores.clear()

    def close(self) -> None:
        """Closes it."""
        self.stores.close()
