"""The command line: measure, show, compare, plan, or look in a minute or two whether something has become slower."""

from __future__ import annotations

import platform
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from scripts.perf.bench_suite import beside, in_one_process, life, loop_holds, on_kafka, peers, quiet, scale, watched
from scripts.perf.bench_suite.calibration import calibrate
from scripts.perf.bench_suite.capacity import Cluster, Sale, costs_of, plan, told
from scripts.perf.bench_suite.compare import compared
from scripts.perf.bench_suite.endurance import Plan, endure
from scripts.perf.bench_suite.endurance import told as told_endurance
from scripts.perf.bench_suite.errors import run_command
from scripts.perf.bench_suite.figures import Notebook, Results, markdown, table
from scripts.perf.bench_suite.load import ROOT
from scripts.perf.bench_suite.processes import MIB
from scripts.perf.bench_suite.quick import measure_quick
from scripts.perf.bench_suite.report import html
from scripts.perf.bench_suite.steps import measure_steps

_USUAL = ("standalone", "one", "four", "quiet", "large", "polls", "watched", "steps", "loop", "beside", "life", "peers")
PARTS = (*_USUAL, "scale")
_CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}


@click.group(context_settings=_CONTEXT)
def bench() -> None:
    """What the system costs, how fast it is and how much it takes: on this machine, by the load client, which shares it.

    Starts what it needs, on temporary directories and free ports. The parts on Kafka need Java and Maven, as the tests do.
    """


@bench.command()
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, show_default="all but scale",
              help="Only this: one process; 1 partition; 4 and 2 processes a role; idle and few reservations a second; few of a large "
                   "area; polls; watched; steps; what holds all up; "
                   "beside an event role of the original; holds, payments and expiry; PostgreSQL and Redis; growing sizes.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1, 100), default=5, help="Runs; a figure is their median.")
@click.option("--requests", type=click.IntRange(100, 10_000_000), default=20_000, help="Reservations of a sale on Kafka.")
@click.option("--standalone-requests", type=click.IntRange(100, 10_000_000), default=100_000, help="Reservations of a sale in one process.")
@click.option("--in-flight", type=click.IntRange(1, 100_000), default=8_000, help="Reservations of a sale on Kafka under way at once.")
@click.option("--warm-up", type=click.IntRange(100, 10_000_000), default=700_000, help="Reservations before a sale counts.")
@click.option("--reservations", type=click.IntRange(100, 100_000_000), default=1_000_000, help="Reservations before restarts.")
@click.option("--in-memory", type=click.IntRange(100, 100_000_000), default=200_000, help="Reservations before memory is looked at.")
@click.option("--rate-s", type=click.IntRange(1, 3_600), default=10, help="Seconds of each run at a fixed rate.")
@click.option("--waiters", type=click.IntRange(200, 200_000), default=200_000, help="Long polls that wait at once.")
@click.option("--single-requests", type=click.IntRange(1, 100_000), default=500, help="Reservations of one client alone.")
@click.option(
    "--loop-records", type=click.IntRange(1_000, 100_000_000), default=300_000, help="Records that hold the loop: a store's, a log's."
)
@click.option("--loop-statuses", type=click.IntRange(1, 1_000_000), default=18_000, help="Areas that a table of areas begins with.")
@click.option("--loop-areas", type=click.IntRange(1, 1_000), default=1_000, help="Areas of 10,000 seats that are announced at once.")
@click.option("--wave-holds", type=click.IntRange(0, 1_000_000), default=40_000, help="Holds that end in one second; 0: none.")
@click.option("--wave-s", type=click.IntRange(20, 3_600), default=120, help="Seconds in which they are made, before they end.")
@click.option("--open-holds", type=click.IntRange(0, 10_000_000), default=200_000, help="Holds that stay open; 0: none.")
@click.option("--peer-requests", type=click.IntRange(100, 10_000_000), default=10_000, help="Reservations of a sale here and at peers.")
@click.option(
    "--peer-clients", type=click.Choice(peers.CLIENTS), multiple=True, default=peers.CLIENTS, help="Clients at a time, here and at peers."
)
@click.option("--scale-size", "scale_sizes", type=click.Choice(list(scale.SIZES)), multiple=True, default=list(scale.SIZES),
              help="Partitions x processes of each role.")  # fmt: skip
@click.option(
    "--scale-requests", type=click.IntRange(100, 100_000), default=50_000, help="Reservations of a sale of each size, all at once."
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the results to FILE.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a report with plots.")
def run(
    parts: tuple[str, ...],
    peer_clients: tuple[int, ...],
    scale_sizes: tuple[str, ...],
    json_file: Path | None,
    html_file: Path | None,
    **numbers: int,
) -> int:
    """Measure everything: half an hour or more, and longer where the peers are installed."""
    for file, option in ((json_file, "--json"), (html_file, "--html")):
        if file and not file.absolute().parent.is_dir():
            raise click.BadParameter(f"{file}: there is no such directory", param_hint=option)
    progress = Console(stderr=True)
    results = _measure(parts or _USUAL, peer_clients, scale_sizes, numbers, lambda text: progress.print(text, highlight=False, style="dim"))
    _print(table(results))
    if json_file:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    if html_file:
        html_file.write_text(html(results))
    return 0


def _measure(
    parts: Sequence[str], clients: Sequence[int], sizes: Sequence[str], numbers: dict[str, int], say: Callable[[str], None]
) -> Results:
    kinds = (on_kafka, quiet, in_one_process, watched, loop_holds, beside, life, peers, scale)
    notes = Notebook(tuple(kind for part in kinds for kind in part.KINDS))
    kafka = on_kafka.Plan(**{name: numbers[name] for name in on_kafka.Plan._fields})
    alone = in_one_process.Plan(numbers["runs"], numbers["standalone_requests"], numbers["reservations"], numbers["single_requests"])
    calibration_us = [calibrate()]
    with tempfile.TemporaryDirectory(prefix="ticketmaster-bench-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        _measure_on_kafka(parts, folder, kafka, notes, say)
        if "standalone" in parts:
            in_one_process.measure(folder / "standalone", alone, notes, say)
        if "watched" in parts:
            watched.measure(folder / "watched", alone.runs, alone.requests, notes, say)
        if "loop" in parts:
            held = loop_holds.Plan(**{name: numbers[name] for name in loop_holds.Plan._fields})
            loop_holds.measure(folder / "loop", held, numbers["runs"], notes, say)
        if "beside" in parts:
            beside.measure(folder / "beside", kafka, notes, say)
        if "life" in parts:
            lives = life.Plan(**{name: numbers[name] for name in life.Plan._fields})
            life.measure(folder / "life", lives, notes, say)
        if "peers" in parts:
            peers.measure(folder / "peers", peers.Plan(numbers["runs"], numbers["peer_requests"], clients), notes, say)
        if "scale" in parts:
            scale.measure(folder / "scale", scale.Plan(sizes, numbers["runs"], numbers["scale_requests"]), notes, say)
    calibration_us.append(calibrate())
    plan: dict[str, Any] = {**numbers, "parts": list(parts)}
    return Results(
        platform.python_version(),
        platform.platform(),
        psutil.cpu_count() or 1,
        int(psutil.virtual_memory().total / MIB),
        _commit(),
        [round(value, 4) for value in calibration_us],
        plan,
        notes.figures(),
        notes.timelines,
        list(measure_steps()) if "steps" in parts else [],
    )


def _measure_on_kafka(parts: Sequence[str], folder: Path, plan: on_kafka.Plan, notes: Notebook, say: Callable[[str], None]) -> None:
    measures = {
        "one": on_kafka.measure_one_partition,
        "four": on_kafka.measure_four_partitions,
        "quiet": quiet.measure_quiet,
        "large": quiet.measure_large_area,
        "polls": on_kafka.measure_waiters,
    }
    for part, measure in measures.items():
        if part in parts:
            measure(folder / part, plan, notes, say)


def _print(shown: Table) -> None:
    """On a terminal as wide as it is, elsewhere wide enough for every row."""
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(shown)


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip() or "unknown"


@bench.command()
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def compare(before: Path, after: Path) -> int:
    """Show two results of `run --json` side by side."""
    _print(compared(_read(before), _read(after)))
    return 0


@bench.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--markdown", "as_markdown", is_flag=True, help="As a table for a document.")
def show(results: Path, *, as_markdown: bool) -> int:
    """Show the results of a `run --json` again."""
    found = _read(results)
    if as_markdown:
        click.echo(markdown(found))
    else:
        _print(table(found))
    return 0


def _read(file: Path) -> Results:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Results)
    except msgspec.DecodeError as cause:
        raise click.UsageError(f"{file} must be results of `bench run --json`: {cause}") from cause


@bench.command()
@click.option("--requests", type=click.IntRange(100, 1_000_000), default=20_000, help="Reservations of a sale.")
@click.option("--runs", type=click.IntRange(1, 20), default=3, help="Sales; a figure is their median.")
def quick(requests: int, runs: int) -> int:
    """Take the few figures that matter, as ratios to a calibration loop: under two minutes."""
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="ticketmaster-bench-", ignore_cleanup_errors=True) as folder:
        shown = measure_quick(Path(folder), requests, runs, lambda text: progress.print(text, highlight=False, style="dim"))
    _print(shown)
    return 0


@bench.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reservations", type=click.IntRange(1), default=1_000_000, help="Reservations of the sale.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=15.0, help="In which they come, and are decided.")
@click.option("--areas", type=click.IntRange(1, 100_000), default=1_000, help="Areas that they are for.")
@click.option("--zipf", type=click.FloatRange(0, 3), default=0.0, help="How much hotter some areas are: 0 not at all, 1 as words are.")
@click.option("--elsewhere", type=click.FloatRange(0, 1), default=0.0, help="How many buyers ask another process than took their order.")
@click.option("--partitions", type=click.IntRange(1, 10_000), default=40, help="Partitions of every topic.")
@click.option("--replicas", type=click.IntRange(1, 10), default=3, help="Replicas of every partition.")
@click.option("--busy-max", type=click.FloatRange(0, 1, min_open=True), default=0.6, help="The share of each core that is planned with.")
@click.option("--broker-cores", type=click.IntRange(1, 256), default=4, help="Cores of a broker.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def capacity(
    results: Path, reservations: int, seconds: float, areas: int, zipf: float, elsewhere: float, *, as_json: bool, **cluster: float
) -> int:
    """Tell what a sale would take, by what a reservation cost in RESULTS (of `run --json`, with the parts `one` and `four`)."""
    try:
        costs = costs_of(_read(results))
    except KeyError as cause:
        raise click.UsageError(f"{results} has no figures of `bench run --part one --part four --json`: {cause}") from cause
    whole = {name: int(cluster[name]) for name in ("partitions", "replicas", "broker_cores")}
    found = plan(Sale(reservations, seconds, areas, zipf, elsewhere), Cluster(**whole, busy_max=cluster["busy_max"]), costs)
    if as_json:
        click.echo(msgspec.json.encode(found._asdict()))
    else:
        _print(told(found))
    return 0


@bench.command()
@click.option("--reservations", type=click.IntRange(1_000, 100_000_000), default=1_000_000, help="Reservations of the sale.")
@click.option("--shares", type=click.IntRange(3, 1_000), default=10, help="Shares of it that are measured, one after the other.")
@click.option("--rows", type=click.IntRange(1, 1_000), default=20, help="Rows of an area.")
@click.option("--cols", type=click.IntRange(1, 1_000), default=20, help="Seats of a row.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="A new data directory, which is left.")
def endurance(directory: Path | None, **numbers: int) -> int:
    """Hold one long sale in one process: whether a reservation costs at its end what it cost at its beginning."""
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="ticketmaster-bench-", ignore_cleanup_errors=True) as temporary:
        folder = directory or Path(temporary) / "data"
        ended = endure(folder, Plan(**numbers), lambda text: progress.print(text, highlight=False, style="dim"))
    _print(told_endurance(ended))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(bench, arguments)
