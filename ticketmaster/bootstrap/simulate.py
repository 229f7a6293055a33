"""``ticketmaster simulate``: many seeds, on several cores."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from ticketmaster.clock import SystemClock
from ticketmaster.simulation.simulation import KINDS, Outcome, Size, simulate
from ticketmaster.telemetry.logs import configure_logs

__all__ = ["KINDS", "Size", "Tally", "new_seed", "run_seed", "run_seeds"]

# Processes are replaced after so many seeds each, so that none grows.
_SEEDS_PER_PROCESS = 100


class Tally(NamedTuple):
    """What many seeds came to. ``cpu_s`` is of all cores together; ``failed``: violations by seed."""

    first_seed: int
    seeds: int
    commands_each: int
    faults_each: int
    commands: int
    acknowledged: int
    records: int
    virtual_s: float
    wall_s: float
    cpu_s: float
    faults: dict[str, int]
    failed: dict[int, list[str]]


def new_seed() -> int:
    """One that nobody chose."""
    return SystemClock().random_bits(31)


def run_seed(seed: int, size: Size, write: Callable[[str], None] | None) -> Outcome:
    """Runs one seed in this process; ``write`` is given every line of its journal."""
    configure_logs("critical")
    return simulate(seed, size, write)


def run_seeds(first: int, count: int, size: Size, jobs: int, on_progress: Callable[[int, int], None]) -> Tally:
    """Runs ``count`` seeds from ``first`` on; ``on_progress`` is told how many are done, and how many of them failed."""
    clock = SystemClock()
    began = clock.monotonic_s()
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    failed: dict[int, list[str]] = {}
    for done, (outcome, cpu_s) in enumerate(_outcomes(first, count, size, jobs), 1):
        totals.update(commands=outcome.commands, acknowledged=outcome.acknowledged, records=outcome.records)
        totals.update(milliseconds=int(outcome.virtual_s * 1000), cpu_ms=int(cpu_s * 1000))
        faults += outcome.faults
        if outcome.violations:
            failed[outcome.seed] = outcome.violations
        on_progress(done, len(failed))
    return Tally(
        first_seed=first,
        seeds=count,
        commands_each=size.commands,
        faults_each=size.faults,
        commands=totals["commands"],
        acknowledged=totals["acknowledged"],
        records=totals["records"],
        virtual_s=totals["milliseconds"] / 1000,
        wall_s=clock.monotonic_s() - began,
        cpu_s=totals["cpu_ms"] / 1000,
        faults=dict(sorted(faults.items())),
        failed=dict(sorted(failed.items())),
    )


def _outcomes(first: int, count: int, size: Size, jobs: int) -> Iterator[tuple[Outcome, float]]:
    seeds = [(seed, size) for seed in range(first, first + count)]
    if jobs == 1:
        yield from map(_run, seeds)
        return
    context: Any = multiprocessing.get_context("spawn")
    # Not by max_tasks_per_child, with which Python 3.11's pool comes to hang.
    portion = jobs * _SEEDS_PER_PROCESS
    for start in range(0, count, portion):
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            yield from pool.map(_run, seeds[start : start + portion])


def _run(task: tuple[int, Size]) -> tuple[Outcome, float]:
    clock = SystemClock()
    began = clock.cpu_s()
    outcome = run_seed(*task, None)
    return outcome, clock.cpu_s() - began
