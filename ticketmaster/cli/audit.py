"""``ticketmaster audit``: whether what was sold adds up."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ticketmaster.cli.options import CONFIG, FILE


@click.command()
@CONFIG
@click.option("-d", "--state-dir", type=FILE, help="Compare the stores of stopped roles below this directory with their logs, too.")
@click.option(
    "--settle-ms", default=10_000, type=click.IntRange(min=0), metavar="MS", help="How long commands under way may take to be decided."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def audit(config_file: Path | None, state_dir: Path | None, settle_ms: int, *, as_json: bool) -> None:
    """Read the topics of a sale on Kafka and check that it adds up: exit code 0 if it does, 1 if not.

    Every command has exactly one decision, no seat is in two live reservations, the seats gone from each area are those of its
    reservations, and every copy of the state says the same. Run it when the sale has come to rest.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.audit import run_audit  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    def show_progress(records: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{records:,} records read", nl=False, err=True)

    result = run_audit(load_properties(config_file), state_dir, settle_ms, show_progress)
    if sys.stderr.isatty():
        click.echo("", err=True)
    if as_json:
        found = [finding._asdict() for finding in result.findings]
        click.echo(
            json.dumps({"sound": not found, "totals": result.totals._asdict(), "stores": result.stores, "findings": found}, indent=2)
        )
    else:
        for name, number in result.totals._asdict().items():
            click.echo(f"{name.replace('_', ' '):12} {number:>12,}")
        if state_dir:
            click.echo(f"{'stores':12} {result.stores:>12,}")
        for finding in result.findings:
            click.secho(f"WRONG  {finding.rule}: {finding.times:,} times", fg="red")
            for example in finding.examples:
                click.echo(f"       {example.text}")
        if not result.findings:
            click.secho("sound: it all adds up", fg="green")
    sys.exit(1 if result.findings else 0)
