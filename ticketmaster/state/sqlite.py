"""State stores in a SQLite file: a task's state survives its process, and recovery reads only the rest of the changelogs."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

from sqlite_utils import Database

from ticketmaster.errors import Fatal, TaskCorrupted, UsageError
from ticketmaster.sqlitefile import Reading, open_database
from ticketmaster.state.port import Changes, Scanned, Steps, Update

FORMAT_VERSION = 1
_CACHE_KIB = 2_048
# A statement of many rows costs a fifth less for each than as many statements.
_ROWS_AT_ONCE = 100
# Look-ups of so many keys in a statement take a third of the time of as many statements.
_ASKED_AT_ONCE = (100, 10, 1)
# Of one step of a write: rows of keys from all over a large store take 30 µs each, large ones a millisecond a mebibyte and more.
_STEP_ROWS_MAX = 500
_STEP_BYTES_MAX = 1 << 20
# From this size on the write-ahead log is copied into the file, on a thread: that waits for the disk twice.
_WAL_BYTES_MAX = 4 << 20
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Where a file notes the run of its log, in the table of its checkpoints; and how far its log must go, for the first store, downwards.
RUN = -1
_REACH = -2
_CHECKPOINT = "CREATE TABLE checkpoint (id INTEGER PRIMARY KEY, next_offset INTEGER, sum INTEGER)"


@cache
def _copier() -> ThreadPoolExecutor:
    """The thread of this process that copies write-ahead logs."""
    return ThreadPoolExecutor(1, thread_name_prefix="state-checkpoint")


def _copy_wal(path: Path) -> None:
    """Copies the write-ahead log into its file, so far as nobody reads older pages. What does not work now is done the next time."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except sqlite3.Error:
        # The stores' own connection meets the same trouble, and says so.
        return


def _table_name(number: int, name: str) -> str:
    """The first store's table is called as the only one was, when there was one."""
    return f"state_{name}" if number else "state"


_Change = tuple[bytes, bytes | None]


class SqliteTable:
    """One store: a table of keys and values, each row with its checksum, as SQLite finds a damaged page only where its structure is hit.

    A key above every stored one is answered without asking SQLite: new ids are time-ordered, so most look-ups for
    duplicates end there.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, number: int, name: str) -> None:
        self._connection = connection
        self._path = path
        self._number = number
        self._table = _table_name(number, name)
        self._rows_query = f"SELECT key, value, sum FROM {self._table}"  # noqa: S608 - a name of ours
        self._one_query = f"{self._rows_query} WHERE key = ?"
        # Two walks over the same pages, both without a call of Python's for each row.
        self._end_query = f"SELECT key FROM {self._table} WHERE key > ? ORDER BY key LIMIT 2 OFFSET ?"  # noqa: S608
        self._scan_query = f"{self._rows_query} WHERE key > ? AND key <= ? AND instr(value, ?) ORDER BY key"
        # Of as many statements as there are sizes, each is prepared once.
        self._many_queries = [(rows, f"{self._rows_query} WHERE key IN ({', '.join('?' * rows)})") for rows in _ASKED_AT_ONCE]
        self._checked_to: bytes | None = None
        self._is_checked = False
        self.damage: TaskCorrupted | None = None
        # The last one in the table's order: it takes no scan.
        highest = next(self._rows(f"{self._rows_query} ORDER BY key DESC LIMIT 1"), None)
        self._highest = highest[0] if highest else b""
        if highest and self.checkpoint() is None:
            raise self._unreadable("it has values and does not say which")

    def get(self, key: bytes) -> bytes | None:
        if self.damage:
            raise self.damage
        if key > self._highest:
            return None
        try:
            rows = self._connection.execute(self._one_query, (key,)).fetchall()
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause
        return next(_checked(rows, self._path))[1] if rows else None

    def get_all(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        if self.damage:
            raise self.damage
        highest, found, start = self._highest, dict[bytes, bytes](), 0
        there = [key for key in keys if key <= highest]
        for rows, query in self._many_queries:
            while len(there) - start >= rows:
                found.update(self._rows(query, tuple(there[start : start + rows])))
                start += rows
        return found

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self._rows(f"{self._rows_query} ORDER BY key")

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Scanned:
        if self.damage:
            raise self.damage
        try:
            ends = self._connection.execute(self._end_query, (after, rows_max - 1)).fetchall()
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause
        end = ends[0][0] if len(ends) == 2 else None
        return Scanned(list(self._rows(self._scan_query, (after, self._highest if end is None else end, part))), end)

    def checkpoint(self) -> int | None:
        return self._noted(self._number)

    def reach(self) -> int:
        found = self._noted(_REACH - self._number)
        if found is None and self.checkpoint() is not None:
            # Releases that did not note it wrote stores that can lack what a crash took.
            raise self._unreadable("it does not say how far its log must go")
        return found or 0

    def _noted(self, number: int) -> int | None:
        try:
            row = self._connection.execute("SELECT next_offset, sum FROM checkpoint WHERE id = ?", (number,)).fetchone()
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause
        if row and (not isinstance(row[0], int) or _checkpoint_sum(row[0]) != row[1]):
            raise self._unreadable("its checkpoint is not what was written")
        return row[0] if row else None

    def writing(self, changes: Changes, checkpoint: int, reach: int) -> Steps:
        """Applies changes in the open transaction. sqlite3.Error: they can't be written."""
        # In key order: a B-tree takes neighbours several times faster than scattered keys.
        for piece in _pieces(sorted(changes.items())):
            self._write(piece)
            yield
        noted = ((self._number, checkpoint), (_REACH - self._number, max(checkpoint, reach)))
        rows = [(number, offset, _checkpoint_sum(offset)) for number, offset in noted]
        self._connection.executemany("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)", rows)

    def _write(self, changes: Sequence[_Change]) -> None:
        execute, executemany, crc32 = self._connection.execute, self._connection.executemany, zlib.crc32
        stored = [(key, value, crc32(value, crc32(key))) for key, value in changes if value is not None]
        whole = len(stored) - len(stored) % _ROWS_AT_ONCE
        for start in range(0, whole, _ROWS_AT_ONCE):
            execute(_upsert(self._table, _ROWS_AT_ONCE), tuple(chain.from_iterable(stored[start : start + _ROWS_AT_ONCE])))
        executemany(_upsert(self._table, 1), stored[whole:])
        if len(stored) < len(changes):
            deleted = [(key,) for key, value in changes if value is None]
            executemany(f"DELETE FROM {self._table} WHERE key = ?", deleted)  # noqa: S608 - a name of ours
        if stored:
            self._highest = max(self._highest, stored[-1][0])

    def check(self, rows_max: int) -> bool:
        """Reads the next rows for their checksums; False if none was left. After a TaskCorrupted nothing else is answered either."""
        if self._is_checked or self.damage:
            return False
        # In the order of the table: of a key that was changed the sum is wrong, wherever it stands.
        where, parameters = ("", ()) if self._checked_to is None else ("WHERE key > ?", (self._checked_to,))
        try:
            keys = [key for key, _ in self._rows(f"{self._rows_query} {where} ORDER BY key LIMIT {rows_max}", parameters)]
        except TaskCorrupted as damage:
            self.damage = damage
            raise
        self._is_checked = len(keys) < rows_max
        self._checked_to = keys[-1] if keys else None
        return bool(keys)

    def _rows(self, statement: str, parameters: tuple[bytes, ...] = ()) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from _checked(self._connection.execute(statement, parameters), self._path)
        except sqlite3.Error as cause:
            raise self._unreadable(cause) from cause

    def _unreadable(self, cause: object) -> TaskCorrupted:
        return TaskCorrupted(f"the state {self._path} can't be read: {cause}")


class SqliteStores:
    """One file, used by one process at a time.

    Its rows are checked by :meth:`check`, not when it is opened: that takes a second or two a million.
    """

    def __init__(self, path: Path, names: Sequence[str], run: int | None = None) -> None:
        """Opens or creates the file; a damaged one begins anew. UsageError: it is another program's, or can't be read.

        ``run`` of the log is noted in it, to be read by :func:`stored_reaches`.
        """
        self._path = path
        self._run = run
        self._wal = Path(f"{path}-wal")
        self._names = tuple(names)
        self._copying: Future[None] | None = None
        try:
            self._open()
        except TaskCorrupted:
            self.clear()

    def _open(self) -> None:
        # NORMAL: a power failure may lose the newest writes, which the changelogs have, but does not damage the file.
        database = open_database(self._path, synchronous="NORMAL", format_version=FORMAT_VERSION, cache_kib=_CACHE_KIB)
        self._connection: sqlite3.Connection = database.conn
        try:
            # Otherwise whichever commit finds it large copies it, on the loop.
            self._connection.execute("PRAGMA wal_autocheckpoint = 0")
            # Once copied it begins anew, and its size says so.
            self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX // 4}")
            self._create_tables(database)
            if self._run is not None:
                # In the order of all that is written: the state of a run is never found without its note.
                row = (RUN, self._run, _checkpoint_sum(self._run))
                self._connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)", row)
        except sqlite3.Error as cause:
            self._connection.close()
            raise self._unwritable(cause) from cause
        try:
            self._tables = {name: SqliteTable(self._connection, self._path, number, name) for number, name in enumerate(self._names)}
        except BaseException:
            self._connection.close()
            raise

    def _create_tables(self, database: Database) -> None:
        there = set(database.table_names())
        tables = {_table_name(number, name) for number, name in enumerate(self._names)}
        stale = [table for table in tables & there if "sum" not in {column.name for column in database[table].columns}]
        if not stale and tables | {"checkpoint"} <= there:
            return
        with database.atomic():
            # What a release without checksums has left is restored like what is missing.
            for table in [*stale, "checkpoint"] if stale else ():
                database.execute(f"DROP TABLE IF EXISTS {table}")
            for table in tables - (there - set(stale)):
                database.execute(f"CREATE TABLE {table} (key BLOB PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID")
            if stale or "checkpoint" not in there:
                database.execute(_CHECKPOINT)

    def table(self, name: str) -> SqliteTable:
        return self._tables[name]

    def writing(self, updates: Mapping[str, Update]) -> Steps:
        connection = self._connection
        for table in self._tables.values():
            if table.damage:
                raise table.damage
        try:
            connection.execute("BEGIN")
            for name, update in updates.items():
                yield from self._tables[name].writing(*update)
            connection.execute("COMMIT")
        except sqlite3.Error as cause:
            raise self._unwritable(cause) from cause
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        self._copy_wal_if_large()

    def _copy_wal_if_large(self) -> None:
        if (self._copying is None or self._copying.done()) and self._wal.exists() and self._wal.stat().st_size >= _WAL_BYTES_MAX:
            self._copying = _copier().submit(_copy_wal, self._path)

    def check(self, rows_max: int) -> bool:
        return any(table.check(rows_max) for table in self._tables.values())

    def clear(self) -> None:
        # A damaged file may refuse to be emptied, so it is made anew.
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._open()

    def close(self) -> None:
        # One that waits behind other stores' copies is not needed any more: SQLite copies at the end.
        if self._copying and not self._copying.cancel():
            self._copying.result()
        self._connection.close()

    def _unwritable(self, cause: sqlite3.Error) -> TaskCorrupted | Fatal:
        if getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGED:
            return TaskCorrupted(f"the state {self._path} can't be read: {cause}")
        return Fatal(f"the state {self._path} can't be written: {cause}")


@contextmanager
def reading_store(path: Path, number: int, name: str, *, in_use: bool) -> Iterator[tuple[int, Iterator[tuple[bytes, bytes]]]]:
    """(the checkpoint, the items) of a task's store by its number and name, as it is now; nothing is changed.

    ``in_use``: a role may be at work on it. TaskCorrupted: it can't be read. Retriable: a role has begun to work on it.
    """
    table = _table_name(number, name)
    try:
        with closing(Reading(path, format_version=FORMAT_VERSION, in_use=in_use)) as reading:
            connection = reading.connection
            try:
                # A process that was killed in its first moments leaves a file without tables; an earlier release knew of the first
                # store only.
                tables = {found for (found,) in connection.execute("SELECT name FROM sqlite_master")}
                row = None
                if {"checkpoint", table} <= tables:
                    row = connection.execute("SELECT next_offset FROM checkpoint WHERE id = ?", (number,)).fetchone()
                query = f"SELECT key, value, sum FROM {table}"  # noqa: S608 - a name of ours
                yield (row[0], _checked(connection.execute(query), path)) if row else (0, iter(()))
            finally:
                # First of all: what is wrong may be so for this reason only.
                reading.check()
    except (UsageError, sqlite3.Error) as cause:
        raise TaskCorrupted(f"the state {path} can't be read: {cause}") from cause


def stored_reaches(path: Path) -> dict[int, int]:
    """How far the log of each store must go, by the stores' numbers, and under :data:`RUN` the run of the log; for whoever may write to it.

    TaskCorrupted: it can't be read.
    """
    try:
        with closing(Reading(path, format_version=FORMAT_VERSION, in_use=True)) as reading:
            if not reading.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoint'").fetchone():
                return {}
            rows = reading.connection.execute("SELECT id, next_offset, sum FROM checkpoint").fetchall()
            noted = {number: offset for number, offset, stored in rows if isinstance(offset, int) and _checkpoint_sum(offset) == stored}
            return {number: max(offset, noted.get(_REACH - number, 0)) for number, offset in noted.items() if number > _REACH}
    except (UsageError, sqlite3.Error) as cause:
        raise TaskCorrupted(f"the state {path} can't be read: {cause}") from cause


def _pieces(changes: Sequence[_Change]) -> Iterator[Sequence[_Change]]:
    """What one step writes, each time."""
    for start in range(0, len(changes), _STEP_ROWS_MAX):
        rows = changes[start : start + _STEP_ROWS_MAX]
        if sum([len(value or b"") for _, value in rows]) < _STEP_BYTES_MAX:
            yield rows
        else:
            yield from _large_pieces(rows)


def _large_pieces(changes: Sequence[_Change]) -> Iterator[Sequence[_Change]]:
    piece: list[_Change] = []
    size = 0
    for change in changes:
        piece.append(change)
        size += len(change[1] or b"")
        if size >= _STEP_BYTES_MAX:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


@cache
def _upsert(table: str, rows: int) -> str:
    """The statement that writes so many rows."""
    places = ", ".join(["(?, ?, ?)"] * rows)
    return f"INSERT INTO {table} VALUES {places} ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum"  # noqa: S608


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


def _checkpoint_sum(offset: int) -> int:
    return zlib.crc32(b"%d" % offset)
