"""The data directory of a standalone process: whose it is, and that only one process uses it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ticketmaster.errors import UsageError

_FORMAT = 1
LOG_FILE = "log.db"
_MARKER = "ticketmaster.json"
_NEW_MARKER = "ticketmaster.new"
_LOCK = "ticketmaster.lock"
# What a fresh volume may hold, and what a process leaves that was killed in here.
_IGNORED = {_LOCK, _NEW_MARKER, "lost+found"}


class _Marker(msgspec.Struct):
    format: int
    partitions: int


@contextmanager
def locked_data_directory(path: Path, partitions: int) -> Iterator[Path]:
    """Creates the directory if need be, and holds it for this process alone.

    UsageError: it is not a directory, not ours, of another format or number of partitions, not accessible, or in use.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in _IGNORED)
        if foreign and _MARKER not in foreign:
            raise UsageError(f"{path} holds other things ({foreign[0]}): choose an empty or a new directory with -d")
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as cause:
        raise UsageError(f"the data directory {path} can't be used: {cause.strerror}") from cause
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise UsageError(f"the data directory {path} is in use by process {owner}: stop it, or choose another with -d") from cause
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as cause:
            raise UsageError(f"the data directory {path} can't be used: {cause.strerror}") from cause
        _check_marker(path / _MARKER, partitions)
        yield path
    finally:
        # The file stays: removing it could let two processes lock two files of the same name.
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


def _check_marker(marker: Path, partitions: int) -> None:
    try:
        if not marker.exists():
            fresh = marker.with_name(_NEW_MARKER)
            fresh.write_bytes(msgspec.json.encode(_Marker(_FORMAT, partitions)))
            fresh.replace(marker)
            return
        found = _read_marker(marker)
    except (OSError, msgspec.DecodeError) as cause:
        raise UsageError(f"{marker} can't be read or written: {cause}") from cause
    if found.partitions != partitions:
        raise UsageError(
            f"{marker.parent} has {found.partitions} partitions: start with --partitions {found.partitions}, or with another -d"
        )
