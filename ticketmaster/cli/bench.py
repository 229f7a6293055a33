"""``ticketmaster bench``: the benchmark of the repository that this program was installed from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

import ticketmaster
from ticketmaster.errors import UsageError

_BENCH = Path(ticketmaster.__file__).resolve().parents[1] / "scripts" / "perf" / "bench"


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure speed, cost, memory and disk on this machine.

    In a clone of the repository only, where the load client is: the same as scripts/perf/bench.
    """
    if not _BENCH.exists():
        raise UsageError("the benchmark is not part of the installed package: clone the repository, and run `make bench` there")
    os.execv(sys.executable, [sys.executable, str(_BENCH), *arguments])  # noqa: S606 - the same Python
