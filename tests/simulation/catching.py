"""Looking for the seed that catches a planted bug."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import click

from tests.simulation import engine_mutants, role_mutants
from ticketmaster.simulation.simulation import Outcome, Size, simulate

MUTANTS = engine_mutants.MUTANTS | role_mutants.MUTANTS
SIZE = Size(commands=150, faults=20, steps_max=200_000)
SEEDS_MAX = 40
# What a process dies of that calls a planted function with what it does not take.
_MISMADE = re.compile(r"died of (TypeError|AttributeError|NameError)")


def catch(name: str) -> Outcome | None:
    """The first run that catches a planted bug; without it, the same seed must be sound."""
    for seed in range(SEEDS_MAX):
        with MUTANTS[name]():
            outcome = simulate(seed, SIZE)
        if broken := [text for text in outcome.violations if _MISMADE.search(text)]:
            raise AssertionError(f"the bug itself is made wrong: {broken[0]}")
        if outcome.violations:
            found = simulate(seed, SIZE).violations
            if found:
                raise AssertionError(f"seed {seed} fails without any planted bug: {found}")
            return outcome
    return None


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(MUTANTS)))
def main(names: Sequence[str]) -> None:
    """Plant each bug, or those named, and print as JSON which seed caught it and what was seen."""
    caught = []
    for name in names or MUTANTS:
        outcome = catch(name)
        seen = {"seed": outcome.seed, "violation": outcome.violations[0]} if outcome else {"seed": None, "violation": ""}
        caught.append({"bug": name, **seen})
    click.echo(json.dumps({"commands_each": SIZE.commands, "faults_each": SIZE.faults, "seeds_max": SEEDS_MAX, "bugs": caught}, indent=2))


if __name__ == "__main__":
    main()
