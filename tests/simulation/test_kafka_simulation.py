"""Whatever happens to a deployment on a simulated Kafka, its sale is sound; and what happens is in the seed alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.catching import KAFKA_FOUND, KAFKA_MUTANTS, SEEDS_MAX, catch
from ticketmaster.simulation.simulation import KINDS, Size, has_rules, simulate

SIZE = Size(commands=60, faults=14, kafka=True)
SEEDS = range(50, 102)

BROKERS_KINDS = {
    *("leaders moved", "coordinator moved", "broker restarted", "connections broken", "group rebalanced", "too few replicas"),
    *("broker deposed", "offsets lost", "request late", "request lost", "reply late", "reply lost", "connection cut"),
}

# Seeds that failed before what they found was mended: a defect of the simulation, whose checker took a request that was held up for 15 s to
# be in trouble for 10, and asked for an answer that its client had been refused; a reader that did not learn of its topics when it began,
# and never did afterwards; a connection on which nothing came, and on which metadata was asked for again and again; areas that were
# announced and not open yet when their event was changed, and never heard of it; a task on a host whose clock was behind, which ended no
# hold until somebody sent something.
FOUND = [100_056, 100_125, 101_765, 101_901, 100_527, 100_811, 100_518, 101_007, 101_443]


def again(seed: int, size: Size, violations: list[str]) -> str:
    """How to see it fail again."""
    without = "".join(f" --without {kind}" for kind in size.without)
    return f"{violations}\nticketmaster simulate --kafka --seed {seed} --commands {size.commands} --faults {size.faults}{without} --trace"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sale_on_kafka_is_sound_whatever_happens(seed: int) -> None:
    outcome = simulate(seed, SIZE)

    assert not outcome.violations, again(seed, SIZE, outcome.violations)
    # Else it would be sound because nobody bought. Where events have rules, the gateway refuses much before it is a command.
    assert outcome.decided > SIZE.commands / (5 if has_rules(seed, SIZE) else 3)


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_failed_is_sound(seed: int) -> None:
    outcome = simulate(seed, SIZE)

    assert not outcome.violations, again(seed, SIZE, outcome.violations)


def test_every_kind_of_fault_happens() -> None:
    missing = set(BROKERS_KINDS)
    for seed in range(4):
        missing -= simulate(seed, Size(40, 60, kafka=True)).faults.keys()
        if not missing:
            break

    assert not missing


def test_kinds_of_faults_can_be_left_out() -> None:
    outcome = simulate(3, Size(40, kafka=True, without=KINDS))

    assert not outcome.violations
    assert outcome.decided == outcome.commands
    # Those of the network have no kind: they are the seed's.
    assert outcome.faults.keys() <= {
        "request late",
        "request lost",
        "reply late",
        "reply lost",
        "connection cut",
        "answer lost",
        "question lost",
    }


def test_a_seed_makes_the_same_run_in_every_process() -> None:
    def trace(hash_seed: str) -> str:
        options = ["--seed", "4", "--commands", "30", "--faults", "6", "--trace"]
        command = [str(Path(sys.executable).with_name("ticketmaster")), "simulate", "--kafka", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        return done.stdout

    one = trace("1")
    assert one == trace("2")
    assert f"digest {simulate(4, Size(30, 6, kafka=True)).digest}" in one
    assert simulate(5, Size(30, 6, kafka=True)).digest not in one


@pytest.mark.parametrize("name", KAFKA_MUTANTS)
def test_a_planted_bug_of_the_adapter_is_caught(name: str) -> None:
    outcome = catch(name)

    assert outcome, f"no seed below {SEEDS_MAX} has caught it"
    print(f"{name}: seed {outcome.seed}: {outcome.violations[0]}")  # noqa: T201 - shown with -rP


@pytest.mark.parametrize("name", KAFKA_FOUND)
def test_a_bug_that_was_there_is_caught_when_it_is_planted_back(name: str) -> None:
    outcome = catch(name)

    assert outcome, f"no seed below {SEEDS_MAX} has caught it"
    print(f"{name}: seed {outcome.seed}: {outcome.violations[0]}")  # noqa: T201 - shown with -rP
