"""``ticketmaster simulate``: sales on a simulated deployment, in which everything goes wrong that can."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ticketmaster.bootstrap.simulate import Size, Tally

_SHOWN_VIOLATIONS = 5


@click.command()
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="The seed, or the first of several; a new one if none is given.")
@click.option("--seeds", default=1, type=click.IntRange(1, 10_000_000), metavar="N", show_default=True, help="How many seeds.")
@click.option("--jobs", type=click.IntRange(1, 1_024), metavar="N", help="Seeds at a time; as many as there are cores.")
@click.option("--commands", default=1_100, type=click.IntRange(1, 1_000_000), metavar="N", show_default=True, help="Reservations each.")
@click.option("--faults", default=24, type=click.IntRange(0, 10_000), metavar="N", show_default=True, help="Faults each.")
@click.option(
    "--steps", default=5_000_000, type=click.IntRange(min=1), metavar="N", show_default=True, help="Steps after which a run has failed."
)
@click.option(
    "--kafka", is_flag=True, help="On a simulated Kafka, by the adapter and the client of production, not on the embedded broker."
)
@click.option(
    "--without", multiple=True, metavar="KIND", help="Leave out a kind of fault; may be given several times. An unknown KIND lists all."
)
@click.option("--trace", is_flag=True, help="Print everything that happens, in virtual time. One seed only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def simulate(
    seed: int | None,
    seeds: int,
    jobs: int | None,
    commands: int,
    faults: int,
    steps: int,
    *,
    kafka: bool,
    without: tuple[str, ...],
    trace: bool,
    as_json: bool,
) -> None:
    """Sell on a simulated deployment and check that the sale adds up: exit code 0 if it does, 1 if it doesn't.

    The roles, the engine and the embedded broker are the real ones; with --kafka, so are the adapter and the client of Kafka. Time,
    network, disks, processes and Kafka's brokers are simulated. The seed decides what is killed, paused, cut off, torn or filled, and when.
    The same seed makes the same run, to the byte.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.simulate import KINDS, Size, new_seed, run_seed, run_seeds  # noqa: PLC0415

    if trace and (seeds > 1 or as_json):
        raise click.UsageError("--trace shows one seed, as text: leave out --seeds and --json")
    if unknown := set(without) - set(KINDS):
        raise click.UsageError(f"--without knows no {', '.join(sorted(unknown))}, only {', '.join(KINDS)}")
    first = new_seed() if seed is None else seed
    size = Size(commands, faults, steps, kafka, without)
    if trace:
        outcome = run_seed(first, size, click.echo)
        click.echo(f"digest {outcome.digest}")
        _show_violations(first, size, outcome.violations)
        sys.exit(1 if outcome.violations else 0)

    def show_progress(done: int, failed: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done:,} of {seeds:,} seeds, {failed:,} failed", nl=False, err=True)

    tally = run_seeds(first, seeds, size, min(seeds, jobs or os.cpu_count() or 1), show_progress)
    if sys.stderr.isatty():
        click.echo("", err=True)
    if as_json:
        click.echo(json.dumps({"sound": not tally.failed, **tally._asdict()}, indent=2))
    else:
        _show(tally, size)
    sys.exit(1 if tally.failed else 0)


def _show(tally: Tally, size: Size) -> None:
    last = f" to {tally.first_seed + tally.seeds - 1}" if tally.seeds > 1 else ""
    click.echo(f"{'seeds':24} {tally.first_seed}{last}")
    click.echo(f"{'simulated time':24} {tally.virtual_s / 3600:>14,.1f} h in {tally.wall_s:,.1f} s, {tally.cpu_s:,.1f} s of CPU")
    for name in ("commands", "acknowledged", "records"):
        click.echo(f"{name:24} {getattr(tally, name):>14,}")
    click.echo(f"{'faults':24} {sum(tally.faults.values()):>14,}")
    for kind, times in tally.faults.items():
        click.echo(f"  {kind:22} {times:>14,}")
    for seed, violations in tally.failed.items():
        _show_violations(seed, size, violations)
    if not tally.failed:
        click.secho("sound: it all adds up", fg="green")


def _show_violations(seed: int, size: Size, violations: list[str]) -> None:
    if not violations:
        return
    for violation in violations[:_SHOWN_VIOLATIONS]:
        click.secho(f"WRONG  seed {seed}: {violation}", fg="red")
    options = f"--seed {seed} --commands {size.commands} --faults {size.faults}{' --kafka' if size.kafka else ''}"
    click.echo(f"       again: ticketmaster simulate {options}{''.join(f' --without {kind}' for kind in size.without)} --trace")
