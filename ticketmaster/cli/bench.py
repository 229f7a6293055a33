"""``ticketmaster bench``: where the benchmark is."""

from __future__ import annotations

import click

from ticketmaster.errors import UsageError


@click.command(hidden=True, add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:  # noqa: ARG001 - whatever they are, the answer is the same
    """Say where the benchmark is: its load client and its Kafka are no part of the package."""
    raise UsageError("the benchmark is not in the package: run scripts/perf/bench in a clone of the repository or in the source archive")
