"""Opening a SQLite file that is ours: how it is written, and how a foreign or damaged one is told."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from ticketmaster.errors import Fatal, Retriable, UsageError

# "TKTM", in the header of every file (PRAGMA application_id).
_APPLICATION_ID = 0x544B544D
# A write-ahead log that grew while somebody read the file for long is cut to this when it begins anew.
_WAL_BYTES_MAX = 64 << 20
# At once; in between it is said how far a copy is.
_COPY_PAGES = 1_024


def open_database(path: Path, *, synchronous: str, format_version: int, cache_kib: int) -> Database:
    """A database in WAL mode whose transactions the caller begins and ends.

    ``synchronous`` is SQLite's: FULL makes every commit durable, OFF leaves it to the operating system. UsageError: the file can't be
    opened, is no SQLite file, is another program's or of another format.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            return _prepared(connection, path, synchronous, format_version, cache_kib)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as cause:
        raise UsageError(f"{path} can't be used as a database: {cause}") from cause


class Reading:
    """A connection that changes nothing, in a transaction that sees the file as it was when it was opened."""

    def __init__(self, path: Path, *, format_version: int, in_use: bool) -> None:
        """``in_use``: a process may write to the file meanwhile.

        Without one nothing is written beside it either, not even what SQLite wants for its locks. UsageError: the file is not there or
        can't be opened, is no SQLite file, is another program's or of another format.
        """
        self._path = path
        self._in_use = in_use
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._found = _found(path)
        try:
            self.connection = sqlite3.connect(self._address(), uri=True, isolation_level=None)
            self.connection.execute("BEGIN")
            # The transaction begins with the first page that is read.
            if self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                _check_owner(self.connection, path, format_version)
            self.check()
        except OSError as cause:
            self.close()
            raise UsageError(f"{path} can't be read: {cause.strerror}") from cause
        except sqlite3.Error as cause:
            self.close()
            raise UsageError(f"{path} can't be read as a database: {cause}") from cause
        except BaseException:
            self.close()
            raise

    def _address(self) -> str:
        """The file in SQLite's form, with what it must not do."""
        path, options = self._path, "mode=ro"
        if not self._in_use:
            wal, shm = (Path(f"{path}{suffix}") for suffix in ("-wal", "-shm"))
            if not wal.exists() or not wal.stat().st_size:
                options += "&immutable=1"
            else:
                # A process was killed. What it committed last is in there only, and must be read as well.
                options += "&readonly_shm=1"
                if not shm.exists():
                    path = self._copied(wal)
        return f"{path.absolute().as_uri()}?{options}"

    def _copied(self, wal: Path) -> Path:
        """A copy elsewhere: of a write-ahead log without its index SQLite must make one, beside the file."""
        try:
            self._copy = tempfile.TemporaryDirectory(prefix="ticketmaster-")
            for file in (self._path, wal):
                shutil.copyfile(file, Path(self._copy.name, file.name))
            copy = Path(self._copy.name, self._path.name)
            Path(f"{copy}-shm").touch()
        except OSError as cause:
            text = f"{self._path} has a -wal without a -shm, so it is read from a copy, which can't be made in $TMPDIR: {cause.strerror}"
            raise UsageError(text) from cause
        return copy

    def copy(self, target: Path, on_progress: Callable[[int], None]) -> None:
        """Copies the file as it was when it was opened into an empty one, page by page; is told how many bytes are copied so far.

        Nobody may use the copy before it is synced. Fatal: it can't be written, or the file can't be read. Retriable: as of :meth:`check`.
        """
        page_bytes = self.connection.execute("PRAGMA page_size").fetchone()[0]
        try:
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                # A copy that is broken off is thrown away.
                copy.execute("PRAGMA journal_mode = OFF")
                copy.execute("PRAGMA synchronous = OFF")
                # The open transaction keeps SQLite from beginning anew whenever somebody writes to the file.
                self.connection.backup(copy, pages=_COPY_PAGES, progress=lambda _, left, pages: on_progress((pages - left) * page_bytes))
        except sqlite3.Error as cause:
            raise Fatal(f"{self._path} can't be copied to {target}: {cause}") from cause
        self.check()

    def check(self) -> None:
        """Retriable: nobody used the file, and now somebody has written to it. What was read last may be wrong, so this is asked behind."""
        if self._in_use or self._copy:
            return
        now = self._path.stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (self._found.st_ino, self._found.st_size, self._found.st_mtime_ns):
            raise Retriable(f"{self._path} was changed while it was read: a process has begun to use it; try again")

    def close(self) -> None:
        """Lets go of the file."""
        if hasattr(self, "connection"):
            self.connection.close()
        if self._copy:
            self._copy.cleanup()


def _found(path: Path) -> os.stat_result:
    """UsageError: it is not there, or no file, and may wait for somebody who writes to it."""
    try:
        found = path.stat()
    except OSError as cause:
        raise UsageError(f"{path} can't be read: {cause.strerror}") from cause
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} can't be read: it is no file")
    return found


def _prepared(connection: sqlite3.Connection, path: Path, synchronous: str, format_version: int, cache_kib: int) -> Database:
    if connection.execute("PRAGMA page_count").fetchone()[0]:
        _check_owner(connection, path, format_version)
    else:
        # In one transaction, and first: whenever the process is killed, the file is empty or ours.
        connection.execute("BEGIN")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {format_version}")
        connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    # A file, or a place, that can't be written is opened for reading without a word.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX}")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    return Database(connection, recursive_triggers=False, execute_plugins=False)


def _check_owner(connection: sqlite3.Connection, path: Path, format_version: int) -> None:
    application_id, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if (application_id, version) != (_APPLICATION_ID, format_version):
        whose = f"of format {version}, not {format_version}" if application_id == _APPLICATION_ID else "not a file of ticketmaster"
        raise UsageError(f"{path} is {whose}: choose another directory, or move the file away")
