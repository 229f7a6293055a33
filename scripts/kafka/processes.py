"""Processes that outlive this program: known by their id and the moment they started, so that nobody else's is ever touched."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
POLL_S = 0.02


@dataclass(frozen=True)
class Process:
    """`started` is whatever the system tells of the start: it only has to differ for another process of the same id."""

    pid: int
    started: str

    def is_running(self) -> bool:
        """Whether it still is this very process. A suspended one runs, a dead one that nobody has waited for does not."""
        return started(self.pid) == self.started

    def send(self, number: signal.Signals) -> bool:
        """Sends a signal; False if it does not run any more."""
        if not self.is_running():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, deadline_s: float) -> bool:
        """Until it ends; False if it still runs at the deadline, a time of the monotonic clock."""
        while self.is_running():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)
        return True


def spawn(command: Sequence[str], folder: Path, log: Path) -> Process:
    """Starts a program in a folder, out of reach of this terminal's Ctrl-C. What it writes is appended to the log."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    return Process(child.pid, started(child.pid) or "ended at once")


def started(pid: int) -> str | None:
    """When a process started, None if there is none."""
    if not PROC.joinpath("self", "stat").exists():
        return started_by_ps(pid)
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the program's name, may hold anything; the rest starts with the state, and the start is the 20th of it.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def started_by_ps(pid: int) -> str | None:
    """The same where there is no /proc."""
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607 - by PATH
    state, _, moment = done.stdout.strip().partition(" ")
    return moment.strip() if state and not state.startswith("Z") else None
