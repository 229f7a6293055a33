"""The load client, sent to whatever serves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from scripts.perf.bench_suite.errors import EXIT_NOT_CHECKED, BenchError, NotCheckedError
from scripts.perf.bench_suite.figures import Timeline
from scripts.perf.spike_client.verdict import Verdict

ROOT = Path(__file__).resolve().parents[3]
SPIKE = ROOT / "scripts" / "perf" / "spike"
HOST = "127.0.0.1"
SAMPLE_S = 0.25

# Takes a line of progress.
Say = Callable[[str], None]


class Measured(Protocol):
    """What a load client can be sent to."""

    port: int

    def cpus_s(self) -> Mapping[str, float]:
        """User and system time so far, by process."""


class Sale:
    """One run of the load client: its report, and what each process used meanwhile, in µs a reservation."""

    def __init__(self, report: Mapping[str, Any], cpu_us: Mapping[str, float], cpu_s: Mapping[str, list[float]]) -> None:
        self.report = report
        self.cpu_us = cpu_us
        self._cpu_s = cpu_s

    @property
    def client_cpu_us(self) -> float:
        """Of the load client itself."""
        return float(self.report["client_cpu_us_per_reservation"])

    @property
    def per_s(self) -> float:
        """Reservations decided in a second."""
        return float(self.report["reservations_per_s"])

    def decision_ms(self, percent: str) -> float:
        """From the POST, or from when it should have left, to the decision."""
        return float(self.report["decision_ms"][percent])

    def timeline(self, name: str) -> Timeline:
        """Second by second."""
        seconds = self.report["seconds"]
        return Timeline(
            name,
            [one["decided"] for one in seconds],
            [one["p50_ms"] for one in seconds],
            [one["p99_ms"] for one in seconds],
            {process: [round(cpu_s, 3) for cpu_s in spent] for process, spent in self._cpu_s.items()},
            SAMPLE_S,
        )


def sell(server: Measured, *options: str, http2: bool = True) -> Sale:
    """Runs the load client; its progress goes to stderr. BenchError: what it saw is not sound, or it could not see it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [
            sys.executable,
            str(SPIKE),
            "--host",
            f"{HOST}:{server.port}",
            "--json",
            str(file),
            *options,
            *(["--http2"] if http2 else []),
        ]
        before = dict(server.cpus_s())
        with _Sampler(server.cpus_s) as sampler:
            code = _run(command)
        used = {name: cpu_s - before[name] for name, cpu_s in server.cpus_s().items()}
        report: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    check(code, report)
    decided = report["reserved"] + report["refused"]
    return Sale(report, {name: 1e6 * cpu_s / decided for name, cpu_s in used.items()}, sampler.cpu_s)


def check(code: int, report: Mapping[str, Any]) -> None:
    """BenchError: there are no figures to trust."""
    told = "; ".join([*report.get("violations", [])[:1], *report.get("unchecked", [])])
    if code or report.get("verdict") != Verdict.SOUND:
        error = NotCheckedError if code == EXIT_NOT_CHECKED else BenchError
        raise error(f"the load client ended with {code}, {report.get('verdict', 'without a verdict')}: {told or 'see above'}")
    decided = report["reserved"] + report["refused"]
    if decided != report["requests"]:
        raise BenchError(f"{report['requests'] - decided} reservations were not decided: {report['errors']}")


def _run(command: Sequence[str]) -> int:
    # A session of its own: Ctrl-C is the benchmark's.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            # Its workers, too, are in its session and in no other.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class _Sampler:
    """Looks at the processes' CPU time again and again, beside whatever goes on."""

    def __init__(self, cpus_s: Callable[[], Mapping[str, float]]) -> None:
        self.cpu_s: dict[str, list[float]] = defaultdict(list)
        self._cpus_s = cpus_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        last = self._cpus_s()
        while not self._done.wait(SAMPLE_S):
            now = self._cpus_s()
            for name, cpu_s in now.items():
                self.cpu_s[name].append(cpu_s - last.get(name, 0.0))
            last = now


def areas(count: int, *, rows: int = 20, cols: int = 20) -> tuple[str, ...]:
    """The load client's options for the event."""
    return ("-a", str(count), "--rows", str(rows), "--cols", str(cols))
