"""``ticketmaster simulate`` as a person and a script use it."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from ticketmaster.bootstrap import simulate as running
from ticketmaster.cli import main
from ticketmaster.simulation.journal import Write
from ticketmaster.simulation.simulation import Outcome, Size, simulate

SMALL = ("--commands", "40", "--faults", "6")


def run(*options: str) -> Any:  # noqa: ANN401 - click's result
    return CliRunner().invoke(main, ["simulate", *options])


def test_several_seeds_are_added_up_on_several_cores() -> None:
    done = run("--seed", "3", "--seeds", "4", "--jobs", "2", "--json", *SMALL)

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    singly = [simulate(seed, Size(40, 6)) for seed in range(3, 7)]
    assert found["sound"] is True
    assert (found["first_seed"], found["seeds"], found["commands_each"], found["faults_each"]) == (3, 4, 40, 6)
    assert found["commands"] == sum(outcome.commands for outcome in singly)
    assert found["virtual_s"] == pytest.approx(sum(outcome.virtual_s for outcome in singly), abs=0.01)
    assert sum(found["faults"].values()) == sum(outcome.faults.total() for outcome in singly)


def test_a_new_seed_is_drawn_and_told() -> None:
    told = [run(*SMALL).stdout.splitlines()[0] for _ in range(2)]

    assert all(line.startswith("seeds") for line in told)
    assert told[0] != told[1]


def unsound(seed: int, size: Size, write: Write | None = None) -> Outcome:
    """A run in which something is as it must never be."""
    outcome = simulate(seed, size, write)
    return outcome._replace(violations=["a seat is in two live reservations"])


@pytest.mark.parametrize("more", [(), ("--trace",)])
def test_a_seed_that_fails_is_told_with_the_command_that_replays_it(more: tuple[str, ...]) -> None:
    with patch.object(running, "simulate", unsound):
        done = run("--seed", "5", "--jobs", "1", *SMALL, *more)

    assert done.exit_code == 1
    assert "WRONG  seed 5: a seat is in two live reservations" in done.stdout
    assert "again: ticketmaster simulate --seed 5 --commands 40 --faults 6 --trace" in done.stdout
    assert "sound" not in done.stdout


def test_a_seed_on_kafka_is_told_with_all_that_it_needs() -> None:
    with patch.object(running, "simulate", unsound):
        done = run("--seed", "5", "--jobs", "1", "--kafka", "--without", "offsets", "--without", "disks", *SMALL)

    assert done.exit_code == 1
    command = "ticketmaster simulate --seed 5 --commands 40 --faults 6 --kafka --without offsets --without disks --trace"
    assert f"again: {command}" in done.stdout


def test_a_seed_that_fails_is_told_to_scripts() -> None:
    with patch.object(running, "simulate", unsound):
        done = run("--seed", "5", "--jobs", "1", "--json", *SMALL)

    assert done.exit_code == 1
    assert json.loads(done.stdout)["failed"] == {"5": ["a seat is in two live reservations"]}


def test_steps_are_limited() -> None:
    done = run("--seed", "5", "--steps", "500", *SMALL)

    assert done.exit_code == 1
    assert "steps it is not over" in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--seed", "-1"),
        ("--seeds", "0"),
        ("--commands", "x"),
        ("--trace", "--seeds", "2"),
        ("--trace", "--json"),
        ("--jobs", "0"),
        ("--without", "luck"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(options: tuple[str, ...]) -> None:
    done = run(*options)

    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
