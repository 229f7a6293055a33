"""A machine's disk: its state stores, which may be lost, torn, damaged, unwritable or full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from errno import ENOSPC
from random import Random

from ticketmaster.errors import Fatal, TaskCorrupted
from ticketmaster.state.port import Scanned, Steps, Update

_KEPT_WRITES = 3

Place = tuple[str, int]


_Before = tuple[dict[bytes, bytes | None], int | None, int]
# What was written, and how far each store had come before, by the names of the stores.
OnWritten = Callable[[Mapping[str, Update], Mapping[str, int]], None]


def _nobody_asks(_updates: Mapping[str, Update], _before: Mapping[str, int]) -> None:
    """Nobody minds what is written to stores."""


class _Table:
    """One store of a file, for reading by whoever has it open."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self.values: dict[bytes, bytes] = {}
        self.position: int | None = None
        self.reaches = 0

    def get(self, key: bytes) -> bytes | None:
        self._file.check()
        return self.values.get(key)

    def get_all(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        self._file.check()
        return {key: self.values[key] for key in keys if key in self.values}

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        self._file.check()
        return iter(sorted(self.values.items()))

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Scanned:
        self._file.check()
        return Scanned.of(self.values, after, part, rows_max)

    def checkpoint(self) -> int | None:
        self._file.check()
        return self.position

    def reach(self) -> int:
        self._file.check()
        return self.reaches

    def put(self, changes: Mapping[bytes, bytes | None], position: int | None, reach: int) -> _Before:
        """Applies changes (None deletes), and returns what takes them back."""
        before: _Before = {key: self.values.get(key) for key in changes}, self.position, self.reaches
        for key, value in changes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value
        self.position, self.reaches = position, max(position or 0, reach)
        return before


class _File:
    """One task's file: its stores, and what the newest writes replaced, which a power failure may take back."""

    def __init__(self) -> None:
        self.tables: dict[str, _Table] = {}
        self.damaged = False
        self.users = 0
        self.replaced: list[dict[str, _Before]] = []

    def copy(self) -> _File:
        """As it is found by the next process."""
        twin = _File()
        for name, table in self.tables.items():
            twin.tables[name] = _Table(twin)
            twin.tables[name].put(table.values, table.position, table.reaches)
        twin.damaged, twin.replaced = self.damaged, list(self.replaced)
        return twin

    def tear(self, writes: int) -> None:
        """Loses so many of the newest writes: SQLite syncs at checkpoints only, a power failure takes whole transactions."""
        for _ in range(min(writes, len(self.replaced))):
            for name, before in self.replaced.pop().items():
                self.tables[name].put(*before)

    def check(self) -> None:
        """TaskCorrupted: it is damaged."""
        if self.damaged:
            raise TaskCorrupted("the state can't be read: database disk image is malformed")


class Disk:
    """The stores of one machine, by application and partition."""

    def __init__(self) -> None:
        self.files: dict[Place, _File] = {}
        self.full = False
        # Whether a write was refused because it was full.
        self.refused = False
        # How many stores of one file were open at once, where that was more than one.
        self.shared: list[Place] = []

    def open(self, application_id: str, names: Sequence[str], partition: int, on_written: OnWritten = _nobody_asks) -> SimulatedStores:
        """Opens the stores of a task. ``on_written`` is told what is written to them, and from where on."""
        place = application_id, partition
        file = self.files.setdefault(place, _File())
        for name in names:
            file.tables.setdefault(name, _Table(file))
        file.users += 1
        if file.users > 1:
            self.shared.append(place)
        return SimulatedStores(self, file, on_written)

    def stored(self, application_id: str) -> list[int]:
        """The partitions of an application that there is state of."""
        return sorted(partition for application, partition in self.files if application == application_id)

    def note_member(self, _member_id: str) -> None:
        """Keeps the id that this process has in a group."""
        if self.full:
            self.refused = True
            raise OSError(ENOSPC, "No space left on device")

    @property
    def in_use(self) -> list[Place]:
        """The stores that are open."""
        return [place for place, file in self.files.items() if file.users]

    def copy(self) -> Disk:
        """What a new process finds; the old one may go on to use its own."""
        twin = Disk()
        twin.files = {place: file.copy() for place, file in self.files.items()}
        return twin

    def tear(self, random: Random) -> None:
        """A power failure: some stores lose their newest writes."""
        for file in self.files.values():
            file.tear(random.randrange(_KEPT_WRITES + 1))

    def damage(self, random: Random) -> Place | None:
        """One store can't be read from now on."""
        if not self.files:
            return None
        place = random.choice(list(self.files))
        self.files[place].damaged = True
        return place


class SimulatedStores:
    """State stores in memory that fail as those in SQLite do."""

    def __init__(self, disk: Disk, file: _File, on_written: OnWritten) -> None:
        self._disk = disk
        self._file = file
        self._on_written = on_written
        self._is_open = True

    def table(self, name: str) -> _Table:
        return self._file.tables[name]

    def writing(self, updates: Mapping[str, Update]) -> Steps:
        file = self._file
        file.check()
        # Here a process may be killed, and the disk may fill up.
        yield
        file.check()
        if self._disk.full:
            self._disk.refused = True
            raise Fatal("the state can't be written: the disk is full")
        before = {name: file.tables[name].position or 0 for name in updates}
        file.replaced.append({name: file.tables[name].put(*update) for name, update in updates.items()})
        del file.replaced[:-_KEPT_WRITES]
        self._on_written(updates, before)

    def clear(self) -> None:
        file = self._file
        for table in file.tables.values():
            table.values.clear()
            table.position, table.reaches = None, 0
        file.damaged = False
        file.replaced.clear()

    def check(self, rows_max: int) -> bool:
        self._file.check()
        return False

    def close(self) -> None:
        self._file.users -= self._is_open
        self._is_open = False
