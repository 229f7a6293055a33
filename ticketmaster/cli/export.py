"""``ticketmaster export``: the reservations of an event, or of all, as a table for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ticketmaster.cli.options import CONFIG, FILE
from ticketmaster.cli.progress import shown_progress
from ticketmaster.cli.say import on_stdout, say, say_aside

if TYPE_CHECKING:
    from ticketmaster.bootstrap.export import Exported


def _not_empty(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.BadParameter("is empty")
    return value


@click.command()
@CONFIG
@click.option("-d", "--state-dir", type=FILE, help="Instead of Kafka: a data directory of `standalone`, in use or not.")
@click.option("--event", "event_id", callback=_not_empty, metavar="NAME", help="Only reservations of this event; without it, those of all.")
@click.option(
    "--format",
    "format_name",
    default="csv",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    help="parquet needs pyarrow, the extra ticketmaster[parquet].",
)
@click.option("-o", "--output", type=FILE, help="File to write, replaced once the export is whole; without it, stdout.")
def export(config_file: Path | None, state_dir: Path | None, event_id: str | None, format_name: str, output: Path | None) -> None:
    """Write each reservation as it stands now, sorted by id: exit code 0, or 1 if some could not be read or it was not finished.

    Only topics are read, so it is no load on the roles, and a data directory is read as it is at one moment. With -o an export that was
    interrupted goes on where it was when the same command runs again: what it has read is in FILE.partial. In CSV, text that a
    spreadsheet would run as a formula begins with an apostrophe.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.export import run_directory_export, run_export  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    if state_dir and config_file:
        raise click.UsageError("give either -c or -d: reservations are on Kafka, or in a data directory of standalone")
    if format_name != "jsonl" and output is None and sys.stdout.isatty():
        raise click.UsageError(f"{format_name} is not for a terminal: give -o FILE, or a pipe")
    target = output or on_stdout
    try:
        with shown_progress() as show:
            if state_dir:
                found = run_directory_export(state_dir, event_id, format_name, target, show)
            else:
                found = run_export(load_properties(config_file), event_id, format_name, target, show)
    except KeyboardInterrupt as reason:
        advice = "run it again, it goes on where it was" if output else "with -o it could be gone on with"
        raise click.ClickException(f"it was interrupted: {advice}") from reason
    _tell(found, event_id, output)
    sys.exit(1 if found.unreadable else 0)


def _tell(found: Exported, event_id: str | None, output: Path | None) -> None:
    for example in found.examples:
        say_aside(f"left out, as it can't be read: {example}")
    if found.unreadable > len(found.examples):
        say_aside(f"left out, as they can't be read: {found.unreadable - len(found.examples):,} more")
    whose = "of all events" if event_id is None else f"of {event_id}"
    begun = ", gone on from where it was interrupted" if found.went_on else ""
    # Where the table went to stdout, a sentence would be part of it.
    (say if output else say_aside)(f"{output or 'stdout'}: {found.reservations:,} reservations {whose}{begun}")
