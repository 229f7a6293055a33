"""What is newer than the store: the open transaction's writes, and committed ones that wait to be written in bulk.

Committed values wait in two generations, and only the older one is written: most reservations are decided by then, so that their
first value is never written, nor read back. What was written stays in memory for one generation more, because most values are asked
for once and soon. Look-up order: open → newer → older → written → store. A value leaves memory only when the store has it, or a newer one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.state.port import StateStore


class Overlay:
    """A task's view of its state. Nothing reaches the store before the transaction that wrote it is committed."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._open: dict[bytes, bytes | None] = {}
        self._newer: dict[bytes, bytes | None] = {}
        self._older: dict[bytes, bytes | None] = {}
        self._written: dict[bytes, bytes | None] = {}
        self._position: int | None = store.checkpoint()
        # Where the changelog of the older generation ends.
        self._older_position = self._position

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
        """How many committed values the newer generation has."""
        return len(self._newer)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, the open transaction's own writes included."""
        for layer in (self._open, self._newer, self._older, self._written):
            if key in layer:
                return layer[key]
        return self._store.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Writes a value in the open transaction; None deletes."""
        self._open[key] = value

    def commit(self, position: int | None) -> None:
        """The open transaction is durable in the log; its changelog records end at ``position`` (None: it had none)."""
        self._newer.update(self._open)
        self._open = {}
        if position is not None:
            self._position = position

    def apply(self, changes: Sequence[tuple[bytes, bytes | None]], position: int) -> None:
        """Takes records that are durable already and end at ``position``: what a table does, which reads instead of writing."""
        self._newer.update(changes)
        self._position = position

    def write_behind(self) -> None:
        """Writes the older generation to the store, with the changelog offset it stands for; the newer one becomes the older."""
        # What is superseded is left out: its later value lies behind the checkpoint, so that a restoration finds it.
        newer = self._newer
        changes = {key: value for key, value in self._older.items() if key not in newer}
        if self._older_position is not None and (changes or self._older_position != self._store.checkpoint()):
            self._store.write(changes, self._older_position)
        self._written, self._older, self._older_position, self._newer = self._older, newer, self._position, {}

    def close(self, *, write_behind: bool = True) -> None:
        """Writes what is committed, unless the store is not to be trusted; the open transaction's writes are forgotten."""
        self._open = {}
        try:
            if write_behind:
                self.write_behind()
                self.write_behind()
        finally:
            self._store.close()
