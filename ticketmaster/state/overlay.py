"""What is newer than the store: the open transaction's writes, and committed ones that wait to be written in bulk.

Look-up order: open → committed → store. A value leaves memory only when the store has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.state.port import StateStore


class Overlay:
    """A task's view of its state. Nothing reaches the store before the transaction that wrote it is committed."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._open: dict[bytes, bytes | None] = {}
        self._committed: dict[bytes, bytes | None] = {}
        self._position: int | None = store.checkpoint()

    @property
    def position(self) -> int | None:
        """The changelog offset up to which this state is complete; None: nothing was ever restored."""
        return self._position

    @property
    def open_writes(self) -> dict[bytes, bytes | None]:
        """The open transaction's writes: its changelog records."""
        return self._open

    @property
    def unwritten(self) -> int:
        """How many committed values wait for the store."""
        return len(self._committed)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, the open transaction's own writes included."""
        for layer in (self._open, self._committed):
            if key in layer:
                return layer[key]
        return self._store.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Writes a value in the open transaction; None deletes."""
        self._open[key] = value

    def commit(self, position: int | None) -> None:
        """The open transaction is durable in the log; its changelog records end at ``position`` (None: it had none)."""
        self._committed.update(self._open)
        self._open = {}
        if position is not None:
            self._position = position

    def write_behind(self) -> None:
        """Writes what is committed to the store, with the changelog offset it stands for."""
        if self._position is not None and (self._committed or self._position != self._store.checkpoint()):
            self._store.write(self._committed, self._position)
            self._committed = {}

    def apply(self, changes: Sequence[tuple[bytes, bytes | None]], position: int) -> None:
        """Takes records that are durable already and end at ``position``: what a table does, which reads instead of writing."""
        self._committed.update(changes)
        self._position = position

    def close(self, *, write_behind: bool = True) -> None:
        """Writes what is committed, unless the store is not to be trusted; the open transaction's writes are forgotten."""
        self._open = {}
        try:
            if write_behind:
                self.write_behind()
        finally:
            self._store.close()
