"""``ticketmaster backup``: a copy taken in the middle of a sale is a data directory with all that was decided before."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.process.client import ask, connected
from tests.process.sale import Sale
from tests.process.server import one_clear_line, run, serving
from tests.support.unwritable import unwritable
from ticketmaster.cli import main

BACKUPS = 3


def backed_up(directory: Path, target: Path) -> dict[str, Any]:
    done = run("backup", str(target), "-d", str(directory), "--json", cwd=directory.parent, timeout_s=60)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def audited(directory: Path) -> dict[str, Any]:
    done = run("audit", "-d", str(directory), "--json", cwd=directory.parent, timeout_s=60)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sale]:
    """A stopped directory. Don't write to it."""

    async def sell(address: str) -> None:
        await sale.announce(address, "concert")
        async with connected(address) as connection:
            for _ in range(30):
                await sale.post(connection)
        await sale.check(address)

    directory, sale = tmp_path_factory.mktemp("sold") / "data", Sale(3, areas=2)
    with serving(directory, "--partitions", "3") as (_, address):
        asyncio.run(sell(address))
    return directory, sale


def test_backups_of_a_sale_have_all_that_was_decided_before_each_and_can_be_sold_from(tmp_path: Path) -> None:
    sale = Sale(8)
    told: list[dict[str, bytes]] = []

    async def sell(address: str) -> None:
        await sale.announce(address, "concert")
        buying = asyncio.create_task(sale.load(address, buyers=12, hurried=4))
        for number in range(BACKUPS):
            await asyncio.sleep(1)
            told.append(dict(sale.decisions))
            document = await asyncio.to_thread(backed_up, tmp_path / "data", tmp_path / f"copy-{number}")
            assert (document["stores"], document["left_out"]) == (6, [])
        assert not buying.done(), "the backups did not meet a sale"
        buying.cancel()
        await asyncio.gather(buying, return_exceptions=True)

    async def check(address: str, decisions: dict[str, bytes]) -> None:
        for reservation_id, body in decisions.items():
            assert (await ask(address, "GET", f"/v1/reservation/{reservation_id}")).body == body
        sequel = Sale(9)
        sequel.events = sale.events
        async with connected(address) as connection:
            for _ in range(20):
                await sequel.post(connection)
            for reservation_id in sequel.answered:
                await sequel.read_decision(connection, reservation_id)

    with serving(tmp_path / "data", "--partitions", "2") as (_, address):
        asyncio.run(sell(address))

    assert 0 < len(told[0]) < len(told[-1])
    for number, decisions in enumerate(told):
        copy = tmp_path / f"copy-{number}"
        assert audited(copy)["totals"]["decisions"] >= len(decisions)
        sample = dict(list(decisions.items())[:50] + list(decisions.items())[-50:])
        with serving(copy, "--partitions", "2") as (_, address):
            asyncio.run(check(address, sample))
        assert audited(copy)["totals"]["under_way"] == 0


@pytest.mark.parametrize("place", ["writable", "read-only"])
def test_a_backup_of_a_stopped_directory_is_the_same_sale_for_its_user_alone(sold: tuple[Path, Sale], tmp_path: Path, place: str) -> None:
    directory, sale = sold
    target = tmp_path / "copy"
    target.mkdir(mode=0o755)

    if place == "read-only":
        with unwritable(directory):
            document = backed_up(directory, target)
    else:
        document = backed_up(directory, target)

    assert document["target"] == str(target)
    assert document["log_bytes"] == (target / "log.db").stat().st_size
    before, after = audited(directory), audited(target)
    assert (after["digest"], after["totals"], after["stores"]) == (before["digest"], before["totals"], 24)
    assert before["totals"]["commands"] == len(sale.answered)
    files = [path for path in target.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == sorted(
        ["ticketmaster.json", "log.db", *["AreaStatus.db", "Reservation.db", "Reservation.db"] * 3]
    )
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files if path.name != "ticketmaster.json"} == {0}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [target, *target.rglob("*")] if path.is_dir()} == {0o700}


def test_what_a_killed_server_committed_last_is_in_the_backup_and_a_damaged_store_is_left_out(tmp_path: Path) -> None:
    async def sell(address: str) -> None:
        await sale.announce(address, "concert")
        async with connected(address) as connection:
            for _ in range(30):
                await sale.post(connection)

    directory, sale = tmp_path / "data", Sale(3, areas=2)
    with serving(directory) as (server, address):
        asyncio.run(sell(address))
        server.kill()
    (store,) = directory.glob("state/event-service/0/AreaStatus.db")
    for file in store.parent.glob("AreaStatus.db-*"):
        file.unlink()
    store.write_bytes(b"no database at all, " * 1_000)

    document = backed_up(directory, tmp_path / "copy")

    (reason,) = document["left_out"]
    assert str(store) in reason
    with serving(tmp_path / "copy") as (_, address):
        asyncio.run(sale.check(address))
    assert audited(tmp_path / "copy")["totals"]["commands"] == len(sale.answered)


def test_a_target_that_can_not_be_taken_is_one_clear_line_and_stays_as_it_is(sold: tuple[Path, Sale], tmp_path: Path) -> None:
    directory, _ = sold
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other").write_text("other")
    (tmp_path / "file").write_text("other")
    (tmp_path / "place").mkdir()

    def backup(target: Path, *, of: Path = directory) -> subprocess.CompletedProcess[str]:
        return run("backup", str(target), "-d", str(of), cwd=tmp_path)

    one_clear_line(backup(tmp_path / "full"), ["full exists and is not an empty directory"])
    one_clear_line(backup(tmp_path / "file"), ["file exists"])
    one_clear_line(backup(directory / "copy"), ["outside of it"])
    one_clear_line(backup(tmp_path / "nowhere" / "copy"), ["no directory"])
    one_clear_line(backup(tmp_path / "copy", of=tmp_path / "place"), ["is no data directory"])
    with unwritable(tmp_path / "place"):
        one_clear_line(backup(tmp_path / "place" / "copy"), ["place/copy can't be used"])
    assert {path.name for path in tmp_path.rglob("*")} == {"full", "file", "place", "other"}
    assert not (directory / "copy").exists()


def test_a_backup_that_is_broken_off_leaves_nothing(sold: tuple[Path, Sale], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, _ = sold
    (tmp_path / "empty").mkdir()
    module = import_module("ticketmaster.bootstrap.backup")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_marker", fail)
    for target in ("new", "empty"):
        done = CliRunner().invoke(main, ["backup", str(tmp_path / target), "-d", str(directory)])
        assert done.exit_code == 1
        assert "No space left on device" in done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_a_place_without_space_is_told_before_anything_is_copied(
    sold: tuple[Path, Sale], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))

    done = CliRunner().invoke(main, ["backup", str(tmp_path / "copy"), "-d", str(sold[0])])

    assert done.exit_code == 2
    assert "MiB free" in done.stderr
    assert list(tmp_path.iterdir()) == []
