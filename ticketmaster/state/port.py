"""The state port: the named stores of a task, kept together. A store has keys and values, and how far into its changelog they go.

A store only shortens recovery, the changelog is the truth: it may be lost, it must never be wrong. It is never ahead of the log.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

Changes = Mapping[bytes, bytes | None]
# Work in bounded pieces, one at each step, with turns for others in between. Closed before its end, it leaves nothing half done.
Steps = Generator[None, None, None]


class Update(NamedTuple):
    """Changes of one store (None deletes), and the changelog offset they lead to.

    ``reach``: values may be left out that records before this offset supersede. None is left out if it is not behind the checkpoint.
    """

    changes: Changes
    checkpoint: int
    reach: int = 0


class Scanned(NamedTuple):
    """A piece of a look through a store: what was found, in the order of the keys, and the last key that was looked at; None: all were."""

    items: list[tuple[bytes, bytes]]
    end: bytes | None

    @classmethod
    def of(cls, values: Mapping[bytes, bytes], after: bytes, part: bytes, rows_max: int) -> Scanned:
        """As :meth:`StateTable.scan`, of what is in memory."""
        keys = sorted(key for key in values if key > after)
        found = [(key, values[key]) for key in keys[:rows_max] if part in values[key]]
        return cls(found, keys[rows_max - 1] if len(keys) > rows_max else None)


class StateTable(Protocol):
    """One store, for reading. TaskCorrupted: what is there can't be read."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def get_all(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those of the keys that have one."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, in the order of the keys."""

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Scanned:
        """Looks at the next ``rows_max`` rows behind a key, and finds those whose value has ``part`` somewhere. It takes 0.2 µs a row."""

    def checkpoint(self) -> int | None:
        """The changelog offset up to which the store is complete; None: it never was."""

    def reach(self) -> int:
        """The offset that the changelog must have come to: in one that ends before it, nothing supersedes what the store leaves out."""


class StateStores(Protocol):
    """The stores of one task by their names. TaskCorrupted: what is there can't be read; Fatal: it can't be written."""

    def table(self, name: str) -> StateTable:
        """A store by its name."""

    def writing(self, updates: Mapping[str, Update]) -> Steps:
        """Applies the updates of several stores in one transaction, which the last step commits. Others' values are read meanwhile."""

    def clear(self) -> None:
        """Forgets everything of every store, the checkpoints too."""

    def check(self, rows_max: int) -> bool:
        """Looks whether the next rows are what was written; False if none was left to look at since the stores were opened."""

    def close(self) -> None:
        """Releases what is held."""
