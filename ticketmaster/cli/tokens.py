"""``ticketmaster tokens``: who may do what."""

from __future__ import annotations

from pathlib import Path

import click

from ticketmaster.cli.options import FILE
from ticketmaster.cli.say import cell, say, say_aside, say_json, say_table

# As ticket/access.py has them; not imported, so that --help is answered at once.
_SCOPES = ("organiser", "box_office", "seller", "reader")
_FILE = click.option("--tokens", "path", type=FILE, required=True, metavar="FILE", help="The file that --tokens of the gateway names.")


@click.group()
def tokens() -> None:
    """Create, list and revoke the tokens by which a gateway knows who may do what.

    A gateway that was started with --tokens FILE reads the file again within seconds. Of a token it has the SHA-256 only.
    """


@tokens.command()
@click.argument("name")
@_FILE
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(_SCOPES),
    multiple=True,
    required=True,
    help="What it is for; may be given several times.",
)
@click.option("--event", metavar="PATTERN", help="The events that it is for; * stands for any characters.  [default: all]")
@click.option("--requests-per-second", type=click.IntRange(1, 1_000_000), metavar="N", help="Most requests a second.  [default: no limit]")
def create(name: str, path: Path, scopes: tuple[str, ...], event: str | None, requests_per_second: int | None) -> None:
    """Create a token called NAME: print it, once, and add its line to FILE.

    FILE is created if need be, for its owner alone, and replaced as a whole.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.tokens import create_token  # noqa: PLC0415

    say(create_token(path, name, scopes, event, requests_per_second or 0))
    say_aside(f"{path} has its SHA-256 only: keep the token, nothing shows it again")


@tokens.command(name="list")
@_FILE
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_command(path: Path, *, as_json: bool) -> None:
    """List the tokens of FILE: names, scopes and limits."""
    from rich.table import Table  # noqa: PLC0415

    from ticketmaster.bootstrap.tokens import list_tokens, shown  # noqa: PLC0415

    rows = [shown(token) for token in list_tokens(path)]
    if as_json:
        say_json(rows)
        return
    table = Table("name", "scopes", "events", "requests a second")
    for row in rows:
        table.add_row(
            cell(row["name"]), cell(", ".join(row["scopes"])), cell(row["event"] or "all"), cell(str(row["requestsPerSecond"] or ""))
        )
    say_table(table, 120)


@tokens.command()
@click.argument("name")
@_FILE
def revoke(name: str, path: Path) -> None:
    """Take the line of NAME out of FILE; gateways refuse the token within seconds."""
    from ticketmaster.bootstrap.tokens import revoke_token  # noqa: PLC0415

    revoke_token(path, name)
    say(f"{name} is revoked")
