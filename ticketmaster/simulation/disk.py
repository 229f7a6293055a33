"""A machine's disk: its state stores, which may be lost, torn, damaged, unwritable or full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from errno import ENOSPC
from random import Random

from ticketmaster.errors import Fatal, TaskCorrupted

_KEPT_WRITES = 3

Place = tuple[str, int]


class _File:
    """One store's file: what it holds, and what the newest writes replaced, which a power failure may take back."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.checkpoint: int | None = None
        self.damaged = False
        self.users = 0
        self.replaced: list[tuple[dict[bytes, bytes | None], int | None]] = []

    def copy(self) -> _File:
        """As it is found by the next process."""
        twin = _File()
        twin.values, twin.checkpoint, twin.damaged, twin.replaced = dict(self.values), self.checkpoint, self.damaged, list(self.replaced)
        return twin

    def put(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Applies changes; None deletes."""
        for key, value in changes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value

    def tear(self, writes: int) -> None:
        """Loses so many of the newest writes: SQLite syncs at checkpoints only, a power failure takes whole transactions."""
        for _ in range(min(writes, len(self.replaced))):
            before, checkpoint = self.replaced.pop()
            self.put(before)
            self.checkpoint = checkpoint


class Disk:
    """The stores of one machine, by application and partition."""

    def __init__(self) -> None:
        self.files: dict[Place, _File] = {}
        self.full = False
        # Whether a write was refused because it was full.
        self.refused = False
        # How many stores of one file were open at once, where that was more than one.
        self.shared: list[Place] = []

    def open(self, application_id: str, partition: int) -> SimulatedStore:
        """Opens a store."""
        place = application_id, partition
        file = self.files.setdefault(place, _File())
        file.users += 1
        if file.users > 1:
            self.shared.append(place)
        return SimulatedStore(self, file)

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


class SimulatedStore:
    """A state store in memory that fails as one in SQLite does."""

    def __init__(self, disk: Disk, file: _File) -> None:
        self._disk = disk
        self._file = file
        self._is_open = True

    def get(self, key: bytes) -> bytes | None:
        self._check()
        return self._file.values.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        self._check()
        return iter(sorted(self._file.values.items()))

    def checkpoint(self) -> int | None:
        self._check()
        return self._file.checkpoint

    def write(self, changes: Mapping[bytes, bytes | None], checkpoint: int) -> None:
        self._check()
        if self._disk.full:
            self._disk.refused = True
            raise Fatal("the state can't be written: the disk is full")
        file = self._file
        file.replaced.append(({key: file.values.get(key) for key in changes}, file.checkpoint))
        del file.replaced[:-_KEPT_WRITES]
        file.put(changes)
        file.checkpoint = checkpoint

    def clear(self) -> None:
        file = self._file
        file.values.clear()
        file.checkpoint = None
        file.damaged = False
        file.replaced.clear()

    def close(self) -> None:
        self._file.users -= self._is_open
        self._is_open = False

    def _check(self) -> None:
        if self._file.damaged:
            raise TaskCorrupted("the state can't be read: database disk image is malformed")
