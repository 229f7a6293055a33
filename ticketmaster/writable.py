"""Whether a process can write where it will: asked when it starts, so that it does not begin what it can't go on with."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ticketmaster.errors import UsageError

# What SQLite keeps beside a file while it is in use.
_SUFFIXES = ("", "-wal", "-shm")
# With less a process would end within moments.
_FREE_BYTES_MIN = 1 << 20


def check_folder(folder: Path) -> None:
    """UsageError: there is something that is no directory, or in which files can't be made."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a directory: move it away, or choose another place with -d")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise _unwritable(folder, _why_not(folder))


def check_database(file: Path) -> None:
    """UsageError: a SQLite file is there, or something beside it, that is no file or can't be written."""
    for path in (Path(f"{file}{suffix}") for suffix in _SUFFIXES):
        if not os.path.lexists(path):
            continue
        if not path.is_file():
            raise UsageError(f"{path} is not a file: move it away, or choose another place with -d")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as cause:
            raise _unwritable(path, cause.strerror) from cause


def check_stores(folders: Iterable[Path]) -> None:
    """UsageError: a folder of stores, or a store in it, can't be written. What does not exist yet can be made by then."""
    for folder in folders:
        check_folder(folder)
        if folder.is_dir():
            for file in folder.glob("*.db"):
                check_database(file)


def check_space(folder: Path) -> None:
    """UsageError: a directory has no space, or can't be written for another reason."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_FREE_BYTES_MIN))
    except OSError as cause:
        # The system's limit on a file's size says nothing about space.
        if cause.errno != errno.EFBIG:
            raise _unwritable(folder, f"{cause.strerror} ({_FREE_BYTES_MIN >> 10} KiB must be free)") from cause


def _why_not(folder: Path) -> str:
    return os.strerror(errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES)


def _unwritable(path: Path, why: str | None) -> UsageError:
    return UsageError(f"{path} can't be written: {why}; mend that, or choose another place with -d")
