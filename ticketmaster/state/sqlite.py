"""A state store in a SQLite file: a task's state survives its process, and recovery reads only the rest of the changelog."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from ticketmaster.errors import Fatal, TaskCorrupted, UsageError
from ticketmaster.sqlitefile import open_database, open_for_reading

_FORMAT_VERSION = 1
_CACHE_KIB = 8_192
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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
            if not database["state"].exists():
                with database.atomic():
                    database.execute("CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
                    database["checkpoint"].create({"id": int, "next_offset": int}, pk="id")  # type: ignore[union-attr]
        except sqlite3.Error as cause:
            self._connection.close()
            raise self._unwritable(cause) from cause
        self._highest: bytes = self._one("SELECT max(key) FROM state") or b""

    def _one(self, statement: str, parameters: tuple[bytes, ...] = ()) -> bytes | None:
        try:
            row = self._connection.execute(statement, parameters).fetchone()
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause
        return row[0] if row else None

    def _unreadable(self, cause: sqlite3.Error) -> TaskCorrupted:
        return TaskCorrupted(f"the state {self._path} can't be read: {cause}")

    def _unwritable(self, cause: sqlite3.Error) -> TaskCorrupted | Fatal:
        if getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGED:
            return self._unreadable(cause)
        return Fatal(f"the state {self._path} can't be written: {cause}")

    def get(self, key: bytes) -> bytes | None:
        if key > self._highest:
            return None
        return self._one("SELECT value FROM state WHERE key = ?", (key,))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from self._connection.execute("SELECT key, value FROM state ORDER BY key")
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause

    def checkpoint(self) -> int | None:
        try:
            row = self._connection.execute("SELECT next_offset FROM checkpoint").fetchone()
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause
        return row[0] if row else None

    def write(self, changes: Mapping[bytes, bytes | None], checkpoint: int) -> None:
        execute, executemany = self._connection.execute, self._connection.executemany
        deleted = [(key,) for key, value in changes.items() if value is None]
        # In key order: a B-tree takes neighbours several times faster than scattered keys.
        stored = sorted((key, value) for key, value in changes.items() if value is not None)
        try:
            execute("BEGIN")
            executemany("INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", stored)
            if deleted:
                executemany("DELETE FROM state WHERE key = ?", deleted)
            execute("INSERT OR REPLACE INTO checkpoint VALUES (0, ?)", (checkpoint,))
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
            yield (row[0], connection.execute("SELECT key, value FROM state")) if row else (0, iter(()))
    except (UsageError, sqlite3.Error) as cause:
        raise TaskCorrupted(f"the state {path} can't be read: {cause}") from cause
