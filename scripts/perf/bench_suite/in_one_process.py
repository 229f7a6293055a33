"""The whole system in one process: what it costs, how fast it is, how much it takes, how soon it is back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from scripts.perf.bench_suite import closed_loop
from scripts.perf.bench_suite.figures import Goal, Kind, Notebook
from scripts.perf.bench_suite.load import Sale, Say, areas, sell
from scripts.perf.bench_suite.processes import Standalone, disk_bytes, resident_mib, serving

# Reservations of one sale while the directory is filled, and seats for them: enough for nearly all.
_FILL_STEP = 100_000
_SEATS_WANTED = 2.5
_AREA_SEATS = 400


class Plan(NamedTuple):
    """How much is measured: reservations of a sale, in the full directory, and of one client alone."""

    runs: int
    requests: int
    reservations: int
    single_requests: int


KINDS: tuple[Kind, ...] = (
    Kind("standalone: CPU per reservation", "µs", Goal(60)),
    Kind("standalone: the load client's CPU per reservation", "µs"),
    Kind("standalone: reservations per s", "/s", Goal(10_000, "≥")),
    Kind("standalone: POST, p50", "ms"),
    Kind("standalone: POST to decision, p50", "ms"),
    Kind("standalone, one client: POST to decision, p50", "ms", Goal(15)),
    Kind("standalone, one client: POST to decision, p99", "ms"),
    *closed_loop.kinds("standalone"),
    Kind("standalone, one hot area of 40,000 / 100 areas: CPU", "×"),
    Kind("standalone, one area of 100,000 / 250 areas: CPU", "×", Goal(1.5)),
    Kind("standalone: start, empty directory", "ms", Goal(1_000)),
    Kind("standalone: start, full directory", "ms", Goal(3_000)),
    Kind("standalone: stop, full directory", "ms"),
    Kind("standalone: resident memory, full", "MiB", Goal(400)),
    Kind("standalone: resident memory, full, after a start", "MiB", Goal(400)),
    Kind("standalone: disk per reservation", "bytes"),
)


def measure(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """Everything."""
    folder.mkdir(parents=True)
    for run in range(1, plan.runs + 1):
        _sales(folder / f"run-{run}", plan, notes, lambda text, run=run: say(f"standalone, run {run} of {plan.runs}: {text}"))  # type: ignore[misc]
    _full(folder / "full", plan, notes, lambda text: say(f"standalone: {text}"))


def _sales(directory: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """One run of all that needs no full directory."""
    say("start on an empty directory")
    with serving(directory) as server:
        notes.note("standalone: start, empty directory", server.start_ms)
        say(f"one client, {plan.single_requests:,} reservations one after the other")
        single = sell(server, "-n", str(plan.single_requests), "-c", "1", "--in-flight", "1", *areas(100))
        for percent in ("p50", "p99"):
            notes.note(f"standalone, one client: POST to decision, {percent}", single.decision_ms(percent))
        many = _sell(server, plan.requests, say, "100 areas of 400", *areas(100))
        notes.timelines.append(many.timeline(f"standalone, {plan.requests:,} reservations"))
        notes.note("standalone: CPU per reservation", _cpu_us(many))
        notes.note("standalone: the load client's CPU per reservation", many.client_cpu_us)
        notes.note("standalone: reservations per s", many.per_s)
        notes.note("standalone: POST, p50", float(many.report["post_ms"]["p50"]))
        notes.note("standalone: POST to decision, p50", many.decision_ms("p50"))
        closed_loop.measure(server, "standalone", _cpu_us(many), plan.requests, notes, say)
        # As many seats in one area, so that as many are reserved and refused.
        hot = _sell(server, plan.requests, say, "one hot area of 40,000", *areas(1, rows=200, cols=200))
        notes.note("standalone, one hot area of 40,000 / 100 areas: CPU", _cpu_us(hot) / _cpu_us(many))
        # Nearly all of these are reserved.
        requests = min(plan.requests, int(100_000 / _SEATS_WANTED))
        small = _sell(server, requests, say, "250 areas of 400", *areas(250))
        large = _sell(server, requests, say, "one area of 100,000", *areas(1, rows=250, cols=400))
        notes.note("standalone, one area of 100,000 / 250 areas: CPU", _cpu_us(large) / _cpu_us(small))
        server.stop()


def _sell(server: Standalone, requests: int, say: Say, name: str, *shape: str) -> Sale:
    say(f"{name}, {requests:,} reservations")
    return sell(server, "-n", str(requests), *shape)


def _cpu_us(sale: Sale) -> float:
    return sale.cpu_us["standalone"]


def _full(directory: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """Fills a directory once; looks at its size, then starts on it as often as there are runs."""
    total = plan.reservations
    with serving(directory) as server:
        for done in range(0, total, _FILL_STEP):
            step = min(_FILL_STEP, total - done)
            shape = areas(min(1_000, math.ceil(step * _SEATS_WANTED / _AREA_SEATS)))
            _sell(server, step, say, f"filling, {done:,} of {total:,}", *shape)
        notes.note("standalone: resident memory, full", resident_mib(server.process))
        notes.note("standalone: stop, full directory", server.stop())
    notes.note("standalone: disk per reservation", disk_bytes(directory) / total)
    for run in range(1, plan.runs + 1):
        say(f"start {run} of {plan.runs} with {total:,} reservations")
        with serving(directory) as server:
            notes.note("standalone: start, full directory", server.start_ms)
            notes.note("standalone: resident memory, full, after a start", resident_mib(server.process))
            server.stop()
