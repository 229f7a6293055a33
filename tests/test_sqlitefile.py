"""Copies of SQLite files that somebody writes to."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ticketmaster import sqlitefile
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.sqlitefile import Reading, open_database

ROWS = 2_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    with closing(open_database(path, synchronous="OFF", format_version=7, cache_kib=100).conn) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 100,)] * ROWS)
    return path


def test_a_copy_is_the_file_at_one_moment_and_does_not_begin_anew_whatever_is_written(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlitefile, "_COPY_PAGES", 1)
    copied: list[int] = []
    with closing(open_database(file, synchronous="OFF", format_version=7, cache_kib=100).conn) as writer:

        def write_more(done: int) -> None:
            copied.append(done)
            writer.execute("UPDATE t SET x = 'new'")
            writer.execute("INSERT INTO t VALUES ('more')")

        size = file.stat().st_size
        with closing(Reading(file, format_version=7, in_use=True)) as reading:
            reading.copy(tmp_path / "copy.db", write_more)

    assert copied == sorted(copied)
    assert (len(copied) > 10, copied[-1]) == (True, size)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*), max(length(x)), min(length(x)) FROM t").fetchone() == (ROWS, 100, 100)
    assert {path.name for path in tmp_path.iterdir()} == {"a.db", "copy.db"}


def test_a_copy_that_can_not_be_written_is_told(file: Path, tmp_path: Path) -> None:
    with closing(Reading(file, format_version=7, in_use=False)) as reading, pytest.raises(Fatal, match="nowhere"):
        reading.copy(tmp_path / "nowhere" / "copy.db", lambda _: None)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "log.db")
    with pytest.raises(UsageError, match=r"log\.db can't be read: it is no file"):
        Reading(tmp_path / "log.db", format_version=7, in_use=False)
