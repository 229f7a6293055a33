"""Files that are read again when they change, however they do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ticketmaster.bootstrap.refreshing import Contents, Refreshed
from ticketmaster.errors import UsageError

LOOK_S = 0.01


class Used:
    """The contents in force."""

    def __init__(self) -> None:
        self.contents: Contents = ()

    def use(self, contents: Contents) -> None:
        if b"broken" in contents[0]:
            raise UsageError("line 7")
        self.contents = contents


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def refreshed(path: Path, used: Used) -> AsyncIterator[None]:
    files = Refreshed("the file", [path], used.use, LOOK_S)
    files.start()
    job = asyncio.create_task(files.run())
    yield
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)


def in_place(path: Path) -> None:
    path.write_bytes(b"second")


def by_rename(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"second")
    other.replace(path)


def removed_and_made_anew(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"second")


@pytest.mark.parametrize("change", [in_place, by_rename, removed_and_made_anew])
async def test_a_file_is_read_again_however_it_was_changed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path, used = tmp_path / "file", Used()
    path.write_bytes(b"first.")
    async with refreshed(path, used):
        assert used.contents == [b"first."]
        change(path)
        await until(lambda: used.contents == [b"second"])


async def test_a_file_is_read_again_when_kubernetes_swaps_its_folder(tmp_path: Path) -> None:
    for name, content in (("..1", b"first."), ("..2", b"second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(content)
        # As of a volume: all of it has one time.
        os.utime(tmp_path / name / "file", (1, 1))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "file").symlink_to("..data/file")
    used = Used()
    async with refreshed(tmp_path / "file", used):
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await until(lambda: used.contents == [b"second"])


async def test_what_is_no_good_is_told_once_and_the_last_good_one_stays(tmp_path: Path) -> None:
    path, used = tmp_path / "file", Used()
    path.write_bytes(b"first")
    with capture_logs() as logs:
        async with refreshed(path, used):
            path.write_bytes(b"broken")
            await until(lambda: len(logs) == 1)
            path.unlink()
            await until(lambda: len(logs) == 2)
            await asyncio.sleep(20 * LOOK_S)
            assert used.contents == [b"first"]
            path.write_bytes(b"third")
            await until(lambda: used.contents == [b"third"])
    assert [(one["event"], one["log_level"]) for one in logs] == [
        ("not_reloaded", "error"),
        ("not_reloaded", "error"),
        ("reloaded", "info"),
    ]
    assert logs[0]["reason"] == "line 7"
    assert "No such file" in logs[1]["reason"]


async def test_the_last_good_one_put_back_is_told_as_well(tmp_path: Path) -> None:
    path, used = tmp_path / "file", Used()
    path.write_bytes(b"first")
    with capture_logs() as logs:
        async with refreshed(path, used):
            # What is broken a second time is told a second time.
            for told in (2, 4):
                path.write_bytes(b"broken")
                await until(partial(lambda count: len(logs) == count, told - 1))
                path.write_bytes(b"first")
                await until(partial(lambda count: len(logs) == count, told))
            await asyncio.sleep(20 * LOOK_S)
    assert [one["event"] for one in logs] == ["not_reloaded", "reloaded"] * 2
    assert used.contents == [b"first"]


def test_a_start_without_it_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the file can't be read: .*missing: No such file"):
        Refreshed("the file", [tmp_path / "missing"], Used().use).start()
