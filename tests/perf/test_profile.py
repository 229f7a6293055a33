"""Profiles of running processes, by the real profilers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from scripts.perf.profiler import reason
from tests.process.server import Server, serving, wait_until
from tests.support.tools import needs

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "scripts" / "perf" / "profile"
SPIKE = ROOT / "scripts" / "perf" / "spike"

BUSY = "def busy_worker():\n    while True: sum(range(1000))\nbusy_worker()"
SUPERVISOR = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])"


def profile(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROFILE, *arguments], env=os.environ | env, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def running(*command: str) -> Iterator[int]:
    """A process, by its id; it and what it started end with the block."""
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, 9)


@contextmanager
def sold_to(address: str) -> Iterator[None]:
    """Load that has begun; it lasts as long as the block, 20 s at most."""
    before = sold(address)
    with running(sys.executable, str(SPIKE), "--host", address, "-n", "20000", "--rate", "1000", "--json", os.devnull):
        wait_until(lambda: sold(address) > before, "the first seat is sold")
        yield


def sold(address: str) -> int:
    """The seats that the server has sold so far."""
    with urlopen(f"http://{address}/v1/event") as reply:
        return sum(event["seats"] - event["availableSeats"] for event in json.load(reply)["events"])


def one_line(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.fullmatch(rf"profile: .*{re.escape(message)}.*\n", done.stderr), done.stderr


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server that sells, and its host and port."""
    with serving(tmp_path_factory.mktemp("profile") / "data") as one:
        yield one


def test_a_standalone_under_load_is_seen_at_work(standalone: tuple[Server, str], tmp_path: Path) -> None:
    server, address = standalone
    file = tmp_path / "cpu.txt"
    with sold_to(address):
        done = profile("cpu", str(server.pid), "--seconds", "1", "-o", str(file))

    assert (done.returncode, done.stdout) == (0, f"{file}\n"), done.stderr
    stacks = file.read_text()
    assert "ticketmaster/ticket/" in stacks
    assert "ticketmaster/streams/" in stacks


def test_the_workers_of_a_process_are_in_its_flame_graph(tmp_path: Path) -> None:
    file = tmp_path / "cpu.svg"
    with running(sys.executable, "-c", SUPERVISOR) as pid:
        time.sleep(0.3)  # both start
        done = profile("cpu", str(pid), "--seconds", "1", "-o", str(file))

    assert done.returncode == 0, done.stderr
    assert "busy_worker" in file.read_text()


def test_a_dump_tells_where_each_thread_of_a_process_and_its_workers_stands() -> None:
    with running(sys.executable, "-c", SUPERVISOR) as pid:
        time.sleep(0.3)  # both start
        done = profile("dump", str(pid))

    assert done.returncode == 0, done.stderr
    assert f"Process {pid}:" in done.stdout
    assert "busy_worker" in done.stdout


def test_allocations_of_a_running_standalone_are_recorded_and_it_goes_on(standalone: tuple[Server, str], tmp_path: Path) -> None:
    needs("gdb", "a memory profile of a running process")
    server, address = standalone
    file = tmp_path / "memory.bin"
    with sold_to(address):
        done = profile("memory", str(server.pid), "--seconds", "1", "-o", str(file))

    if "registers it does not know" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert server.is_running
    assert re.search(r"Total memory allocated:\s+[0-9.]+MB", done.stdout), done.stdout
    page = file.with_suffix(".html").read_text()
    assert "ticketmaster/" in page
    assert not re.search(r'<(script|link)[^>]+(src|href)="https?:', page)


@pytest.mark.parametrize("command", ["cpu", "memory", "dump"])
def test_a_process_that_is_not_there_is_one_clear_line(command: str) -> None:
    with running("sleep", "60") as pid:
        pass

    one_line(profile(command, str(pid)), f"there is no process {pid}")


@pytest.mark.parametrize("command", ["cpu", "dump"])
def test_what_is_not_python_is_one_clear_line(command: str) -> None:
    with running("sleep", "60") as pid:
        one_line(profile(command, str(pid)), f"process {pid} is not a Python")


# What the profilers say where a test can't be: as another user, without a debugger, on an idle process.
@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "Permission Denied: Try running again with elevated permissions by going 'sudo env \"PATH=$PATH\" !!'\n",
            "no permission to look into process 7: run this as root, or as its user with CAP_SYS_PTRACE",
        ),
        (
            "Failed to attach a debugger to the process.\nThe given process ID is owned by a different user.\n",
            "no permission to look into process 7: run this as root, or as its user with CAP_SYS_PTRACE",
        ),
        (
            "Failed to attach a debugger to the process.\nThe process does not seem to be running Python 3.7 or newer.\n",
            "process 7 is not a Python",
        ),
        (
            "Cannot find a supported lldb or gdb executable and sys.remote_exec is not available.\n",
            "memray enters a process through a debugger: install gdb or lldb",
        ),
        ("Error: Failed to write flamegraph: No stack counts found\n", "process 7 did nothing meanwhile: profile it under load"),
        ("Error: Something new\n\nStack backtrace:\n   0: main\n", "tool: Something new"),
        ("", "tool: it said nothing"),
    ],
)
def test_a_reason_of_a_profiler_becomes_one_clear_line(said: str, line: str) -> None:
    assert reason("tool", 7, said) == line


@pytest.mark.parametrize(
    ("output", "message"), [("/no/such/folder/x.svg", "no file can be written there"), ("x.png", "must end in one of .svg, .json, .txt")]
)
def test_an_output_that_can_not_be_is_one_clear_line(output: str, message: str) -> None:
    one_line(profile("cpu", str(os.getpid()), "-o", output), message)


@pytest.mark.parametrize("pid", ["0", "-1", "ticket"])
def test_an_id_that_is_none_is_one_clear_line(pid: str) -> None:
    done = profile("dump", "--", pid)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"profile dump: error: argument PID: {pid!r} is not a whole number above zero"
