"""``ticketmaster trace``: what became of one reservation, and when."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ticketmaster.cli.options import CONFIG, FILE
from ticketmaster.cli.progress import shown_progress
from ticketmaster.cli.say import cell, say, say_json, say_table
from ticketmaster.cli.verdict import finding_out

if TYPE_CHECKING:
    from ticketmaster.bootstrap.trace import Trace


@click.command()
@click.argument("reservation_id", metavar="ID")
@CONFIG
@click.option("-d", "--state-dir", type=FILE, help="Instead of Kafka: a data directory of `standalone`, in use or not.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@finding_out()
def trace(reservation_id: str, config_file: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    """Show one reservation's way through the topics: exit code 0, 1 if it has no record, 3 if the topics could not be read.

    Each line is a record: when it was written (UTC), how long after the one before, where it is, what it says, and how many seats of the
    area were free by its last status until then. Retention may have removed commands and answers; compaction leaves the last record of a
    topic.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.trace import run_directory_trace, run_trace  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    if state_dir and config_file:
        raise click.UsageError("give either -c or -d: a reservation is on Kafka, or in a data directory of standalone")
    with shown_progress() as show:

        def on_progress(records: int) -> None:
            show(f"{records:,} records read")

        if state_dir:
            found = run_directory_trace(state_dir, reservation_id, on_progress)
        else:
            found = run_trace(load_properties(config_file), reservation_id, on_progress)
    if not found.steps:
        raise click.ClickException(f"no record is about the reservation {reservation_id}")
    if as_json:
        say_json(_document(found))
    else:
        _show(found)


def _time(timestamp_ms: int) -> datetime:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def _since(found: Trace) -> list[int]:
    """Milliseconds since the record before, of each record."""
    times = [step.timestamp_ms for step in found.steps]
    return [0, *(later - earlier for earlier, later in pairwise(times))]


def _document(found: Trace) -> dict[str, Any]:
    steps = [
        {
            "time": _time(step.timestamp_ms).isoformat(timespec="milliseconds"),
            "since_ms": since_ms,
            **step.at._asdict(),
            "text": step.text,
            "free_seats": step.free_seats,
        }
        for step, since_ms in zip(found.steps, _since(found), strict=True)
    ]
    return found._asdict() | {"steps": steps}


def _show(found: Trace) -> None:
    from rich.table import Table  # noqa: PLC0415

    area = "" if found.area_id is None else f", event {found.event_id}, area {found.area_id}"
    say(f"reservation {found.reservation_id}{area}")
    say()
    table = Table(box=None, pad_edge=False)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("record", no_wrap=not sys.stdout.isatty(), overflow="fold")
    table.add_column("what it says", overflow="fold")
    table.add_column("free", justify="right")
    for step, since_ms in zip(found.steps, _since(found), strict=True):
        time = _time(step.timestamp_ms).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        place = f"{step.at.topic}-{step.at.partition} @ {step.at.offset}"
        free = "" if step.free_seats is None else f"{step.free_seats:,}"
        table.add_row(time, f"{since_ms:+,} ms", cell(place), cell(step.text), free)
    say_table(table, 220)
