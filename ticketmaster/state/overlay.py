"""What is newer than the stores: the open transaction's writes, and committed ones that wait to be written in bulk.

Committed values wait in two generations, and only the older one is written: most reservations are decided by then, so that their
first value is never written, nor read back. What was written stays in memory for one generation more, because most values are asked
for once and soon. Look-up order: open → newer → older → written → store. A value leaves memory only when the store has it, or a newer one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.state.port import Scanned, StateStores, StateTable, Steps, Update


class Overlay:
    """A task's view of one store. Nothing reaches the store before the transaction that wrote it is committed."""

    def __init__(self, table: StateTable) -> None:
        self.table = table
        self._open: dict[bytes, bytes | None] = {}
        self._newer: dict[bytes, bytes | None] = {}
        self._older: dict[bytes, bytes | None] = {}
        self._written: dict[bytes, bytes | None] = {}
        self._position: int | None = table.checkpoint()
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
        # Not a loop: it is asked about every record.
        if key in self._open:
            return self._open[key]
        if key in self._newer:
            return self._newer[key]
        if key in self._older:
            return self._older[key]
        if key in self._written:
            return self._written[key]
        return self.table.get(key)

    def prefetch(self, keys: Sequence[bytes]) -> None:
        """Keeps what the store has of keys that will be asked for, up to its next write: a question for many costs a third each."""
        newer, older, written = self._newer, self._older, self._written
        unknown = [key for key in keys if not (key in newer or key in older or key in written)]
        if len(unknown) > 1:
            written.update(self.table.get_all(unknown))

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Scanned:
        """As :meth:`StateTable.scan`, of what is committed; what is in memory counts for no row."""
        stored, end = self.table.scan(after, part, rows_max)
        items: dict[bytes, bytes] = dict(stored)
        # Those just written are in the store.
        for generation in (self._older, self._newer):
            for key, value in generation.items():
                if key <= after or (end is not None and key > end):
                    continue
                if value is not None and part in value:
                    items[key] = value
                else:
                    items.pop(key, None)
        return Scanned(sorted(items.items()), end)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Writes a value in the open transaction; None deletes."""
        self._open[key] = value

    def commit(self, position: int | None) -> None:
        """The open transaction is in the log; its changelog records end at ``position`` (None: it had none)."""
        self._newer.update(self._open)
        self._open = {}
        if position is not None:
            self._position = position

    def apply(self, changes: Sequence[tuple[bytes, bytes | None]], position: int) -> None:
        """Takes records that are durable already and end at ``position``: what a table does, which reads instead of writing."""
        self._newer.update(changes)
        self._position = position

    @property
    def is_written(self) -> bool:
        """Whether the store has all that is committed."""
        return not self._newer and not self._older

    def forget_open(self) -> None:
        """The open transaction never was."""
        self._open = {}

    def due(self) -> Update | None:
        """The older generation, with the changelog offset it stands for; None: the store has it all."""
        # What is superseded is left out: its later value lies behind the checkpoint, where a restoration finds it if it is durable.
        newer = self._newer
        changes = {key: value for key, value in self._older.items() if key not in newer}
        if self._older_position is None or not (changes or self._older_position != self.table.checkpoint()):
            return None
        return Update(changes, self._older_position, self._position or 0)

    def move_on(self) -> None:
        """The store has what was due: the newer generation becomes the older one."""
        self._written, self._older, self._older_position, self._newer = self._older, self._newer, self._position, {}


class Overlays(dict[str, Overlay]):
    """The overlays of a task's stores by their names; all are written behind in one transaction."""

    def __init__(self, stores: StateStores, names: Sequence[str]) -> None:
        super().__init__({name: Overlay(stores.table(name)) for name in names})
        self._stores = stores

    @property
    def unwritten(self) -> int:
        """How many committed values the newer generations have."""
        return sum([overlay.unwritten for overlay in self.values()])

    @property
    def are_written(self) -> bool:
        """Whether the stores have all that is committed."""
        return all(overlay.is_written for overlay in self.values())

    @property
    def positions(self) -> dict[str, int]:
        """The changelog offsets of all that is committed, by store."""
        return {name: position for name, overlay in self.items() if (position := overlay.position) is not None}

    def writing_behind(self) -> Steps:
        """Writes the older generations to the stores; with the last step the newer ones become the older.

        Only when the changelogs are durable up to :attr:`positions`: for the sake of newer values older ones are left out.
        """
        updates = {name: due for name, overlay in self.items() if (due := overlay.due())}
        if updates:
            yield from self._stores.writing(updates)
        for overlay in self.values():
            overlay.move_on()

    def writing_all(self) -> Steps:
        """Writes all that is committed; the open transaction's writes are forgotten."""
        for overlay in self.values():
            overlay.forget_open()
        yield from self.writing_behind()
        yield from self.writing_behind()

    def check(self, rows_max: int) -> bool:
        """As :meth:`StateStores.check`."""
        return self._stores.check(rows_max)

    def close(self) -> None:
        """Closes the stores as they are."""
        self._stores.close()
