"""State stores that live as long as the process: for tests, simulation, and state that is cheap to restore."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ticketmaster.state.port import Changes, Scanned, Steps, Update


class MemoryTable:
    """Values in a dictionary."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._checkpoint: int | None = None
        self._reach = 0

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def get_all(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return {key: self._values[key] for key in keys if key in self._values}

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self._values.items()))

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Scanned:
        return Scanned.of(self._values, after, part, rows_max)

    def checkpoint(self) -> int | None:
        return self._checkpoint

    def reach(self) -> int:
        return self._reach

    def write(self, changes: Changes, checkpoint: int, reach: int = 0) -> None:
        """Applies changes."""
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        self._checkpoint, self._reach = checkpoint, max(checkpoint, reach)

    def clear(self) -> None:
        """Forgets everything."""
        self._values.clear()
        self._checkpoint, self._reach = None, 0


class MemoryStores:
    """Stores in dictionaries, each made when it is first asked for."""

    def __init__(self) -> None:
        self._tables: dict[str, MemoryTable] = defaultdict(MemoryTable)

    def table(self, name: str) -> MemoryTable:
        return self._tables[name]

    def writing(self, updates: Mapping[str, Update]) -> Steps:
        yield
        for name, update in updates.items():
            self._tables[name].write(*update)

    def clear(self) -> None:
        for table in self._tables.values():
            table.clear()

    def check(self, rows_max: int) -> bool:
        return False

    def close(self) -> None:
        """Nothing is held."""
