"""A place that can't be written is named at the start: one line, exit code 2, and nothing was taken."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from tests.process.sale import Sale
from tests.process.server import one_clear_line, run, serving
from tests.support.unwritable import unwritable

STATE = Path("state") / "event-service" / "0"
Spoil = Callable[[Path], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped directory that something was sold from."""

    async def announce(address: str) -> None:
        await Sale(1, areas=1).announce(address, "concert")

    directory = tmp_path_factory.mktemp("sold") / "data"
    with serving(directory) as (_, address):
        asyncio.run(announce(address))
    return directory


def read_only(name: Path | str) -> Spoil:
    return lambda directory: unwritable(directory / name)


def replaced_by_a_directory(name: Path | str) -> Spoil:
    def spoil(directory: Path) -> AbstractContextManager[None]:
        (directory / name).unlink(missing_ok=True)
        (directory / name).mkdir()
        return nullcontext()

    return spoil


def replaced_by_a_file(name: Path | str) -> Spoil:
    def spoil(directory: Path) -> AbstractContextManager[None]:
        shutil.rmtree(directory / name)
        (directory / name).write_text("not a directory")
        return nullcontext()

    return spoil


def a_link_to_nowhere(name: Path | str) -> Spoil:
    def spoil(directory: Path) -> AbstractContextManager[None]:
        shutil.rmtree(directory / name) if (directory / name).is_dir() else (directory / name).unlink()
        (directory / name).symlink_to("/nowhere/at/all")
        return nullcontext()

    return spoil


SPOILT: dict[str, tuple[Spoil, str]] = {
    "a read-only log": (read_only("log.db"), "log.db can't be written"),
    "a read-only directory": (read_only("."), "data"),
    "read-only state": (read_only("state"), "state can't be written"),
    "a read-only role": (read_only(STATE.parent), "event-service can't be written"),
    "a read-only partition": (read_only(STATE), f"{STATE} can't be written"),
    "a read-only store": (read_only(STATE / "AreaStatus.db"), "AreaStatus.db can't be written"),
    "a directory for a log": (replaced_by_a_directory("log.db"), "log.db is not a file"),
    "a directory for a write-ahead log": (replaced_by_a_directory("log.db-wal"), "log.db-wal is not a file"),
    "a directory for a store": (replaced_by_a_directory(STATE / "AreaStatus.db"), "AreaStatus.db is not a file"),
    "a file for the state": (replaced_by_a_file("state"), "state is not a directory"),
    "a file for a role": (replaced_by_a_file(STATE.parent), "event-service is not a directory"),
    "a file for a partition": (replaced_by_a_file(STATE), f"{STATE} is not a directory"),
    "a file for the directory": (replaced_by_a_file("."), "data"),
    "a link to nowhere for the state": (a_link_to_nowhere("state"), "state is not a directory"),
    "a link to nowhere for the log": (a_link_to_nowhere("log.db"), "log.db"),
}


@pytest.mark.parametrize(("spoil", "told"), SPOILT.values(), ids=SPOILT)
def test_a_server_that_could_not_write_does_not_begin(sold: Path, tmp_path: Path, spoil: Spoil, told: str) -> None:
    directory = Path(shutil.copytree(sold, tmp_path / "data"))

    with spoil(directory):
        done = run("standalone", "-p", "0", "-d", str(directory), cwd=tmp_path)

    one_clear_line(done, [told])


def test_a_file_for_the_whole_directory_and_a_read_only_place_for_a_new_one_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "place").mkdir()

    one_clear_line(run("standalone", "-p", "0", "-d", str(tmp_path / "file"), cwd=tmp_path), ["file"])
    with unwritable(tmp_path / "place"):
        one_clear_line(run("standalone", "-p", "0", "-d", str(tmp_path / "place" / "data"), cwd=tmp_path), ["place/data"])
    assert list((tmp_path / "place").iterdir()) == []
