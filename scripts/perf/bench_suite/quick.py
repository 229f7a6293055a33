"""To notice when something has become slower: what a reservation costs, in rounds of the calibration loop of the same minute."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from scripts.perf.bench_suite.calibration import calibrate
from scripts.perf.bench_suite.closed_loop import sell_closed
from scripts.perf.bench_suite.load import Sale, areas, sell
from scripts.perf.bench_suite.on_kafka import roles_cpu_us
from scripts.perf.bench_suite.processes import kafka_with_roles, serving

_AREAS = 100
_FILL = 2
_IN_FLIGHT = "8000"
# Clients over HTTP/1.1 that wait for each decision, and their reservations.
_CLOSED = ((128, 5_000), (8, 1_000))


def measure_quick(folder: Path, requests: int, runs: int, say: Callable[[str], None]) -> Table:
    """A table of ratios: they change with the code, and little with the machine."""
    costs: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def note(name: str, cost_us: float) -> None:
        costs[name].append((cost_us, calibrate()))

    options = ("-n", str(requests), *areas(_AREAS))
    with serving(folder / "standalone") as server:
        for run in range(runs + 1):
            say(f"standalone: sale {run} of {runs}" if run else "standalone: warming up")
            sale = sell(server, *options)
            if run:
                note("standalone: CPU per reservation", sale.cpu_us["standalone"])
                note("standalone: the load client's CPU per reservation", sale.client_cpu_us)
                for clients, count in _CLOSED:
                    say(f"standalone: {clients} clients over HTTP/1.1, run {run} of {runs}")
                    closed = sell_closed(server, clients, min(count, requests))
                    note(f"standalone, {clients} clients over HTTP/1.1: CPU per reservation", closed.cpu_us["standalone"])
    with kafka_with_roles(folder / "kafka", 1) as (_, roles):
        roles.start_all()
        say("1 partition: warming up")
        sell(roles, "-n", str(requests * _FILL), "--in-flight", _IN_FLIGHT, *areas(_AREAS * _FILL))
        for run in range(1, runs + 1):
            say(f"1 partition: sale {run} of {runs}")
            _note_kafka(sell(roles, "--in-flight", _IN_FLIGHT, *options), note)
        roles.stop_all()
    return _table(costs)


def _note_kafka(sale: Sale, note: Callable[[str, float], None]) -> None:
    note("1 partition: CPU of the roles per reservation", roles_cpu_us(sale))
    for role in ("ticket", "reservation", "event", "broker"):
        note(f"1 partition: of {role}", sale.cpu_us[role])
    note("1 partition: the load client's CPU per reservation", sale.client_cpu_us)


def _table(costs: dict[str, list[tuple[float, float]]]) -> Table:
    made = Table(title="cost in rounds of the calibration loop", title_justify="left")
    made.add_column("figure")
    for column in ("ratio", "range", "µs", "calibration, µs"):
        made.add_column(column, justify="right", no_wrap=True)
    for name, pairs in costs.items():
        ratios = [cost_us / calibration_us for cost_us, calibration_us in pairs]
        made.add_row(
            name,
            f"{statistics.median(ratios):.0f}",
            f"{min(ratios):.0f} – {max(ratios):.0f}",
            f"{statistics.median(cost_us for cost_us, _ in pairs):.1f}",
            f"{statistics.median(calibration_us for _, calibration_us in pairs):.3f}",
        )
    return made
