"""A state store in a SQLite file: a task's state survives its process, and recovery reads only the rest of the changelog."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

from ticketmaster.errors import Fatal, TaskCorrupted, UsageError
from ticketmaster.sqlitefile import open_database, open_for_reading

_FORMAT_VERSION = 1
_CACHE_KIB = 2_048
# Keys and values are kept with their checksum: SQLite finds a damaged page only where its structure is hit.
_ROWS = "SELECT key, value, sum FROM state"
# A statement of many rows costs a fifth less for each than as many statements.
_ROWS_AT_ONCE = 100
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@cache
def _upsert(rows: int) -> str:
    """The statement that writes so many rows."""
    places = ", ".join(["(?, ?, ?)"] * rows)
    return f"INSERT INTO state VALUES {places} ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum"  # noqa: S608 - no data in it


class SqliteStore:
    """One file, used by one process at a time.

    A key above every stored one is answered without asking SQLite: new ids are time-ordered, so most look-ups for
    duplicates end there.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the file; a damaged one begins anew. UsageError: it is another program's, or can't be read."""
        self._path = path
        try:
            self._open()
        except TaskCorrupted:
            self.clear()

    def _open(self) -> None:
        # NORMAL: a power failure may lose the newest writes, which the changelog has, but does not damage the file.
        database = open_database(self._path, synchronous="NORMAL", format_version=_FORMAT_VERSION, cache_kib=_CACHE_KIB)
        self._connection: sqlite3.Connection = database.conn
        try:
            if "sum" not in {column.name for column in database["state"].columns}:
                with database.atomic():
                    # What a release without checksums has left is restored like what is missing.
                    for table in ("state", "checkpoint"):
                        database.execute(f"DROP TABLE IF EXISTS {table}")
                    database.execute("CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID")
                    database["checkpoint"].create({"id": int, "next_offset": int, "sum": int}, pk="id")  # type: ignore[union-attr]
        except sqlite3.Error as cause:
            self._connection.close()
            raise self._unwritable(cause) from cause
        # A key that has changed would not be found, nor missed: only reading them all tells, which takes a second for a million.
        self._highest: bytes = max((key for key, _ in self._rows(_ROWS)), default=b"")

    def _one(self, statement: str, parameters: tuple[bytes, ...] = ()) -> tuple[bytes, bytes] | None:
        return next(self._rows(statement, parameters), None)

    def _rows(self, statement: str, parameters: tuple[bytes, ...] = ()) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from _checked(self._connection.execute(statement, parameters), self._path)
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause

    def _unreadable(self, cause: sqlite3.Error) -> TaskCorrupted:
        return TaskCorrupted(f"the state {self._path} can't be read: {cause}")

    def _unwritable(self, cause: sqlite3.Error) -> TaskCorrupted | Fatal:
        if getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGED:
            return self._unreadable(cause)
        return Fatal(f"the state {self._path} can't be written: {cause}")

    def get(self, key: bytes) -> bytes | None:
        if key > self._highest:
            return None
        found = self._one(f"{_ROWS} WHERE key = ?", (key,))
        return found[1] if found else None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self._rows(f"{_ROWS} ORDER BY key")

    def checkpoint(self) -> int | None:
        try:
            row = self._connection.execute("SELECT next_offset, sum FROM checkpoint").fetchone()
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause
        if row and (not isinstance(row[0], int) or _sum(b"", b"%d" % row[0]) != row[1]):
            raise TaskCorrupted(f"the state {self._path} can't be read: its checkpoint is not what was written")
        return row[0] if row else None

    def write(self, changes: Mapping[bytes, bytes | None], checkpoint: int) -> None:
        execute, executemany = self._connection.execute, self._connection.executemany
        deleted = [(key,) for key, value in changes.items() if value is None]
        # In key order: a B-tree takes neighbours several times faster than scattered keys.
        stored = sorted((key, value, _sum(key, value)) for key, value in changes.items() if value is not None)
        try:
            execute("BEGIN")
            whole = len(stored) - len(stored) % _ROWS_AT_ONCE
            for start in range(0, whole, _ROWS_AT_ONCE):
                execute(_upsert(_ROWS_AT_ONCE), tuple(chain.from_iterable(stored[start : start + _ROWS_AT_ONCE])))
            executemany(_upsert(1), stored[whole:])
            if deleted:
                executemany("DELETE FROM state WHERE key = ?", deleted)
            execute("INSERT OR REPLACE INTO checkpoint VALUES (0, ?, ?)", (checkpoint, _sum(b"", b"%d" % checkpoint)))
            execute("COMMIT")
        except sqlite3.Error as cause:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise self._unwritable(cause) from cause
        if stored:
            self._highest = max(self._highest, stored[-1][0])

    def clear(self) -> None:
        # A damaged file may refuse to be emptied, so it is made anew.
        self._connection.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._open()

    def close(self) -> None:
        self._connection.close()


@contextmanager
def reading_store(path: Path) -> Iterator[tuple[int, Iterator[tuple[bytes, bytes]]]]:
    """(the checkpoint, the items) of a store as it is now; nothing is changed. TaskCorrupted: it can't be read."""
    try:
        with closing(open_for_reading(path, format_version=_FORMAT_VERSION)) as connection:
            # A process that was killed in its first moments leaves a file without tables.
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            row = connection.execute("SELECT next_offset FROM checkpoint").fetchone() if "checkpoint" in tables else None
            yield (row[0], _checked(connection.execute(_ROWS), path)) if row else (0, iter(()))
    except (UsageError, sqlite3.Error) as cause:
        raise TaskCorrupted(f"the state {path} can't be read: {cause}") from cause


def _checked(rows: Iterable[tuple[bytes, bytes, int]], path: Path) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of rows whose checksum is right. TaskCorrupted: one is not."""
    crc32 = zlib.crc32
    try:
        for key, value, stored in rows:
            if crc32(value, crc32(key)) != stored:
                raise TaskCorrupted(f"the state {path} can't be read: a value is not what was written")
            yield key, value
    except TypeError as cause:
        raise TaskCorrupted(f"the state {path} can't be read: a value is not even of the type that was written") from cause


def _sum(key: bytes, value: bytes) -> int:
    """The checksum of a row."""
    return zlib.crc32(value, zlib.crc32(key))
