"""How fast and how small `ticketmaster standalone` is: starts it on a temporary directory and sells seats with the load client."""

from __future__ import annotations

import http.client
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from scripts.perf.bench_command import BenchError, run_command

ROOT = Path(__file__).resolve().parents[2]
SPIKE = ROOT / "scripts" / "perf" / "spike"
HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.002
MIB = 1 << 20
# Reservations of one spike while the directory is filled, and areas for them: enough seats for nearly all.
FILL_STEP = 100_000
SEATS_WANTED = 2.5
AREA_SEATS = 400


class Figure(msgspec.Struct):
    """One thing measured, a value a run. `goal`: what the project wants to stay at or below, None without such a wish."""

    name: str
    unit: str
    goal: float | None
    median: float
    min: float
    max: float
    values: list[float]


class Results(msgspec.Struct):
    """All figures, and what they were measured on; the names are those of `--json`."""

    python: str
    system: str
    cores: int
    runs: int
    requests: int
    reservations: int
    figures: list[Figure]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. `requests` of each sale, `reservations` in the full directory."""

    runs: int
    requests: int
    reservations: int
    single_requests: int


# What is measured: name, unit, goal. The order is that of the table.
FIGURES: tuple[tuple[str, str, float | None], ...] = (
    ("start, empty directory", "ms", 1_000),
    ("one client: POST to decision, p50", "ms", 15),
    ("one client: POST to decision, p95", "ms", None),
    ("one client: POST to decision, p99", "ms", None),
    ("sale, 100 areas of 400: server CPU per reservation", "µs", 90),
    ("sale, 100 areas of 400: client CPU per reservation", "µs", None),
    ("sale, 100 areas of 400: reservations per s", "/s", None),
    ("sale, 100 areas of 400: POST, p50", "ms", None),
    ("sale, 100 areas of 400: POST, p95", "ms", None),
    ("sale, 100 areas of 400: POST, p99", "ms", None),
    ("sale, 100 areas of 400: POST to decision, p50", "ms", None),
    ("sale, 100 areas of 400: POST to decision, p95", "ms", None),
    ("sale, 100 areas of 400: POST to decision, p99", "ms", None),
    ("one hot area of 40,000: server CPU per reservation", "µs", None),
    ("one hot area of 40,000: reservations per s", "/s", None),
    ("one hot area / 100 areas, CPU per reservation", "×", None),
    ("250 areas of 400: server CPU per reservation", "µs", None),
    ("one area of 100,000: server CPU per reservation", "µs", None),
    ("one area of 100,000 / 250 areas, CPU per reservation", "×", 2),
    ("filling: server CPU per reservation", "µs", None),
    ("filling: reservations per s", "/s", None),
    ("resident memory, full", "MiB", 400),
    ("resident memory, full, after a start", "MiB", 400),
    ("disk per reservation", "bytes", None),
    ("stop, full directory", "ms", None),
    ("start, full directory", "ms", 3_000),
)


@dataclass(slots=True)
class Server:
    """A process that serves; `start_ms` from its start to its first healthy answer."""

    process: subprocess.Popen[bytes]
    usage: psutil.Process
    port: int
    start_ms: float

    def cpu_s(self) -> float:
        """User and system time of all its threads so far."""
        times = self.usage.cpu_times()
        return times.user + times.system

    def resident_mib(self) -> float:
        """Memory that is in RAM now."""
        return self.usage.memory_info().rss / MIB

    def stop(self) -> float:
        """Ends it by SIGTERM; returns the milliseconds that took. Raises `BenchError` unless it ends with 0."""
        begun_s = time.monotonic()
        self.process.terminate()
        code = self.process.wait(STOP_TIMEOUT_S)
        if code:
            raise BenchError(f"the server ended with {code}")
        return 1_000 * (time.monotonic() - begun_s)


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[Server]:
    """A server on the directory, gone at the end of the block."""
    output = directory.with_suffix(".log")
    command = [sys.executable, "-m", "ticketmaster", "standalone", "-p", "0", "-d", str(directory), *options]
    with output.open("wb") as log:
        begun_s = time.monotonic()
        # A session of its own: Ctrl-C is the benchmark's, which then stops the server.
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        port = wait_healthy(process, output)
        yield Server(process, psutil.Process(process.pid), port, 1_000 * (time.monotonic() - begun_s))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_healthy(process: subprocess.Popen[bytes], output: Path) -> int:
    """Until the health check answers 200; returns the port."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        lines = [line for line in output.read_text().splitlines() if '"event": "ready"' in line and line.endswith("}")]
        if lines:
            port = int(json.loads(lines[0])["url"].rpartition(":")[2])
            if is_healthy(port):
                return port
        time.sleep(POLL_S)
    text = " ".join(output.read_text().split())[-300:]
    raise BenchError(f"the server did not start: {text or 'it said nothing'}")


def is_healthy(port: int) -> bool:
    """Whether the health check answers 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=START_TIMEOUT_S)
    try:
        connection.request("GET", "/v1/health_check")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Measured(Protocol):
    """What a load client can be sent to."""

    port: int

    def cpu_s(self) -> float:
        """User and system time so far."""


def spike(server: Measured, *options: str) -> dict[str, Any]:
    """The load client's report, with what the server used meanwhile. Its progress goes to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, str(SPIKE), "--host", f"{HOST}:{server.port}", "--http2", "--json", str(report), *options]
        cpu_s = server.cpu_s()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                # Its workers, too, are in its session and in no other.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            raise BenchError(f"the load client ended with {code}: see above")
        found: dict[str, Any] = json.loads(report.read_bytes())
    decided = found["reserved"] + found["refused"]
    if decided != found["requests"]:
        raise BenchError(f"{found['requests'] - decided} reservations were not decided: {found['errors']}")
    return found | {"server_cpu_us": 1e6 * (server.cpu_s() - cpu_s) / decided}


@dataclass(slots=True)
class Bench:
    """Takes the figures; progress goes to the console."""

    plan: Plan
    console: Console
    folder: Path
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def run(self) -> Results:
        """Measures everything."""
        for run in range(1, self.plan.runs + 1):
            self.measure_sales(run)
        self.measure_full()
        figures = []
        for name, unit, goal in FIGURES:
            values = [round(value, 3) for value in self.values.pop(name)]
            figures.append(Figure(name, unit, goal, statistics.median(values), min(values), max(values), values))
        assert not self.values, f"not in the table: {list(self.values)}"
        return Results(
            python=platform.python_version(),
            system=platform.platform(),
            cores=psutil.cpu_count() or 1,
            runs=self.plan.runs,
            requests=self.plan.requests,
            reservations=self.plan.reservations,
            figures=figures,
        )

    def say(self, text: str) -> None:
        """One line of progress."""
        self.console.print(text, highlight=False, style="dim")

    def note(self, name: str, value: float) -> None:
        """Keeps a value."""
        self.values[name].append(value)

    def measure_sales(self, run: int) -> None:
        """One run of all that needs no full directory."""
        plan, of = self.plan, f"run {run} of {self.plan.runs}"
        self.say(f"{of}: start on an empty directory")
        with serving(self.folder / f"run-{run}") as server:
            self.note("start, empty directory", server.start_ms)
            self.say(f"{of}: one client, {plan.single_requests:,} reservations one after the other")
            single = spike(server, "-n", str(plan.single_requests), "-c", "1", "--in-flight", "1", *areas(100))
            for percent in ("p50", "p95", "p99"):
                self.note(f"one client: POST to decision, {percent}", single["decision_ms"][percent])
            many = self.measure_sale(server, of, "sale, 100 areas of 400", plan.requests, areas(100))
            self.note("sale, 100 areas of 400: client CPU per reservation", many["client_cpu_us_per_reservation"])
            for percent in ("p50", "p95", "p99"):
                self.note(f"sale, 100 areas of 400: POST, {percent}", many["post_ms"][percent])
                self.note(f"sale, 100 areas of 400: POST to decision, {percent}", many["decision_ms"][percent])
            # As many seats in one area, so that as many are reserved and refused.
            hot = self.measure_sale(server, of, "one hot area of 40,000", plan.requests, areas(1, rows=200, cols=200))
            self.note("one hot area / 100 areas, CPU per reservation", hot["server_cpu_us"] / many["server_cpu_us"])
            # Nearly all of these are reserved.
            requests = min(plan.requests, int(100_000 / SEATS_WANTED))
            small = self.cpu_of_sale(server, of, "250 areas of 400", requests, areas(250))
            large = self.cpu_of_sale(server, of, "one area of 100,000", requests, areas(1, rows=250, cols=400))
            self.note("one area of 100,000 / 250 areas, CPU per reservation", large / small)
            server.stop()

    def measure_sale(self, server: Server, of: str, name: str, requests: int, shape: Sequence[str]) -> dict[str, Any]:
        """A sale at full load."""
        self.say(f"{of}: {name}, {requests:,} reservations")
        report = spike(server, "-n", str(requests), *shape)
        self.note(f"{name}: server CPU per reservation", report["server_cpu_us"])
        self.note(f"{name}: reservations per s", report["reservations_per_s"])
        return report

    def cpu_of_sale(self, server: Server, of: str, name: str, requests: int, shape: Sequence[str]) -> float:
        """What a reservation of a sale costs the server, in µs."""
        self.say(f"{of}: {name}, {requests:,} reservations")
        used: float = spike(server, "-n", str(requests), *shape)["server_cpu_us"]
        self.note(f"{name}: server CPU per reservation", used)
        return used

    def measure_full(self) -> None:
        """Fills a directory once; looks at its size, then starts on it as often as there are runs."""
        directory, total = self.folder / "full", self.plan.reservations
        with serving(directory) as server:
            for done in range(0, total, FILL_STEP):
                step = min(FILL_STEP, total - done)
                self.say(f"filling: {done:,} of {total:,} reservations")
                shape = areas(min(1_000, math.ceil(step * SEATS_WANTED / AREA_SEATS)))
                report = spike(server, "-n", str(step), *shape)
                self.note("filling: server CPU per reservation", report["server_cpu_us"])
                self.note("filling: reservations per s", report["reservations_per_s"])
            self.note("resident memory, full", server.resident_mib())
            self.note("stop, full directory", server.stop())
        used_bytes = sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())
        self.note("disk per reservation", used_bytes / total)
        for run in range(1, self.plan.runs + 1):
            self.say(f"start {run} of {self.plan.runs} with {total:,} reservations")
            with serving(directory) as server:
                self.note("start, full directory", server.start_ms)
                self.note("resident memory, full, after a start", server.resident_mib())
                server.stop()


def areas(count: int, *, rows: int = 20, cols: int = 20) -> tuple[str, ...]:
    """The load client's options for the event."""
    return ("-a", str(count), "--rows", str(rows), "--cols", str(cols))


def show(results: Results, console: Console) -> None:
    """The table."""
    title = f"ticketmaster standalone · Python {results.python} · {results.cores} cores · runs: {results.runs}"
    table = Table(title=title, caption=f"sales of {results.requests:,}, full: {results.reservations:,} reservations", title_justify="left")
    table.add_column("figure")
    for column in ("median", "range", "goal"):
        table.add_column(column, justify="right", no_wrap=True)
    for figure in results.figures:
        spread = "" if figure.min == figure.max else f"{shown(figure.min)} – {shown(figure.max)}"
        goal = "" if figure.goal is None else f"≤ {shown(figure.goal)} {'✓' if figure.median <= figure.goal else '✗'}"
        table.add_row(figure.name, f"{shown(figure.median)} {figure.unit}", spread, goal)
    console.print(table)


def shown(value: float) -> str:
    """Three digits or more that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120})
@click.option("--runs", type=click.IntRange(1, 100), default=None, show_default="3, with --quick 1", help="Runs; a figure is their median.")
@click.option("--requests", type=click.IntRange(100, 10_000_000), default=None, show_default="100000, with --quick 20000",
              help="Reservations of a sale.")  # fmt: skip
@click.option("--reservations", type=click.IntRange(100, 100_000_000), default=None, show_default="1000000, with --quick 40000",
              help="Reservations in the full directory.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Less of everything: under a minute.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), default=None, metavar="FILE",
              help="Write the figures as JSON to FILE.")  # fmt: skip
def command(runs: int | None, requests: int | None, reservations: int | None, json_file: Path | None, *, quick: bool) -> int:
    """Measure speed, memory and disk of `ticketmaster standalone`, on a server and a directory of its own.

    The client runs on the same machine and takes its share of it: its CPU is shown beside the server's.
    """
    if json_file and not json_file.absolute().parent.is_dir():
        raise click.BadParameter(f"{json_file}: there is no such directory", param_hint="--json")
    plan = Plan(
        runs=runs or (1 if quick else 3),
        requests=requests or (20_000 if quick else 100_000),
        reservations=reservations or (40_000 if quick else 1_000_000),
        single_requests=100 if quick else 500,
    )
    with tempfile.TemporaryDirectory(prefix="ticketmaster-bench-") as folder:
        results = Bench(plan, Console(stderr=True), Path(folder)).run()
    console = Console()
    show(results, console if console.is_terminal else Console(width=120))
    if json_file:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(command, arguments)
