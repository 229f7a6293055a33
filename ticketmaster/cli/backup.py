"""``ticketmaster backup``: a copy of a data directory, also while it is in use."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ticketmaster.cli.options import FILE
from ticketmaster.cli.progress import shown_progress
from ticketmaster.cli.say import say, say_json

if TYPE_CHECKING:
    from ticketmaster.bootstrap.backup import Backup


@click.command()
@click.argument("target", type=FILE, metavar="TARGET")
@click.option("-d", "--state-dir", default=Path("./data"), type=FILE, help="Data directory of `standalone`, in use or not.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def backup(target: Path, state_dir: Path, *, as_json: bool) -> None:
    """Copy a data directory of `standalone` to TARGET, a new or empty directory, also while it is in use.

    The copy has everything that was acknowledged before the command began. It is complete when the command ends with exit code 0. A backup
    that fails removes its copy. No command accepts what a killed backup leaves. To restore, run `ticketmaster standalone -d TARGET`.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.backup import run_backup  # noqa: PLC0415

    with shown_progress() as show:

        def on_progress(name: str, done: int, size: int) -> None:
            share = f", {min(100 * done // size, 100)} %" if size else ""
            show(f"{name}: {done >> 20:,} MiB{share}")

        found = run_backup(state_dir, target, on_progress)
    if as_json:
        say_json(_document(state_dir, target, found))
        return
    for reason in found.left_out:
        say(f"left out, to be rebuilt from the log: {reason}", "yellow")
    say(f"{target}: log {found.log_bytes:,} bytes, {found.stores} stores {found.state_bytes:,} bytes, as of {_time(found)}")


def _time(found: Backup) -> str:
    return datetime.fromtimestamp(found.begun_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _document(directory: Path, target: Path, found: Backup) -> dict[str, Any]:
    rest = found._asdict()
    del rest["begun_ms"]
    return {"directory": str(directory), "target": str(target), "begun": _time(found), **rest}
