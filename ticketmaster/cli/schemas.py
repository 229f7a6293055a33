"""``ticketmaster schemas``: our Avro schemas in a schema registry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ticketmaster.cli.options import CONFIG, FILE
from ticketmaster.cli.say import say, say_json
from ticketmaster.cli.verdict import finding_out

if TYPE_CHECKING:
    from ticketmaster.bootstrap.schemas import SchemaReport

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group()
def schemas() -> None:
    """Look at and register the Avro schemas of the topics."""


@schemas.command()
@CONFIG
@click.option("--avro", "avro_dir", type=FILE, metavar="DIR", help="Check the files *.avsc there, not the schemas of this release.")
@_JSON
@finding_out()
def check(config_file: Path | None, avro_dir: Path | None, *, as_json: bool) -> None:
    """Check that the registry has our schemas, or would accept them: exit code 0 if so, 1 if not, 3 if it can't be reached any more.

    It changes nothing.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.schemas import run_check  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    reports = run_check(load_properties(config_file).registry, avro_dir)
    _show(reports, as_json=as_json)
    sys.exit(1 if any(report.incompatible for report in reports) else 0)


@schemas.command()
@CONFIG
@_JSON
def register(config_file: Path | None, *, as_json: bool) -> None:
    """Register the schemas that are not registered yet. Every role does the same when it starts.

    If the registry refuses those of holds and payments, for example because the user may only read, holds are off and all else works.
    """
    from ticketmaster.bootstrap.schemas import run_register  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    _show(run_register(load_properties(config_file).registry), as_json=as_json, what="not registered, so holds are off")


def _show(reports: list[SchemaReport], *, as_json: bool, what: str = "INCOMPATIBLE") -> None:
    if as_json:
        say_json([report._asdict() for report in reports])
        return
    for report in reports:
        if report.incompatible:
            say(f"{report.subject}  {report.record} is {what}: {'; '.join(report.incompatible)}", "red")
        elif report.schema_id is None:
            say(f"{report.subject}  {report.record} is compatible and not registered yet")
        else:
            say(f"{report.subject}  {report.record} has id {report.schema_id}")
