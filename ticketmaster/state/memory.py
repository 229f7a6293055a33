"""A state store that lives as long as the process: for tests, simulation, and state that is cheap to restore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class MemoryStore:
    """Values in a dictionary."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._checkpoint: int | None = None

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self._values.items()))

    def checkpoint(self) -> int | None:
        return self._checkpoint

    def write(self, changes: Mapping[bytes, bytes | None], checkpoint: int) -> None:
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        self._checkpoint = checkpoint

    def clear(self) -> None:
        self._values.clear()
        self._checkpoint = None

    def close(self) -> None:
        """Nothing is held."""
