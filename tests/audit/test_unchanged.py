"""Looking at a data directory changes nothing, works where nothing can be changed, and sees what a killed process committed last."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.process.client import connected
from tests.process.sale import Sale
from tests.process.server import serving
from tests.support.command_line import run_here
from tests.support.unwritable import unwritable
from ticketmaster.errors import Retriable, UsageError
from ticketmaster.sqlitefile import Reading, open_database


@pytest.fixture(scope="module", params=["stopped", "killed"])
def sold(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sale]:
    """A data directory as a server has left it. Don't look at it: copy it."""

    async def sell(address: str) -> None:
        await sale.announce(address, "concert")
        async with connected(address) as connection:
            for _ in range(40):
                await sale.post(connection)
        await sale.check(address)

    sale = Sale(1, areas=3)
    directory = tmp_path_factory.mktemp("sold") / "data"
    with serving(directory, "--partitions", "3") as (server, address):
        asyncio.run(sell(address))
        if request.param == "killed":
            server.kill()
    left = [file.name for file in directory.iterdir()]
    assert ("log.db-wal" in left, "log.db-shm" in left) == (request.param == "killed",) * 2
    return directory, sale


@pytest.fixture
def copied(sold: tuple[Path, Sale], tmp_path: Path) -> Path:
    (tmp_path / "temporary").mkdir()
    return Path(shutil.copytree(sold[0], tmp_path / "data"))


def everything(directory: Path) -> dict[str, tuple[int, bytes]]:
    """All there is: names, times of change, contents."""
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [directory, *sorted(directory.rglob("*"))]
    }


def looked_at(directory: Path, *command: str) -> dict[str, Any]:
    env = {"TMPDIR": str(directory.parent / "temporary")}
    done = run_here(*command, "-d", str(directory), "--json", cwd=directory.parent, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((directory.parent / "temporary").iterdir()) == []
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize("writable", [True, False], ids=["writable", "read-only"])
@pytest.mark.parametrize("without", ["", "*-shm", "ticketmaster.lock"])
def test_audit_trace_and_export_see_all_and_leave_everything_as_it_is(
    sold: tuple[Path, Sale], copied: Path, without: str, *, writable: bool
) -> None:
    for file in copied.rglob(without) if without else ():
        file.unlink()
    _, sale = sold
    before = everything(copied)

    with nullcontext() if writable else unwritable(copied):
        found = looked_at(copied, "audit")
        traced = [looked_at(copied, "trace", reservation_id) for reservation_id in (min(sale.answered), max(sale.answered))]
        exported = run_here("export", "-d", str(copied), cwd=copied.parent, env={"TMPDIR": str(copied.parent / "temporary")})
        assert everything(copied) == before

    assert list((copied.parent / "temporary").iterdir()) == []
    assert (exported.returncode, exported.stdout.count("\n")) == (0, len(sale.answered) + 1)
    assert (found["sound"], found["stores"]) == (True, 24)
    assert (found["totals"]["commands"], found["totals"]["decisions"]) == (len(sale.answered), len(sale.decisions))
    assert all(len(document["steps"]) >= 4 for document in traced)
    assert everything(copied) == before


# --- A process that begins to use it meanwhile ----------------------------------------------------------------------------------


@contextmanager
def in_use(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(file, synchronous="OFF", format_version=7, cache_kib=100).conn) as connection:
        yield connection


@pytest.fixture(params=["closed", "killed"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    with in_use(path) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
        if request.param == "killed":
            (tmp_path / "left").mkdir()
            for each in tmp_path.glob("a.db*"):
                shutil.copy(each, tmp_path / "left")
            return tmp_path / "left" / "a.db"
    return path


def write_as_another_process(file: Path, *statements: str) -> None:
    """It ends without closing the file, which would change it."""
    script = f"import os, sqlite3; c = sqlite3.connect({str(file)!r}, isolation_level=None)"
    script += "".join(f"; c.execute({statement!r})" for statement in statements) + "; os._exit(0)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_a_process_writes_into_the_file_while_it_is_read_is_found_out(file: Path) -> None:
    with closing(Reading(file, format_version=7, in_use=False)) as reading:
        write_as_another_process(file, "INSERT INTO t VALUES (2)")
        # It is beside the file so far.
        assert reading.connection.execute("SELECT x FROM t").fetchall() == [(1,)]
        reading.check()
        write_as_another_process(file, "PRAGMA wal_checkpoint")
        if file.parent.name == "left":
            # What is read from beside the file is kept there for its reader.
            assert reading.connection.execute("SELECT x FROM t").fetchall() == [(1,)]
        else:
            with pytest.raises(Retriable, match="a process has begun to use it"):
                reading.check()


def test_a_file_in_use_is_read_as_it_was_whatever_is_written(file: Path) -> None:
    with in_use(file) as connection, closing(Reading(file, format_version=7, in_use=True)) as reading:
        connection.execute("INSERT INTO t VALUES (2)")
        connection.execute("PRAGMA wal_checkpoint")

        assert reading.connection.execute("SELECT x FROM t").fetchall() == [(1,)]
        reading.check()


def test_where_a_copy_can_not_be_made_it_is_said_what_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.db").write_bytes(b"")
    (tmp_path / "a.db-wal").write_bytes(b"something")
    monkeypatch.setattr(shutil, "copyfile", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with pytest.raises(UsageError, match=r"\$TMPDIR: No space left on device"):
        Reading(tmp_path / "a.db", format_version=7, in_use=False)

    assert {path.name for path in tmp_path.iterdir()} == {"a.db", "a.db-wal"}
