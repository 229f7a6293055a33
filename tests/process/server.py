"""The program as real processes, on free ports and directories of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODULE = "ticketmaster"
COMMAND = (sys.executable, "-m", MODULE)
DEADLINE_S = 30.0


def environment(**more: str) -> dict[str, str]:
    """The test's own environment, with the package in its path and without options."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKETMASTER_")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def run(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout_s: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """Runs the program until it ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = DEADLINE_S) -> None:
    """Looks every few milliseconds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not in {timeout_s} s: {what}"
        time.sleep(0.005)


class Program:
    """One run of the program. Its output goes to files, so that it never waits for a reader."""

    def __init__(
        self,
        output: Path,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        file_kib_max: int | None = None,
        module: str = MODULE,
    ) -> None:
        """``file_kib_max``: a write beyond this size of a file fails, as on a disk that is broken there. ``module`` is what Python runs."""
        output.mkdir(exist_ok=True)
        number = len(list(output.iterdir()))
        self.stdout = output / f"{number}.stdout"
        self.stderr = output / f"{number}.stderr"
        command = [sys.executable, "-m", module, *arguments]
        if file_kib_max is not None:
            # POSIX counts in blocks of 512 bytes.
            command = ["/bin/sh", "-c", 'ulimit -f "$0" && exec "$@"', str(file_kib_max * 2), *command]
        with self.stdout.open("wb") as out, self.stderr.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment(**(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged: every line must be JSON, but for a last one that is not complete yet."""
        text = self.stdout.read_text()
        if not self.is_running:
            assert text == "" or text.endswith("\n") or self._process.returncode == -signal.SIGKILL, text[-200:]
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def logged(self, event: str) -> dict[str, Any] | None:
        """The first line of this event."""
        return next((line for line in self.lines() if line["event"] == event), None)

    def wait_ready_line(self, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """Until it does what it is for; returns what it says then."""
        wait_until(lambda: self.logged("ready") is not None or not self.is_running, "ready", timeout_s=timeout_s)
        ready = self.logged("ready")
        assert ready is not None, f"it ended with {self._process.returncode}: {self.stdout.read_text()}{self.stderr.read_text()}"
        return ready

    def wait_ready(self) -> str:
        """Until it serves requests; returns the URL's host and port."""
        url: str = self.wait_ready_line()["url"]
        return url.removeprefix("http://")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to this process only."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Until it ends; returns its exit code."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """What a power failure looks like from the outside."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it by SIGTERM, and fails unless it ends as it should."""
        self.send(signal.SIGTERM)
        code, errors = self.wait(), self.stderr.read_text()
        assert (code, errors) == (0, ""), f"it ended with {code}: {errors[-2_000:]}{self.stdout.read_text()[-2_000:]}"
        # A library may still say something while Python clears its objects away.
        assert [line["event"] for line in self.lines() if line["event"] != "library"][-1] == "stopped"


class Server(Program):
    """``ticketmaster standalone`` on a free port."""

    def __init__(self, directory: Path, *options: str, env: Mapping[str, str] | None = None, file_kib_max: int | None = None) -> None:
        output = directory.parent / f"{directory.name}.output"
        command = ("standalone", "-p", "0", "-d", str(directory), *options)
        super().__init__(output, *command, cwd=directory.parent, env=env, file_kib_max=file_kib_max)
        self.directory = directory


@contextmanager
def serving(directory: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[tuple[Server, str]]:
    """A server that is ready, and its host and port. Ends without a trace of it, whatever happens in the block."""
    server = Server(directory, *options, env=env)
    try:
        yield server, server.wait_ready()
        if server.is_running:
            server.stop()
    finally:
        server.kill()


def forget_state(directory: Path) -> None:
    """Deletes everything that can be rebuilt from the log. A run that was stopped early has left nothing."""
    if (directory / "state").exists():
        shutil.rmtree(directory / "state")


def one_clear_line(done: subprocess.CompletedProcess[str], parts: Sequence[str]) -> None:
    """A mistake of the operator: exit code 2, nothing on stdout, one line on stderr, no traceback."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (message,) = done.stderr.splitlines()
    assert message.startswith("Error: ")
    for part in parts:
        assert part in message
