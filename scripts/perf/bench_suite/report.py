"""The report as one HTML file that needs nothing else: the table, throughput and latency over time, CPU per process, the steps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Plot

from scripts.perf.bench_suite.figures import Figure, Results, Step, Timeline, shown, spread, told_calibration, told_goal

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c1c28; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e3e3ea; }
th:first-child, td:first-child { text-align: left; } .met { color: #0a7a35; } .missed { color: #b3261e; }
svg { max-width: 100%; height: auto; } h2 { margin-top: 2.5rem; }
"""
_WIDTH_IN, _HEIGHT_IN = 11.0, 3.4


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
    plot = Plot(figsize=(_WIDTH_IN, _HEIGHT_IN * 2), layout="constrained")
    decided, latency, cpu = plot.subplots(3, 1, sharex=True)
    seconds = range(len(line.decided))
    decided.bar(seconds, line.decided, align="edge", width=0.95, color="#4c6ef5")
    decided.set_ylabel("decided per s")
    latency.step(seconds, line.p50_ms, where="post", label="p50")
    latency.step(seconds, line.p99_ms, where="post", label="p99")
    latency.set_ylabel("ms to the decision")
    latency.legend(loc="upper right")
    for process, spent_s in line.cpu_s.items():
        times = [(number + 1) * line.cpu_every_s for number in range(len(spent_s))]
        cpu.plot(times, [100 * cpu_s / line.cpu_every_s for cpu_s in spent_s], label=process)
    cpu.set_ylabel("% of a core")
    cpu.set_xlabel("seconds")
    cpu.legend(loc="upper right")
    for axes in (decided, latency, cpu):
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.3)
    return _svg(plot)


def _steps(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    plot = Plot(figsize=(_WIDTH_IN, 0.35 * len(steps) + 1), layout="constrained")
    axes = plot.subplots()
    names = [f"{step.role}: {step.name}" for step in steps]
    bars = axes.barh(names, [step.us for step in steps], color="#4c6ef5")
    axes.bar_label(bars, fmt=" %.2f")
    axes.invert_yaxis()
    axes.set_xlabel("µs, alone in a loop")
    return "<h2>The steps of a reservation</h2>" + _svg(plot)


def _svg(plot: Plot) -> str:
    written = io.StringIO()
    FigureCanvasSVG(plot)
    plot.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    return text[text.index("<svg") :]
