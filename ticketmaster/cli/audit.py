"""``ticketmaster audit``: whether what was sold adds up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ticketmaster.cli.options import CONFIG, FILE
from ticketmaster.cli.say import cell, say, say_aside, say_json, say_table
from ticketmaster.cli.verdict import finding_out

if TYPE_CHECKING:
    from ticketmaster.bootstrap.audit import AuditResult

# Is told: what is done, records read for it so far, how far the logs go, how far they are read.
_Progress = Callable[[str, int, int, int], None]
_LINE_INTERVAL_S = 5.0


@click.command()
@CONFIG
@click.option(
    "-d",
    "--state-dir",
    type=FILE,
    help="Without -c: a data directory of `standalone`, in use or not. With -c: compare the stores of stopped roles in it, too.",
)
@click.option(
    "--settle-ms",
    default=10_000,
    type=click.IntRange(min=0),
    metavar="MS",
    help="On Kafka: wait so long for commands that are not decided yet.",
)
@click.option("--areas", "areas_max", default=20, type=click.IntRange(min=0), metavar="N", help="Maximum areas to show; --json has all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@finding_out()
def audit(config_file: Path | None, state_dir: Path | None, settle_ms: int, areas_max: int, *, as_json: bool) -> None:
    """Read the topics of a sale and check that it adds up: exit code 0 if it does, 1 if it doesn't, 3 if the audit could not tell.

    Every command has exactly one decision, no seat is in two live reservations, the seats gone from each area are those of its
    reservations, none comes back that was not given back, holds end when they should, what was paid stays paid, and every copy of the state
    says the same. Each violation is shown with its records. On Kafka, run it when the sale has come to rest. A data directory is read as of
    one moment, also while it is in use.

    The digest covers every area's last status and every decision: two runs with the same digest have the same outcome.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.audit import run_audit, run_directory_audit  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    with _progress() as show:
        if state_dir and not config_file:
            result = run_directory_audit(state_dir, show)
        else:
            result = run_audit(load_properties(config_file), state_dir, settle_ms, show)
    if as_json:
        say_json(_document(result))
    else:
        _show(result, areas_max)
    sys.exit(1 if result.findings else 0)


@contextmanager
def _progress() -> Iterator[_Progress]:
    """On stderr: a bar if that is a terminal, else a line every few seconds."""
    from ticketmaster.bootstrap.audit import in_lines  # noqa: PLC0415

    if not sys.stderr.isatty():
        yield in_lines(say_aside, _LINE_INTERVAL_S)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[records]} records"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("reading", records="0")
        yield lambda what, records, total, done: progress.update(
            bar, description=what, total=total or None, completed=done, records=f"{records:,}"
        )


def _document(result: AuditResult) -> dict[str, Any]:
    report = result.report
    return {
        "sound": not result.findings,
        "digest": report.digest,
        "totals": report.totals._asdict(),
        "stores": result.stores,
        "areas": [area._asdict() for area in report.areas],
        "elsewhere": report.elsewhere,
        "findings": [
            {
                "rule": finding.rule,
                "times": finding.times,
                "examples": [{"text": example.text, "records": [at._asdict() for at in example.records]} for example in finding.examples],
            }
            for finding in result.findings
        ],
    }


def _show(result: AuditResult, areas_max: int) -> None:
    report = result.report
    for name, number in {**report.totals._asdict(), "stores": result.stores}.items():
        say(f"{name.replace('_', ' '):12} {number:>12,}")
    say(f"{'digest':12} {report.digest}")
    say()
    _show_areas(result, areas_max)
    for finding in result.findings:
        say(f"WRONG  {finding.rule}: {finding.times:,} times", "red")
        for example in finding.examples:
            say(f"       {example.text}")
            for at in example.records:
                say(f"         {at.topic}-{at.partition} @ {at.offset}")
    if not result.findings:
        say("sound: it all adds up", "green")


def _show_areas(result: AuditResult, areas_max: int) -> None:
    from rich.table import Table  # noqa: PLC0415

    report = result.report
    table = Table(box=None, pad_edge=False)
    for name in ("event", "area", "capacity", "sold", "reserved", "failed"):
        table.add_column(name, justify="right" if name in ("capacity", "sold", "reserved") else "left")
    for area in report.areas[:areas_max]:
        numbers = (f"{number:,}" for number in (area.capacity, area.sold, area.reserved))
        table.add_row(cell(area.event_id), cell(area.area_id), *numbers, cell(_reasons(area.failed)))
    if table.row_count:
        say_table(table, 200)
    if len(report.areas) > areas_max:
        say(f"… and {len(report.areas) - areas_max:,} areas more (--areas, --json)")
    if report.elsewhere:
        say(f"failed in areas that don't exist: {_reasons(report.elsewhere)}")
    if report.areas or report.elsewhere:
        say()


def _reasons(failed: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in failed.items()) or "–"
