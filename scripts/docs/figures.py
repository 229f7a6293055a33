"""The parts of documents that are figures: from the JSON of runs in docs/, and from the table of docs/performance.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from scripts.perf.bench_suite import scale
from scripts.perf.bench_suite.figures import Results, shown, spread

_DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
_CLIENTS: Final = (1_024, 128, 32, 8)
_TAKEN: Final = ("CPU per reservation", "reservations per s", "POST to decision, p50", "POST to decision, p99")
# Columns of the table in docs/performance.md, behind the name.
_ORIGINAL, _MEDIAN = 0, 2
# Of each choice: its name in the run, its name for people, and when it is the better one.
_CHOICES: Final = (
    ("ticketmaster", "**ticketmaster**, one process", "everybody comes at once, and no seat may be lost or sold twice"),
    (
        "PostgreSQL",
        "PostgreSQL behind Starlette, a statement a decision",
        "you have it already, and a hundred buyers at a time; you want SQL over your sales",
    ),
    (
        "Redis",
        "Redis behind Starlette, a script a decision",
        "you have it already, the sale fits into memory, and you need no history of it",
    ),
)


def headline() -> str:
    """The first sentence, with its figure."""
    rate = _row("standalone: reservations per s")[_MEDIAN].split()[0]
    return (
        "ticketmaster sells reserved seats for events that everybody wants at the same second. "
        f"One Python process decides **{rate} reservations a second on two cores**,\n"
        "each of them on the disk before it is answered: **no seat twice, nothing acknowledged lost**.\n"
    )


def comparison() -> str:
    """The alternatives, each with its cost and when to use it."""
    run = _results("peers.json")
    medians = {figure.name: figure.median for figure in run.figures}
    lines = [f"| CPU of a reservation with | {' | '.join(f'{clients:,} buyers' for clients in _CLIENTS)} | use it when |"]
    lines.append(f"|---|{'--:|' * len(_CLIENTS)}---|")
    for name, title, when in _CHOICES:
        costs = (f"{shown(medians[f'{clients} clients, {name}: CPU per reservation'])} µs" for clients in _CLIENTS)
        lines.append(f"| {title} | {' | '.join(costs)} | {when} |")
    ours, original = (_row("1 partition: CPU of the roles per reservation")[column].split()[0] for column in (_MEDIAN, _ORIGINAL))
    return "\n".join(
        [
            *lines,
            f"| the original, on the JVM and Kafka | {original} µs; ours on Kafka {ours} | | | | your people run Kafka Streams |",
            "| hosted seat services | not measured | | | | you want drawn maps, a shop and payments, and can pay by the ticket |",
            "",
        ]
    )


def peers() -> str:
    """All that was measured beside PostgreSQL and Redis."""
    run = _results("peers.json")
    found = {figure.name: figure for figure in run.figures}
    lines = [
        "| buyers at a time | sold by | CPU of a reservation | reservations/s | POST to decision, p50 | p99 |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for clients in _CLIENTS:
        for name, _, _ in _CHOICES:
            figures = [found[f"{clients} clients, {name}: {what}"] for what in _TAKEN]
            cells = (f"{shown(figure.median)} {figure.unit} ({spread(figure)})" for figure in figures)
            lines.append(f"| {clients:,} | {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Medians and ranges of {run.plan['runs']} rounds, {_made_on(run)}.", ""])


def sizes() -> str:
    """The time and cost of the headline sale at each size."""
    run = _results("scaling.json")
    found = {figure.name: figure.median for figure in run.figures}
    lines = [
        "| size | requests at once | completion | reservations/s | p50 / p95 | CPU of the roles | of the broker |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, size in _sizes(run):
        broker = f"{size}: the broker's CPU per reservation"
        cells = (
            name,
            f"{run.plan['scale_requests']:,}",
            f"{found[f'{size}: completion']:.1f} s",
            shown(found[f"{size}: reservations per s"]),
            f"{found[f'{size}: POST to decision, p50'] / 1e3:.1f} / {found[f'{size}: POST to decision, p95'] / 1e3:.1f} s",
            f"{shown(found[f'{size}: CPU of the roles per reservation'])} µs",
            f"{shown(found[broker])} µs",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Made on {_made_on(run)}.", ""])


def _made_on(run: Results) -> str:
    calibration = ", ".join(f"{value:.2f}" for value in run.calibration_us)
    return f"commit {run.commit}, {run.cores} cores, Python {run.python}, calibration loop {calibration} µs"


def hops() -> str:
    """Where a reservation waited, by size."""
    run = _results("scaling.json")
    found = {figure.name: figure.median for figure in run.figures}
    lines = [f"| p50 | {' | '.join(scale.HOPS)} |", f"|---|{'--:|' * len(scale.HOPS)}"]
    for name, size in _sizes(run):
        waits = (f"{shown(found[f'{size}: {hop}, p50'])} ms" for hop in scale.HOPS)
        lines.append(f"| {name} | {' | '.join(waits)} |")
    return "\n".join([*lines, ""])


def _sizes(run: Results) -> list[tuple[str, scale.Size]]:
    """Those that were run."""
    taken = {figure.name for figure in run.figures}
    return [(name, size) for name, size in scale.SIZES.items() if f"{size}: completion" in taken]


def proof() -> str:
    """The results of simulations and chaos, in three lines."""
    data = json.loads((_DOCS / "reliability.json").read_text())
    simulated, kafka = data["simulation"] + data.get("adapter", []), data["kafka"]
    seeds_failed = {int(seed) for run in simulated for seed in run["result"]["failed"]}
    found = _found(len(seeds_failed), "seed")
    mended = ", mended since" if seeds_failed and seeds_failed <= {one["seed"] for one in data.get("mended", ())} else ""
    faults = sum(sum(run["result"]["faults"].values()) for run in simulated)
    bugs = [bug for run in data["planted"] for bug in run["result"]["bugs"]]
    violations = _found(sum(len(run["result"]["violations"]) for run in kafka), "violation")
    caught = sum(bug["seed"] is not None for bug in bugs)
    killed = f"{_total(kafka, 'process_kills'):,} processes and {_total(kafka, 'broker_kills'):,} brokers killed"
    decided = f"of {_total(kafka, 'acknowledged'):,} acknowledged reservations {_total(kafka, 'decided'):,} were decided, {violations}"
    seeds = f"{_total(simulated, 'seeds'):,} simulated sales"
    return (
        f"- **{seeds}** with {faults:,} faults of processes, disks, networks, clocks and power: {found} failed{mended}.\n"
        f"- **{killed}** on a real Kafka: {decided}.\n"
        f"- **{len(bugs)} planted bugs**, such as a commit that is not fenced: the simulation caught {caught}.\n"
    )


def _found(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 or not count else 's'}"


def _total(runs: list[dict[str, Any]], name: str) -> int:
    return sum(int(run["result"][name]) for run in runs)


def _results(name: str) -> Results:
    return msgspec.json.decode((_DOCS / name).read_bytes(), type=Results)


def _row(name: str) -> list[str]:
    """Of the table in docs/performance.md: original, goal, median, range."""
    found = re.search(rf"^\| {re.escape(name)} \|(.*)\|$", (_DOCS / "performance.md").read_text(), re.MULTILINE)
    if found is None:
        raise KeyError(name)
    return [cell.strip() for cell in found[1].split("|")]


PARTS: Final[dict[str, Callable[[], str]]] = {
    "headline": headline,
    "comparison": comparison,
    "peers": peers,
    "proof": proof,
    "sizes": sizes,
    "hops": hops,
}
