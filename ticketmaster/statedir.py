"""The state directory of a role's processes: any number of them may share it, each with a slot of its own.

``<state directory>/<application id>/<data id>/<slot>/<partition>/<store>.db``. The data id names what the state was built from (a Kafka
cluster, schema ids): state of another one is never taken for it. A process holds the first slot that no other holds, so that one which
starts again finds what it left behind.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ticketmaster.errors import Fatal, UsageError

_SLOTS_MAX = 1_000
_LOCK = "lock"
_MEMBER = "member"


class Slot:
    """A folder that this process holds alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def partition_folder(self, partition: int) -> Path:
        """Where a partition's stores are; created if need be."""
        folder = self.folder / str(partition)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as cause:
            raise Fatal(f"the state {folder} can't be created: {cause.strerror}") from cause
        return folder

    def stored(self) -> list[int]:
        """The partitions that there is state of."""
        return sorted(int(entry.name) for entry in self.folder.iterdir() if entry.name.isdecimal())

    def note_member(self, member_id: str) -> None:
        """Keeps the id that this process has in its group: if it dies, whoever notices can leave the group for it."""
        temporary = self.folder / f"{_MEMBER}.new"
        temporary.write_text(member_id, encoding="utf-8")
        temporary.replace(self.folder / _MEMBER)

    def forget_member(self) -> None:
        """The process has left its group itself."""
        (self.folder / _MEMBER).unlink(missing_ok=True)


@contextmanager
def held_slot(state_dir: Path, application_id: str, data_id: str) -> Iterator[Slot]:
    """The first slot that nobody holds, held until the context or the process ends. UsageError: the directory can't be used."""
    slots = state_dir / application_id / data_id
    try:
        descriptor, folder = _hold_first(slots)
    except OSError as cause:
        raise _unusable(state_dir, cause) from cause
    try:
        yield Slot(folder)
    finally:
        os.close(descriptor)


def _hold_first(slots: Path) -> tuple[int, Path]:
    for number in range(_SLOTS_MAX):
        folder = slots / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _try_to_hold(folder)
        if descriptor is not None:
            return descriptor, folder
    raise UsageError(f"{_SLOTS_MAX} processes use {slots} already; choose another state directory with -d")


def _try_to_hold(folder: Path) -> int | None:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def take_dead_members(state_dir: Path, application_id: str) -> list[str]:
    """The ids of members whose processes died without leaving their group: each is returned once. UsageError: as of :func:`held_slot`."""
    found = []
    try:
        for note in (state_dir / application_id).glob(f"*/*/{_MEMBER}"):
            descriptor = _try_to_hold(note.parent)
            # Whoever holds the slot lives, and has its note or will write one.
            if descriptor is None:
                continue
            try:
                found.append(note.read_text(encoding="utf-8"))
                note.unlink()
            except FileNotFoundError:
                pass
            finally:
                os.close(descriptor)
    except OSError as cause:
        raise _unusable(state_dir, cause) from cause
    return found


def _unusable(state_dir: Path, cause: OSError) -> UsageError:
    return UsageError(f"the state directory {state_dir} can't be used: {cause.strerror}; choose another with -d")
