"""What an export has read so far, in a file: the last value of each reservation, and how far the topic is read.

Values and positions are committed together, so an export that is interrupted goes on where it was. The file is also why millions of
reservations need no memory: they are sorted by id in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlite_utils import Database

from ticketmaster.broker.port import Pair
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.sqlitefile import open_database

_FORMAT_VERSION: Final = 1
_CACHE_KIB: Final = 65_536
_PUT: Final = "INSERT INTO reservation VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value"
_FULL: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class About(NamedTuple):
    """What a scratch file was read from: a log, by its name and the run it had then, and one event's reservations or all."""

    log: str
    run: int | None
    event_id: str | None


class Scratch:
    """The scratch file of one export at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it, for its user alone. UsageError: it can't be used, is in use, or is another program's."""
        self._path = path
        try:
            path.touch(mode=0o600)
        except OSError as cause:
            raise UsageError(f"{path} can't be written: {cause.strerror}") from cause
        # So that a power failure loses the last commits and never spoils the file.
        database: Database = open_database(path, synchronous="NORMAL", format_version=_FORMAT_VERSION, cache_kib=_CACHE_KIB)
        self._connection: sqlite3.Connection = database.conn
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("CREATE TABLE IF NOT EXISTS reservation (id BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
            self._connection.execute("CREATE TABLE IF NOT EXISTS position (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL)")
            self._connection.execute("CREATE TABLE IF NOT EXISTS about (log TEXT, run INTEGER, event_id TEXT)")
            self._connection.execute("COMMIT")
        except sqlite3.Error as cause:
            self._connection.close()
            raise UsageError(f"{path} can't be used: {cause}; is another export to the same file under way?") from cause

    def about(self) -> About | None:
        """What it was read from; None: nothing is in it."""
        row = self._one("SELECT log, run, event_id FROM about")
        return About(*row) if row else None

    def positions(self) -> dict[int, int]:
        """How far each partition is read."""
        return dict(self._rows("SELECT partition, next_offset FROM position"))

    def count(self) -> int:
        """How many reservations are in it."""
        found: int = self._one("SELECT count(*) FROM reservation")[0]
        return found

    def begin(self, about: About, *, anew: bool) -> None:
        """Notes what is read from now on; ``anew`` drops all that was read before."""
        with self._writing():
            if anew:
                self._connection.execute("DELETE FROM reservation")
                self._connection.execute("DELETE FROM position")
            self._connection.execute("DELETE FROM about")
            self._connection.execute("INSERT INTO about VALUES (?, ?, ?)", about)

    def put(self, records: Iterable[Pair], positions: Mapping[int, int]) -> None:
        """Takes the next records, in their order, with how far the partitions are read then. A tombstone takes its reservation away."""
        with self._writing():
            # Only a key's last record counts, and none of them says anything about another key.
            last = dict(records)
            self._connection.executemany(_PUT, ((key, value) for key, value in last.items() if value is not None))
            self._connection.executemany("DELETE FROM reservation WHERE id = ?", ((key,) for key, value in last.items() if value is None))
            self._connection.executemany("INSERT OR REPLACE INTO position VALUES (?, ?)", positions.items())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every reservation, by id."""
        return self._rows("SELECT id, value FROM reservation ORDER BY id")

    def close(self) -> None:
        """Lets go of the file; what was put stays."""
        self._connection.close()

    def remove(self) -> None:
        """It is not needed any more."""
        self.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN")
            try:
                yield
            except BaseException:
                # A full disk has ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as cause:
            raise _unusable(self._path, cause) from cause

    def _one(self, query: str) -> Any:  # noqa: ANN401 - a row
        return next(self._rows(query), None)

    def _rows(self, query: str) -> Iterator[Any]:
        try:
            yield from self._connection.execute(query)
        except sqlite3.Error as cause:
            raise _unusable(self._path, cause) from cause


def _unusable(path: Path, cause: sqlite3.Error) -> Fatal:
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    advice = "make room and run it again, it goes on where it was" if code in _FULL else "delete it and run it again"
    return Fatal(f"{path} can't be used: {cause}; {advice}")
