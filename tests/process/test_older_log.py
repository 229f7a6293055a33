"""A log that has not what its state stands for is refused as a missing one is, and never thrown away without a word."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.process.sale import Sale
from tests.process.server import one_clear_line, run, serving
from tests.support.stores import write
from ticketmaster.bootstrap.directory import begin_run
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.lineage import Lineage
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.errors import UsageError
from ticketmaster.state.port import Update
from ticketmaster.state.sqlite import SqliteStores, stored_reaches
from ticketmaster.wire import topics

_TRIES = 20
ROLES = ("event-service", "reservation-service", "ticket-service")


def sold(directory: Path, sale: Sale, count: int, *, killed: bool = False) -> None:
    before = stands_for(directory)
    with serving(directory) as (server, address):
        asyncio.run(sale.sell(address, count))
        if killed:
            # Until state is written behind the log there is nothing that a log without its end lacks.
            for _ in range(_TRIES):
                if stands_for(directory) > before:
                    break
                time.sleep(0.5)
                asyncio.run(sale.sell(address, 5))
            server.kill()


def stands_for(directory: Path) -> int:
    return sum(stored_reaches(file).get(0, 0) for file in directory.glob("state/event-service/0/*.db"))


def copy_log(source: Path, target: Path) -> None:
    """Without its -wal."""
    for file in target.glob("log.db*"):
        file.unlink()
    shutil.copy(source / "log.db", target / "log.db")


def refused(directory: Path) -> None:
    before = {path: path.read_bytes() for path in directory.glob("state/*/*/*.db")}
    done = run("standalone", "-p", "0", "-d", str(directory), cwd=directory.parent)
    one_clear_line(done, [f"{directory}/log.db is older than the state beside it", f"rm -r {directory}/state"])
    assert {path: path.read_bytes() for path in directory.glob("state/*/*/*.db")} == before


class Directories(NamedTuple):
    """A directory and a copy of it from before it sold more, each with what was sold from it."""

    now: Path
    copy: Path
    sale: Sale
    sale_of_copy: Sale


@pytest.fixture
def older(tmp_path: Path) -> Directories:
    """Both stopped."""
    directory, sale = tmp_path / "data", Sale(1, areas=2)
    sold(directory, sale, 20)
    shutil.copytree(directory, tmp_path / "older")
    then = deepcopy(sale)
    sold(directory, sale, 20)
    return Directories(directory, tmp_path / "older", sale, then)


def test_an_older_log_is_refused_until_the_state_is_deleted(older: Directories) -> None:
    directory, copy, *_ = older
    copy_log(copy, directory)

    refused(directory)
    shutil.rmtree(directory / "state")

    with serving(directory):
        pass


def test_a_log_without_the_write_ahead_log_of_a_killed_process_is_refused_and_with_it_is_not(tmp_path: Path) -> None:
    directory, sale = tmp_path / "data", Sale(1, areas=2)
    sold(directory, sale, 20)
    sold(directory, sale, 20, killed=True)
    shutil.copytree(directory, tmp_path / "whole")
    copy_log(directory, directory_without := Path(shutil.copytree(directory, tmp_path / "without")))

    refused(directory_without)
    with serving(tmp_path / "whole") as (_, address):
        asyncio.run(sale.check(address))


def test_an_older_log_that_was_used_since_is_refused_however_long_it_is(older: Directories) -> None:
    directory, copy, _, sale_of_copy = older
    sold(copy, sale_of_copy, 60)
    copy_log(copy, directory)

    refused(directory)


def test_the_log_of_another_directory_is_refused_however_long_it_is(tmp_path: Path) -> None:
    sold(tmp_path / "one", Sale(1, areas=2), 5)
    sold(tmp_path / "other", Sale(2, areas=2), 60)
    copy_log(tmp_path / "other", tmp_path / "one")

    refused(tmp_path / "one")


@pytest.mark.parametrize("role", ROLES)
def test_newer_state_of_one_role_is_refused(older: Directories, role: str) -> None:
    directory, copy, *_ = older
    shutil.rmtree(copy / "state" / role)
    shutil.copytree(directory / "state" / role, copy / "state" / role)

    refused(copy)


@pytest.mark.parametrize("roles", [*((role,) for role in ROLES), ROLES], ids=[*ROLES, "all"])
def test_a_newer_log_brings_older_state_up_to_date(older: Directories, roles: tuple[str, ...]) -> None:
    directory, copy, sale, _ = older
    for role in roles:
        shutil.rmtree(directory / "state" / role)
        shutil.copytree(copy / "state" / role, directory / "state" / role)

    with serving(directory) as (_, address):
        asyncio.run(sale.check(address))
    assert run("audit", "-d", str(directory), cwd=directory.parent).returncode == 0


def test_state_and_log_of_an_earlier_release_are_taken_by_their_offsets(older: Directories) -> None:
    directory, copy, sale, _ = older
    for file in (*directory.rglob("*.db"), *copy.rglob("*.db")):
        with closing(sqlite3.connect(file)) as database, database:
            if file.name == "log.db":
                database.execute("DROP TABLE run")
            else:
                assert database.execute("DELETE FROM checkpoint WHERE id = -1").rowcount == 1

    with serving(directory) as (_, address):
        asyncio.run(sale.check(address))
    copy_log(copy, directory)
    refused(directory)


def test_runs_are_kept_for_a_thousand_starts(tmp_path: Path) -> None:
    runs = [begin_run(tmp_path) for _ in range(5)]
    source = TopicPartition(topics.AREA_CHANGELOG.name, 0)
    with closing(sqlite3.connect(tmp_path / "log.db")) as database, database:
        database.execute("UPDATE run SET number = number + 998 WHERE number > 2")
    begin_run(tmp_path)

    with closing(Lineage(tmp_path / "log.db")) as lineage:
        assert [lineage.runs.end_of(source, run) for run in runs] == [-1, -1, 0, 0, 0]
        assert lineage.runs.end_of(source, 7) == -1
        assert lineage.runs.end_of(source, None) == 0


def test_a_log_that_lacks_what_a_store_leaves_values_out_for_is_refused(tmp_path: Path) -> None:
    async def write_log(records: int) -> None:
        broker = EmbeddedBroker(SqliteStorage(tmp_path / "log.db"), SystemClock())
        await broker.start()
        await broker.create_topics([TopicSpec(topics.AREA_CHANGELOG.name, 1, compacted=True)])
        await broker.producer().send({TopicPartition(topics.AREA_CHANGELOG.name, 0): [(b"k", b"v")] * records})
        await broker.close()

    asyncio.run(write_log(8))
    folder = tmp_path / "state" / "event-service" / "0"
    folder.mkdir(parents=True)
    stores = SqliteStores(folder / "AreaStatus.db", ("AreaStatus",))
    write(stores, {"AreaStatus": Update({b"other": b"v"}, 2, 9)})
    stores.close()

    with pytest.raises(UsageError, match="is older than the state beside it"):
        begin_run(tmp_path)
    asyncio.run(write_log(1))
    begin_run(tmp_path)
