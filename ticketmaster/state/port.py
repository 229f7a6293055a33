"""The state store port: keys and values, and how far into the changelog they go.

A store only shortens recovery, the changelog is the truth: it may be lost, it must never be wrong. It is never ahead of the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol


class StateStore(Protocol):
    """Values by key, with the changelog offset they stand for. TaskCorrupted: what is there can't be read."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, in the order of the keys."""

    def checkpoint(self) -> int | None:
        """The changelog offset up to which the store is complete; None: it never was."""

    def write(self, changes: Mapping[bytes, bytes | None], checkpoint: int) -> None:
        """Applies changes (None deletes) and the offset they lead to, in one transaction."""

    def clear(self) -> None:
        """Forgets everything, the checkpoint too."""

    def close(self) -> None:
        """Releases what is held."""
