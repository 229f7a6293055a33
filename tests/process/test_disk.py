"""A full disk, and writes that fail: requests are refused, the process says why and ends by itself, what was acknowledged is kept."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.process.client import Lost, ask, connected
from tests.process.sale import Sale
from tests.process.server import Server, forget_state, run, serving
from tests.support.tools import skipped

# From the first refusal on.
_ENDS_IN_S = 5.0
_FULL_IN_S = 60.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        skipped("only root can mount a small file system")
    yield disk
    subprocess.run(["/bin/umount", "--lazy", str(disk)], check=True)


def _enlarge(disk: Path) -> None:
    subprocess.run(["/bin/mount", "-o", "remount,size=200m", str(disk)], check=True)


async def _sell_until_it_ends(server: Server, sale: Sale) -> None:
    """Sells until the process ends, which must be soon after the first write that failed, and in order."""
    address = server.wait_ready()
    await sale.announce(address, "concert")
    load = asyncio.create_task(sale.load(address))
    begun_s = time.monotonic()
    while server.is_running and not server.logged("failed"):
        assert time.monotonic() < begun_s + _FULL_IN_S, "the disk does not fill up"
        await asyncio.sleep(0.01)
    assert await asyncio.to_thread(server.wait, _ENDS_IN_S) == 1
    await load
    assert server.stderr.read_text() == ""
    lines = server.lines()
    # Each task says that it could not write its state when it was closed.
    assert [line["event"] for line in lines if line["event"] != "state_not_written"] == ["ready", "failed", "stopped"]
    assert lines[1]["level"] == "error"
    assert str(server.directory) in lines[1]["reason"]
    assert "exception" not in lines[1]
    with pytest.raises(Lost):
        await ask(address, "GET", "/v1/health_check")


async def test_a_full_disk_ends_the_process_and_with_space_everything_that_was_acknowledged_is_there(small_disk: Path) -> None:
    sale = Sale(5)
    server = Server(small_disk)
    try:
        await _sell_until_it_ends(server, sale)
    finally:
        server.kill()
    _enlarge(small_disk)
    with serving(small_disk) as (_, address):
        await sale.check(address)
        assert len(sale.decisions) > 100


async def test_a_disk_that_is_still_full_is_named_at_each_start_and_does_no_harm(small_disk: Path) -> None:
    sale = Sale(6)
    server = Server(small_disk)
    try:
        await _sell_until_it_ends(server, sale)
    finally:
        server.kill()
    with _filled(small_disk, free_kib=0):
        for _ in range(3):
            _ends_clearly(small_disk)
    _enlarge(small_disk)
    with serving(small_disk) as (_, address):
        await sale.check(address)


@pytest.mark.parametrize("free_kib", [0, 4, 8, 12, 24, 48, 96, 192])
def test_a_new_directory_on_an_almost_full_disk_is_one_clear_line(small_disk: Path, free_kib: int) -> None:
    with _filled(small_disk, free_kib):
        _ends_clearly(small_disk)
    with serving(small_disk):
        pass


def _ends_clearly(disk: Path) -> None:
    """A line on stderr and exit code 2 if it couldn't begin, a line in the log and 1 if it failed later."""
    done = run("standalone", "-p", "0", "-d", str(disk), cwd=disk.parent)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    if done.returncode == 2:
        assert done.stdout == ""
        assert done.stderr.startswith(("Error: the data directory", "Error: /", "Error: the log"))
        assert done.stderr.count("\n") == 1
    else:
        assert (done.returncode, done.stderr) == (1, "")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["event"] for line in lines] in (["failed", "stopped"], ["ready", "failed", "stopped"])
        assert "exception" not in lines[-2]


@contextmanager
def _filled(disk: Path, free_kib: int) -> Iterator[None]:
    """Leaves so much of the disk, until the block ends; a data directory's own marks are allowed."""
    filler = disk / "lost+found"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
        file.truncate(file.tell() - free_kib * 1_024)
    yield
    filler.unlink()


@pytest.mark.parametrize("kib", [200, 700, 2_000, 5_000])
async def test_a_write_that_fails_ends_the_process_and_nothing_that_was_acknowledged_is_lost(tmp_path: Path, kib: int) -> None:
    sale = Sale(kib)
    server = Server(tmp_path / "data", file_kib_max=kib)
    try:
        await _sell_until_it_ends(server, sale)
    finally:
        server.kill()
    # The log or the state was hit in the middle: both must be of use.
    with serving(tmp_path / "data") as (_, address):
        await sale.check(address)
    forget_state(tmp_path / "data")
    with serving(tmp_path / "data") as (_, address):
        await sale.check(address)


async def test_requests_that_wait_when_a_write_fails_are_answered_with_a_problem(tmp_path: Path) -> None:
    sale = Sale(7)
    server = Server(tmp_path / "data", file_kib_max=500)
    try:
        address = server.wait_ready()
        await sale.announce(address, "concert")
        async with connected(address) as waiting:
            unknown = asyncio.create_task(waiting.request("GET", f"/v1/reservation/{uuid4()}"))
            await sale.load(address)
            assert (await unknown).json["code"] in {"shutting_down", "log_unavailable"}
        assert await asyncio.to_thread(server.wait, _ENDS_IN_S) == 1
    finally:
        server.kill()
    assert sale.refused[503] > 0
