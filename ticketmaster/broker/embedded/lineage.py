"""Which processes have worked on a log, one after the other, and where it ended between them: so that state is known to be of this log.

State stands for a log up to an offset. That a log goes so far does not say that it is the same one: an older copy that was used since, or
the log of another directory, may go further. A process that begins notes a run in the log; its state notes the same run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from sqlite_utils import Database

from ticketmaster.broker.embedded.sqlite import FORMAT_VERSION, read_bounds
from ticketmaster.broker.port import TopicPartition
from ticketmaster.errors import UsageError
from ticketmaster.sqlitefile import open_database

_CACHE_KIB: Final = 1_024
# State that is older is refused; it is as old as so many starts.
_RUNS_MAX: Final = 1_000
_CREATE: Final = "CREATE TABLE IF NOT EXISTS run (number INTEGER PRIMARY KEY, id INTEGER NOT NULL, ends BLOB NOT NULL)"
_decode_ends = msgspec.msgpack.Decoder(dict[int, int]).decode


class Runs:
    """The runs that a log has noted, and how far it went with each."""

    def __init__(self, connection: sqlite3.Connection, ids: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        """``ids`` are the numbers of the log's partitions, ``ends`` how far they go now. sqlite3.Error, DecodeError: it can't be read."""
        self._ids = ids
        self._ends = ends
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'run'").fetchone()
        rows = connection.execute("SELECT id, ends FROM run ORDER BY number").fetchall() if known else []
        self._known = [run for run, _ in rows]
        self._began_at = [_decode_ends(found) for _, found in rows]

    @property
    def newest(self) -> int | None:
        """The run that began last; None: none is noted."""
        return self._known[-1] if self._known else None

    def end_of(self, source: TopicPartition, run: int | None) -> int:
        """How far the log of a partition went when a run was over; None is one that nobody has noted; -1: this log knows of no such run."""
        if run is not None and run not in self._known:
            return -1
        if run is None or run == self.newest:
            return self._ends.get(source, 0)
        return self._began_at[self._known.index(run) + 1].get(self._ids.get(source, -1), 0)


class Lineage:
    """The runs of a log that nobody uses."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the log. UsageError: it can't be read or written, or is not ours."""
        self._path = path
        database: Database = open_database(path, synchronous="FULL", format_version=FORMAT_VERSION, cache_kib=_CACHE_KIB)
        self._connection: sqlite3.Connection = database.conn
        try:
            self._connection.execute(_CREATE)
            self._ids, bounds = read_bounds(self._connection) if "partition" in database.table_names() else ({}, None)
            self._ends = {source: end for source, (_, end) in bounds.bounds.items()} if bounds else {}
            self.runs = Runs(self._connection, self._ids, self._ends)
        except (sqlite3.Error, msgspec.DecodeError) as cause:
            self._connection.close()
            raise UsageError(f"the log {path} can't be read: {cause}") from cause

    def begin(self, run: int) -> None:
        """Notes that another run begins; durable on return. UsageError: the log can't be written."""
        ends = msgspec.msgpack.encode({self._ids[source]: end for source, end in self._ends.items()})
        try:
            self._connection.execute("INSERT INTO run (id, ends) VALUES (?, ?)", (run, ends))
            self._connection.execute("DELETE FROM run WHERE number <= (SELECT max(number) FROM run) - ?", (_RUNS_MAX,))
        except sqlite3.Error as cause:
            raise UsageError(f"the log {self._path} can't be written: {cause}") from cause

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()
