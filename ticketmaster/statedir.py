"""The state directory of a role's processes: any number of them may share it, each with a slot of its own.

``<state directory>/<application id>/<data id>/<slot>/<partition>/<store>.db``. The data id names what the state was built from (a Kafka
cluster, schema ids): state of another one is never taken for it. A process holds the first slot that no other holds, so that one which
starts again finds what it left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ticketmaster.errors import Fatal, UsageError
from ticketmaster.writable import check_space, check_stores

_SLOTS_MAX = 1_000
_LOCK = "lock"
_MEMBER = "member"
# What others may not do in a folder of ours, and in the state directory, which the operator may have made for more than state.
_OTHERS = 0o077
_OTHERS_WRITE = 0o022
_ROOT = 0


class Slot:
    """A folder that this process holds alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[Path] = set()

    def partition_folder(self, partition: int) -> Path:
        """Where a partition's stores are; created if need be."""
        folder = self.folder / str(partition)
        try:
            _make_own(folder)
        except OSError as cause:
            raise Fatal(f"the state {folder} can't be created: {cause.strerror}") from cause
        self._used.add(folder)
        return folder

    def note_use(self) -> None:
        """For whoever looks for state that is not used any more: partitions where nothing happens are written to rarely."""
        for folder in self._used:
            with contextlib.suppress(OSError):
                os.utime(folder)

    def stored(self) -> list[int]:
        """The partitions that there is state of."""
        return sorted(int(entry.name) for entry in self.folder.iterdir() if entry.name.isdecimal())

    def note_member(self, member_id: str) -> None:
        """Keeps the id that this process has in its group: if it dies, whoever notices can leave the group for it."""
        temporary = self.folder / f"{_MEMBER}.new"
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as note:
            note.write(member_id)
        temporary.replace(self.folder / _MEMBER)

    def forget_member(self) -> None:
        """The process has left its group itself."""
        (self.folder / _MEMBER).unlink(missing_ok=True)


def slot_lock(store: Path) -> Path:
    """The lock of whoever works on a store, by the store's file."""
    return store.parent.parent / _LOCK


@contextmanager
def held_slot(state_dir: Path, application_id: str, data_id: str) -> Iterator[Slot]:
    """The first slot that nobody holds, held until the context or the process ends.

    UsageError: the directory can't be used or written, or somebody else may have put there what is in it.
    """
    slots = state_dir / application_id / data_id
    try:
        _make_top(state_dir)
        _make_own(state_dir / application_id)
        _make_own(slots)
        descriptor, folder = _hold_first(slots)
    except OSError as cause:
        raise _unusable(state_dir, cause) from cause
    try:
        _check_below(folder)
        slot = Slot(folder)
        check_stores([folder, *(folder / str(partition) for partition in slot.stored())])
        check_space(folder)
        yield slot
        slot.note_use()
    finally:
        os.close(descriptor)


def _hold_first(slots: Path) -> tuple[int, Path]:
    for number in range(_SLOTS_MAX):
        folder = slots / str(number)
        _make_own(folder)
        descriptor = _try_to_hold(folder)
        if descriptor is not None:
            return descriptor, folder
    raise UsageError(f"{_SLOTS_MAX} processes use {slots} already; choose another state directory with -d")


def _try_to_hold(folder: Path) -> int | None:
    lock = folder / _LOCK
    if lock.is_symlink():
        raise _not_ours(lock, "is a link")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def holding(folder: Path) -> Iterator[bool]:
    """Holds a slot for a moment, whatever it is of; False: a process has it. UsageError: it may be somebody else's. OSError: it can't."""
    _check_own(folder, folder.lstat())
    descriptor = _try_to_hold(folder)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _taken(folder: Path, note: Path) -> list[str]:
    for path in (folder, note.parent.parent, note):
        _check_own(path, path.lstat())
    with holding(note.parent) as is_held:
        # Whoever holds the slot lives, and has its note or will write one.
        if not is_held:
            return []
        member = note.read_text(encoding="utf-8")
        note.unlink()
    return [member]


def take_dead_members(state_dir: Path, application_id: str) -> list[str]:
    """The ids of members whose processes died without leaving their group: each is returned once. UsageError: as of :func:`held_slot`."""
    found = []
    try:
        for note in (state_dir / application_id).glob(f"*/*/{_MEMBER}"):
            # Its process may have come back meanwhile, and left the group itself.
            with contextlib.suppress(FileNotFoundError):
                found += _taken(state_dir / application_id, note)
    except OSError as cause:
        raise _unusable(state_dir, cause) from cause
    return found


# Whose it is. The default is in /tmp, where anybody may have made it first: what is not ours might be seats that are free again, or a
# link to a file of ours.


def _make_top(state_dir: Path) -> None:
    """The state directory itself: ours, or root's, as where a volume is mounted."""
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    found = _made(state_dir)
    if found.st_uid == _ROOT != os.geteuid() and not stat.S_ISLNK(found.st_mode):
        return
    _check_own(state_dir, found)
    _close_to_others(state_dir, found, _OTHERS_WRITE)


def _make_own(folder: Path) -> None:
    """A folder of ours that nobody else may look into; created if need be."""
    found = _made(folder)
    _check_own(folder, found)
    _close_to_others(folder, found, _OTHERS)


def _made(folder: Path) -> os.stat_result:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise
        return found
    return folder.lstat()


def _close_to_others(folder: Path, found: os.stat_result, bits: int) -> None:
    if found.st_mode & bits:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~bits)


def _check_below(folder: Path) -> None:
    """All that is in a slot: its lock, its note, and its partitions' stores."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            entry = Path(parent, name)
            try:
                found = entry.lstat()
            except FileNotFoundError:
                continue
            _check_own(entry, found)
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                raise _not_ours(entry, "has another name elsewhere (a hard link)")


def _check_own(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _not_ours(path, "is a link")
    if found.st_uid != os.geteuid():
        raise _not_ours(path, f"belongs to {_user(found.st_uid)}")


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user of number {uid}"


def _not_ours(path: Path, why: str) -> UsageError:
    text = f"{path} in the state directory {why}: somebody else may have put it there; choose another with -d, or move it away"
    return UsageError(text)


def _unusable(state_dir: Path, cause: OSError) -> UsageError:
    return UsageError(f"the state directory {state_dir} can't be used: {cause.strerror}; choose another with -d")
