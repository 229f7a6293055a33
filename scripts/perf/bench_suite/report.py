"""The report as one HTML file that needs nothing else: the table, throughput and latency over time, CPU per process, the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from scripts.perf.bench_suite.charts import bars, lines
from scripts.perf.bench_suite.figures import Figure, Results, Step, Timeline, shown, spread, told_calibration, told_goal

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c1c28; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e3e3ea; }
th:first-child, td:first-child { text-align: left; } .met { color: #0a7a35; } .missed { color: #b3261e; }
svg { max-width: 100%; height: auto; } h2 { margin-top: 2.5rem; }
"""


def html(results: Results) -> str:
    """The whole page."""
    machine = f"Python {results.python}, {results.system}, {results.cores} cores, {results.memory_mib:,} MiB"
    parts = [
        "<h1>What a reservation costs</h1>",
        f"<p>Commit {escape(results.commit)} · {escape(machine)}<br>{told_calibration(results.calibration_us)}</p>",
        _table(results.figures),
        *(f"<h2>{escape(line.name)}</h2>{_timeline(line)}" for line in results.timelines if line.decided),
        _steps(results.steps),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>ticketmaster: what a reservation costs</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _table(figures: Sequence[Figure]) -> str:
    rows = ["<table><tr><th>figure</th><th>median</th><th>range</th><th>goal</th><th>original</th></tr>"]
    for figure in figures:
        style = "" if figure.met is None else ' class="met"' if figure.met else ' class="missed"'
        original = "" if figure.original is None else shown(figure.original)
        cells = (escape(figure.name), f"{shown(figure.median)} {escape(figure.unit)}", spread(figure), told_goal(figure), original)
        rows.append("<tr>" + "".join(f"<td{style if number == 3 else ''}>{cell}</td>" for number, cell in enumerate(cells)) + "</tr>")
    return "".join(rows) + "</table>"


def _timeline(line: Timeline) -> str:
    end_s = float(max(len(line.decided), 1))
    cpu = {
        process: [(number * line.cpu_every_s, 100 * cpu_s / line.cpu_every_s) for number, cpu_s in enumerate(spent_s, 1)]
        for process, spent_s in line.cpu_s.items()
    }
    end_s = max(end_s, *(points[-1][0] for points in cpu.values() if points), end_s)
    latency = {"p50": list(_in_the_middle(line.p50_ms)), "p99": list(_in_the_middle(line.p99_ms))}
    return (
        lines({"decided": list(_in_the_middle(line.decided))}, "reservations per s", end_s)
        + lines(latency, "ms from POST to decision", end_s)
        + lines(cpu, "% of a core", end_s)
    )


def _in_the_middle(values: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Values by second, each in the middle of its second."""
    return ((second + 0.5, value) for second, value in enumerate(values))


def _steps(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    named = [(f"{step.role}: {step.name}", step.us) for step in steps]
    return f"<h2>The steps of a reservation, each alone and in a loop</h2>{bars(named, 'µs')}"
