"""Opening a SQLite file that is ours: how it is written, and how a foreign or damaged one is told."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from ticketmaster.errors import UsageError

# "TKTM", in the header of every file (PRAGMA application_id).
_APPLICATION_ID = 0x544B544D
# A write-ahead log that grew while somebody read the file for long is cut to this when it begins anew.
_WAL_BYTES_MAX = 64 << 20


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


def open_for_reading(path: Path, *, format_version: int) -> sqlite3.Connection:
    """A connection that changes nothing, in a transaction that sees the file as it is now, whoever writes to it meanwhile.

    UsageError: the file is not there or can't be opened, is no SQLite file, is another program's or of another format.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("BEGIN")
            # The transaction begins with the first page that is read.
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                _check_owner(connection, path, format_version)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as cause:
        raise UsageError(f"{path} can't be read as a database: {cause}") from cause
    return connection


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
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX}")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    return Database(connection, recursive_triggers=False, execute_plugins=False)


def _check_owner(connection: sqlite3.Connection, path: Path, format_version: int) -> None:
    application_id, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if (application_id, version) != (_APPLICATION_ID, format_version):
        whose = f"of format {version}, not {format_version}" if application_id == _APPLICATION_ID else "not a file of ticketmaster"
        raise UsageError(f"{path} is {whose}: choose another directory, or move the file away")
