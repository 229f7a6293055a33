"""The state port: the named stores of a task, kept together. A store has keys and values, and how far into its changelog they go.

A store only shortens recovery, the changelog is the truth: it may be lost, it must never be wrong. It is never ahead of the log.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import NamedTuple, Protocol

Changes = Mapping[bytes, bytes | None]
# Work in bounded pieces, one at each step, with turns for others in between. Closed before its end, it leaves nothing half done.
Steps = Generator[None, None, None]


class Update(NamedTuple):
    """Changes of one store (None deletes), and the changelog offset they lead to."""

    changes: Changes
    checkpoint: int


class StateTable(Protocol):
    """One store, for reading. TaskCorrupted: what is there can't be read."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, in the order of the keys."""

    def after(self, key: bytes, rows_max: int) -> list[tuple[bytes, bytes]]:
        """The next keys behind this one and their values, in order; fewer than ``rows_max`` only where there are no more."""

    def checkpoint(self) -> int | None:
        """The changelog offset up to which the store is complete; None: it never was."""


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
