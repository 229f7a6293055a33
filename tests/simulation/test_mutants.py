"""The checkers are checked: every planted bug is caught, by the seed that is named."""

from __future__ import annotations

import pytest

from tests.simulation.catching import MUTANTS, SEEDS_MAX, catch


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_caught(name: str) -> None:
    outcome = catch(name)

    assert outcome, f"no seed below {SEEDS_MAX} has caught it"
    print(f"{name}: seed {outcome.seed}: {outcome.violations[0]}")  # noqa: T201 - shown with -rP
