"""The data directory of a standalone process: whose it is, and that only one process uses it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ticketmaster.errors import UsageError
from ticketmaster.writable import check_database, check_folder, check_space

_FORMAT = 1
LOG_FILE = "log.db"
STATE = "state"
_MARKER = "ticketmaster.json"
_NEW_MARKER = "ticketmaster.new"
_LOCK = "ticketmaster.lock"
# Whoever looks whether a lock is held holds it for some microseconds.
_TRIES = 10
_TRY_AGAIN_S = 0.02
# What a fresh volume may hold, and what a process leaves that was killed in here.
_IGNORED = {_LOCK, _NEW_MARKER, "lost+found"}


class _Marker(msgspec.Struct):
    format: int
    partitions: int


@contextmanager
def locked_data_directory(path: Path, partitions: int) -> Iterator[Path]:
    """Creates the directory if need be, and holds it for this process alone.

    UsageError: it is not a directory, not ours, of another format or number of partitions, in use, or can't be written.
    """
    try:
        _make_directory(path)
        foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in _IGNORED)
        if foreign and _MARKER not in foreign:
            raise UsageError(f"{path} holds other things ({foreign[0]}): choose an empty or a new directory with -d")
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as cause:
        raise UsageError(f"the data directory {path} can't be used: {cause.strerror}") from cause
    try:
        try:
            hold(descriptor)
        except OSError as cause:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise UsageError(f"the data directory {path} is in use by process {owner}: stop it, or choose another with -d") from cause
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as cause:
            raise UsageError(f"the data directory {path} can't be used: {cause.strerror}") from cause
        check_folder(path)
        _check_marker(path / _MARKER, partitions)
        check_database(path / LOG_FILE)
        check_space(path)
        yield path
    finally:
        # The file stays: removing it could let two processes lock two files of the same name.
        os.close(descriptor)


def hold(descriptor: int, tries: int = _TRIES) -> None:
    """Locks a file or folder. OSError: another process holds it; by default, for longer than :func:`is_in_use` takes to look."""
    for tries_left in reversed(range(tries)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not tries_left:
                raise
            threading.Event().wait(_TRY_AGAIN_S)
        else:
            return


def is_in_use(lock: Path) -> bool:
    """Whether a process holds a directory by its lock now. Nothing is changed; where the lock can't be opened nobody is known to."""
    try:
        # What is no file may wait for somebody who writes to it.
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def data_directory_in_use(path: Path) -> bool:
    """Whether a process uses a data directory now."""
    return is_in_use(path / _LOCK)


def _make_directory(path: Path) -> None:
    """Creates what is missing of a path, so that it survives a power failure."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def sync(path: Path) -> None:
    """Returns when a file's content, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partitions_of_data_directory(path: Path) -> int:
    """How many partitions the topics of a data directory have. Nothing is changed or held: a process may use it meanwhile.

    UsageError: it is no data directory, of another format, or not accessible.
    """
    marker = path / _MARKER
    try:
        if not marker.is_file():
            raise UsageError(f"{path} is no data directory of `ticketmaster standalone`: it has no {_MARKER}")
        return _read_marker(marker).partitions
    except (OSError, msgspec.DecodeError) as cause:
        raise UsageError(f"{marker} can't be read: {cause}") from cause


def _read_marker(marker: Path) -> _Marker:
    found = msgspec.json.decode(marker.read_bytes(), type=_Marker)
    if found.format != _FORMAT:
        raise UsageError(f"{marker.parent} is of format {found.format}, this version reads {_FORMAT}")
    return found


def write_marker(directory: Path, partitions: int) -> None:
    """Makes a directory a data directory, for good once this returns. OSError: it can't be written."""
    fresh, marker = directory / _NEW_MARKER, directory / _MARKER
    fresh.write_bytes(msgspec.json.encode(_Marker(_FORMAT, partitions)))
    # The content before the name, and the name before any log: after a power failure the directory is empty or whole.
    sync(fresh)
    fresh.replace(marker)
    sync(directory)


def _check_marker(marker: Path, partitions: int) -> None:
    try:
        if not marker.exists():
            write_marker(marker.parent, partitions)
            return
        found = _read_marker(marker)
    except (OSError, msgspec.DecodeError) as cause:
        raise UsageError(f"{marker} can't be read or written: {cause}") from cause
    if found.partitions != partitions:
        raise UsageError(
            f"{marker.parent} has {found.partitions} partitions: start with --partitions {found.partitions}, or with another -d"
        )
