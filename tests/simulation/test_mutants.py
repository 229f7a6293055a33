"""The checkers are checked: every planted bug is caught, by the seed that is named."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS
from ticketmaster.simulation.simulation import Outcome, Size, simulate

SIZE = Size(commands=150, faults=20, steps_max=200_000)
SEEDS_MAX = 25


def catch(name: str) -> Outcome | None:
    """The first run that catches a planted bug."""
    with MUTANTS[name]():
        for seed in range(SEEDS_MAX):
            outcome = simulate(seed, SIZE)
            if outcome.violations:
                return outcome
    return None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_caught(name: str) -> None:
    outcome = catch(name)

    assert outcome, f"no seed below {SEEDS_MAX} has caught it"
    print(f"{name}: seed {outcome.seed}: {outcome.violations[0]}")  # noqa: T201 - shown with -rP
