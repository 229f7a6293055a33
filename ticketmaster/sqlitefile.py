"""Opening a SQLite file that is ours: how it is written, and how a foreign or damaged one is told."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from ticketmaster.errors import UsageError

# "TKTM", in the header of every file (PRAGMA application_id).
_APPLICATION_ID = 0x544B544D


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


def _prepared(connection: sqlite3.Connection, path: Path, synchronous: str, format_version: int, cache_kib: int) -> Database:
    application_id, version, pages = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version", "page_count")
    )
    if pages and (application_id, version) != (_APPLICATION_ID, format_version):
        whose = f"of format {version}, not {format_version}" if application_id == _APPLICATION_ID else "not a file of ticketmaster"
        raise UsageError(f"{path} is {whose}: choose another directory, or move the file away")
    if not pages:
        # In one transaction, and first: whenever the process is killed, the file is empty or ours.
        connection.execute("BEGIN")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {format_version}")
        connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    return Database(connection, recursive_triggers=False, execute_plugins=False)
