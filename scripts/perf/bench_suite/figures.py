"""Figures: names, units and goals; values by run, their medians and ranges."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Literal, NamedTuple

import msgspec
from rich.table import Table


class Goal(NamedTuple):
    """What a figure should be at most, or at least."""

    limit: float
    sense: Literal["≤", "≥"] = "≤"

    def met(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value <= self.limit if self.sense == "≤" else value >= self.limit


class Kind(NamedTuple):
    """A figure to be taken. ``original``: what the system on the JVM has, on a machine like this one."""

    name: str
    unit: str
    goal: Goal | None = None
    original: float | None = None


class Figure(msgspec.Struct):
    """One thing measured, a value a run."""

    name: str
    unit: str
    median: float
    min: float
    max: float
    values: list[float]
    goal: str | None = None
    met: bool | None = None
    original: float | None = None


class Timeline(msgspec.Struct):
    """One sale, second by second: decisions, their latency, and the share of a core that each process took."""

    name: str
    decided: list[int]
    p50_ms: list[float]
    p99_ms: list[float]
    cpu_s: dict[str, list[float]]
    cpu_every_s: float


class Step(msgspec.Struct):
    """What a step of a reservation's way costs, alone and in a loop."""

    role: str
    name: str
    us: float


class Results(msgspec.Struct):
    """Everything that was measured, and on what; the names are those of ``--json``."""

    python: str
    system: str
    cores: int
    memory_mib: int
    commit: str
    # CPU of a fixed piece of Python, µs, before and after: how fast the machine was.
    calibration_us: list[float]
    plan: dict[str, int | list[str]]
    figures: list[Figure]
    timelines: list[Timeline]
    steps: list[Step]


class Notebook:
    """Takes values down; a figure nobody has described is a defect of the benchmark."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._values: dict[str, list[float]] = defaultdict(list)
        self.timelines: list[Timeline] = []
        self.steps: list[Step] = []

    def note(self, name: str, value: float) -> None:
        """Keeps a value."""
        if name not in self._kinds:
            raise AssertionError(f"not described: {name}")
        self._values[name].append(round(value, 3))

    def figures(self) -> list[Figure]:
        """The figures that have values, in the order of the description."""
        found = []
        for kind in self._kinds.values():
            if values := self._values.get(kind.name):
                middle = statistics.median(values)
                goal = f"{kind.goal.sense} {shown(kind.goal.limit)}" if kind.goal else None
                met = kind.goal.met(middle) if kind.goal else None
                found.append(Figure(kind.name, kind.unit, middle, min(values), max(values), values, goal, met, kind.original))
        return found


def shown(value: float) -> str:
    """Three digits or more that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def spread(figure: Figure) -> str:
    """From the lowest to the highest value; nothing where there is one."""
    return "" if figure.min == figure.max else f"{shown(figure.min)} – {shown(figure.max)}"


def told_goal(figure: Figure) -> str:
    """The goal, and whether it is met."""
    return "" if figure.goal is None else f"{figure.goal} {'✓' if figure.met else '✗'}"


def table(results: Results) -> Table:
    """All figures, for a terminal."""
    title = f"ticketmaster · commit {results.commit} · Python {results.python} · {results.cores} cores"
    made = Table(title=title, title_justify="left", caption=told_calibration(results.calibration_us), caption_justify="left")
    made.add_column("figure")
    for column in ("median", "range", "goal", "original"):
        made.add_column(column, justify="right", no_wrap=True)
    for figure in results.figures:
        original = "" if figure.original is None else shown(figure.original)
        made.add_row(figure.name, f"{shown(figure.median)} {figure.unit}", spread(figure), told_goal(figure), original)
    return made


def told_calibration(calibration_us: list[float]) -> str:
    """How fast the machine was."""
    return f"calibration loop: {', '.join(f'{value:.2f}' for value in calibration_us)} µs; the same on the same machine when it is as quiet"


def markdown(results: Results) -> str:
    """All figures, for a document."""
    lines = ["| figure | original | goal | median | range |", "|---|---|---|---|---|"]
    for figure in results.figures:
        original = "" if figure.original is None else shown(figure.original)
        value = f"{shown(figure.median)} {figure.unit}".strip()
        lines.append(f"| {figure.name} | {original} | {told_goal(figure)} | {value} | {spread(figure)} |")
    return "\n".join(lines)
