"""The fuzzer's command line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.fuzz.corpus import corpus
from tests.fuzz.plans import Planner
from tests.fuzz.run import Report, run
from tests.process.server import ROOT

EXIT_FOUND = 1
EXIT_NOT_CHECKED = 3
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
FILE_WIDTH = 140
SHOWN_MAX = 10
SHOWN_CHARACTERS_MAX = 600


class _Advance(Protocol):
    def __call__(self, sent: int) -> None: ...


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120})
@click.option("--requests", type=click.IntRange(1, 10_000_000), default=200_000, help="Requests to send.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, help="Other requests for another seed, the same for the same.")
@click.option("--only", type=click.IntRange(0), default=None, metavar="NUMBER", help="Send this one only: a finding again.")
@click.option("--cases", type=click.IntRange(1, 5_000), default=500,
              help="Cases drawn of each operation, valid ones and as many broken ones; they are kept in .cache.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 1_000), default=32, help="Requests under way at once.")
@click.option("--deadline-s", type=click.FloatRange(0.1, 600), default=15.0, help="An answer that takes longer is a hang.")
@click.option("--rss-mib-max", type=click.IntRange(1), default=400, help="What the server's memory must stay below, in MiB.")
@click.option("--json", "json_file", metavar="FILE", default=None, help="Write the report as JSON to FILE, or to stdout with `-`.")
def command(requests: int, seed: int, only: int | None, cases: int, json_file: str | None, **limits: Any) -> int:  # noqa: ANN401
    """Send broken and unbroken requests to a server of its own, and hold every answer against the OpenAPI document.

    Exit code: 0 if nothing was found, 1 if something was, 2 for bad options, 3 if nothing was sold, 130 after Ctrl-C.
    """
    if json_file not in (None, "-") and (not (path := Path(str(json_file)).absolute()).parent.is_dir() or path.is_dir()):
        raise click.UsageError(f"--json {json_file}: no file can be written there")
    console = wide_console()
    numbers = range(requests) if only is None else [only]
    console.print("Drawing cases from the OpenAPI document, unless they are in .cache/fuzz …")
    planner = Planner(corpus(cases, seed, ROOT / ".cache" / "fuzz"), seed)
    with _progress(console, len(numbers)) as advance:
        report = run(planner, numbers, seed, progress=advance, **limits)
    show(report, console)
    if json_file == "-":
        sys.stdout.write(as_json(report))
    elif json_file:
        Path(json_file).write_text(as_json(report))
    return exit_code(report, whole=only is None)


def exit_code(report: Report, *, whole: bool) -> int:
    """Of a ``whole`` run nothing is said where nothing was sold: a server that refuses everything breaks no rule."""
    if report.findings:
        return EXIT_FOUND
    return EXIT_NOT_CHECKED if whole and not report.seats_sold else 0


def as_json(report: Report) -> str:
    """The report as `--json` writes it."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def wide_console() -> Console:
    """stderr; no line is broken where nobody looks."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=FILE_WIDTH)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[_Advance]:
    columns = (TextColumn("requests"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda sent: bar.update(task, completed=sent)


def show(report: Report, console: Console) -> None:
    """The report for people."""
    for title, counts in (("operation", report.by_operation), ("mutation", report.by_mutation), ("status", report.by_status)):
        table = Table(title, "count", title_justify="left")
        for name, count in counts.items():
            table.add_row(name, f"{count:,}")
        console.print(table)
    console.print(
        f"{report.requests:,} requests of seed {report.seed} in {report.seconds:,.0f} s, {report.answers:,} answers; "
        f"{report.reservations_decided:,} of {report.reservations_acknowledged:,} acknowledged reservations are decided, "
        f"{report.seats_sold:,} seats sold.",
        highlight=False,
    )
    console.print(
        f"Memory of the server: {report.rss_before_mib} MiB before, {report.rss_after_mib} MiB after, {report.rss_max_mib} MiB at most.",
        highlight=False,
    )
    for finding in report.findings[:SHOWN_MAX]:
        where = f"number {finding['number']} ({finding['delivery']}): " if "number" in finding else ""
        console.print(f"FOUND {where}{finding['what']}", markup=False, highlight=False)
        console.print(f"  {finding.get('sent', '')[:SHOWN_CHARACTERS_MAX]}", markup=False, highlight=False)
    console.print(f"{len(report.findings)} findings.", highlight=False)


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends it as Ctrl-C does, for which asyncio has its own way: no server stays behind."""
    signal.raise_signal(signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; whatever goes wrong is one line on stderr and an exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        code: int = command.main(arguments, prog_name="fuzz", standalone_mode=False)
    except (click.ClickException, OSError) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        return complain(text, EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        return complain("interrupted", EXIT_INTERRUPTED)
    return code


def complain(text: str, code: int) -> int:
    """One line on stderr."""
    sys.stderr.write(f"fuzz: {' '.join(text.split())}\n")
    return code
