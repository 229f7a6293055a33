"""``ticketmaster backup``: a copy of a data directory that a process may be using, to be served from as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from ticketmaster.bootstrap.stores import stores_below
from ticketmaster.broker.embedded.sqlite import FORMAT_VERSION as LOG_FORMAT
from ticketmaster.clock import SystemClock
from ticketmaster.datadir import LOG_FILE, STATE, data_directory_in_use, partitions_of_data_directory, sync, write_marker
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.sqlitefile import Reading
from ticketmaster.state.sqlite import FORMAT_VERSION as STATE_FORMAT

# A file's name, bytes copied of it so far, and its size as far as that is in the file itself.
Progress = Callable[[str, int, int], None]
_WAL = "-wal"


class Backup(NamedTuple):
    """What was copied; all that was acknowledged before ``begun_ms`` is in it. ``left_out``: stores that can't be read, and are rebuilt."""

    partitions: int
    begun_ms: int
    log_bytes: int
    stores: int
    state_bytes: int
    left_out: list[str]


def run_backup(directory: Path, target: Path, on_progress: Progress) -> Backup:
    """Copies ``directory`` to ``target``, which must be new or empty. UsageError: it can't begin. Fatal, Retriable: it was not finished.

    What was copied so far is removed then.
    """
    begun_ms = SystemClock().now_ms()
    partitions = partitions_of_data_directory(directory)
    state = sorted({store.file for store in stores_below(directory / STATE, "*.db", -3)})
    is_new = _checked_target(directory, target)
    _check_free(target if target.exists() else target.parent, [directory / LOG_FILE, *state])
    try:
        target.mkdir(mode=0o700, exist_ok=True)
        target.chmod(0o700)
    except OSError as cause:
        raise UsageError(f"{target} can't be used: {cause.strerror}") from cause
    try:
        found = _copied(directory, target, state, partitions, begun_ms, on_progress)
        sync(target.parent)
    except BaseException as failure:
        _remove(target, whole=is_new)
        if isinstance(failure, OSError):
            raise Fatal(f"{target} can't be written: {failure.strerror}") from failure
        raise
    return found


def _copied(directory: Path, target: Path, state: list[Path], partitions: int, begun_ms: int, on_progress: Progress) -> Backup:
    left_out, state_bytes = [], 0
    # State before the log: it is written behind the log, so the log that is copied later has all that the state stands for. The other
    # way round the copy would be refused, as one whose log is older than its state.
    for file in state:
        name = file.relative_to(directory)
        try:
            state_bytes += _copy(directory, target, name, STATE_FORMAT, on_progress)
        except UsageError as reason:
            left_out.append(str(reason))
    log_bytes = _copy(directory, target, Path(LOG_FILE), LOG_FORMAT, on_progress)
    # Last of all: without it nobody takes the copy for one.
    write_marker(target, partitions)
    return Backup(partitions, begun_ms, log_bytes, len(state) - len(left_out), state_bytes, left_out)


def _copy(directory: Path, target: Path, name: Path, format_version: int, on_progress: Progress) -> int:
    source, copy = directory / name, target / name
    with closing(Reading(source, format_version=format_version, in_use=data_directory_in_use(directory))) as reading:
        for folder in reversed(name.parents[:-1]):
            (target / folder).mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        size = source.stat().st_size
        reading.copy(copy, lambda done: on_progress(str(name), done, size))
    sync(copy)
    for folder in name.parents:
        sync(target / folder)
    return copy.stat().st_size


def _checked_target(directory: Path, target: Path) -> bool:
    """Whether it does not exist yet. UsageError: it can't be taken."""
    if target.resolve().is_relative_to(directory.resolve()):
        raise UsageError(f"{target} is in {directory} itself: choose a place outside of it")
    try:
        if not os.path.lexists(target):
            if not target.parent.is_dir():
                raise UsageError(f"{target} can't be created: there is no directory {target.parent}")
            return True
        if not target.is_dir() or any(target.iterdir()):
            raise UsageError(f"{target} exists and is not an empty directory: choose another name")
    except OSError as cause:
        raise UsageError(f"{target} can't be used: {cause.strerror}") from cause
    return False


def _check_free(folder: Path, files: list[Path]) -> None:
    """UsageError: there is no space for copies of the files, or one of them can't be read."""
    try:
        wals = [Path(f"{file}{_WAL}") for file in files]
        needed = sum(file.stat().st_size for file in [*files, *filter(Path.exists, wals)])
        free = shutil.disk_usage(folder).free
    except OSError as cause:
        raise UsageError(f"{cause.filename} can't be read: {cause.strerror}") from cause
    if free < needed:
        raise UsageError(f"{folder} has {free >> 20:,} MiB free, the copy takes up to {-(-needed >> 20):,} MiB")


def _remove(target: Path, *, whole: bool) -> None:
    """What was copied so far."""
    if whole:
        shutil.rmtree(target, ignore_errors=True)
        return
    for entry in target.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
