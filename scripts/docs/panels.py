"""The panels of a Grafana dashboard as SVG: rows, stats and time series, as far as deploy/observability/ticketmaster.json uses them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

Panel = dict[str, Any]
# Name of a series → its points, seconds and values; a point is missing where there is no value.
Series = Mapping[str, Sequence[tuple[float, float]]]

WIDTH = 1560.0
_COLUMN, _ROW, _GAP = WIDTH / 24, 32.0, 6.0
_LEFT, _RIGHT, _TOP, _AXIS, _LEGEND = 58.0, 14.0, 34.0, 20.0, 15.0
_COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0", "#96d98d", "#ffcb7d")
_NAMED = {"green": "#73bf69", "orange": "#ff780a", "red": "#f2495c"}
_TEXT, _FAINT, _GRID, _BOX, _PAGE = "#d8d9da", "#8e8e8e", "#2f3136", "#181b1f", "#111217"
_CHARACTER = 6.2


def expression(text: str, rate_interval: str) -> str:
    """A panel's expression with Grafana's variables filled in: all events."""
    return text.replace("$__rate_interval", rate_interval).replace("$event", ".*")


def legend(pattern: str, labels: Mapping[str, str]) -> str:
    """The name of a series: the pattern with the labels put in."""
    return " ".join(re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern).split())


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """A value as Grafana shows it, roughly."""
    if unit == "percentunit":
        return f"{100 * value:.{1 if decimals is None else decimals}f}%"
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms" if value else "0 s"
    steps = ["", " KiB", " MiB", " GiB"] if unit == "bytes" else ["", "K", "M", "G"]
    size = 1024 if unit == "bytes" else 1000
    while abs(value) >= size and len(steps) > 1:
        value, steps = value / size, steps[1:]
    number = f"{value:.{decimals}f}" if decimals is not None and steps[0] == "" else f"{value:.3g}"
    return f"{number}{steps[0]}{ {'s': ' s', 'reqps': ' req/s'}.get(unit, '') }"


def page(panels: Sequence[tuple[Panel, Series]], span_s: tuple[float, float], title: str, caption: str) -> str:
    """The whole dashboard, in the grid of its file."""
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel, _ in panels)
    head = 44.0
    height = head + bottom * _ROW + 30
    parts = [
        f'<rect width="{WIDTH:.0f}" height="{height:.0f}" fill="{_PAGE}"/>',
        _text(_GAP + 4, 29, title, size=20),
        _text(_GAP + 4, height - 11, caption, colour=_FAINT, size=13),
    ]
    for panel, series in panels:
        grid = panel["gridPos"]
        x, y = grid["x"] * _COLUMN + _GAP / 2, head + grid["y"] * _ROW
        width, tall = grid["w"] * _COLUMN - _GAP, grid["h"] * _ROW - _GAP
        parts.append(f'<g transform="translate({x:.1f} {y:.1f})">{_panel(panel, series, width, tall, span_s)}</g>')
    style = 'font-family="Inter, system-ui, DejaVu Sans, sans-serif"'
    view = f'viewBox="0 0 {WIDTH:.0f} {height:.0f}" width="{WIDTH:.0f}" height="{height:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {view} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def _panel(panel: Panel, series: Series, width: float, height: float, span_s: tuple[float, float]) -> str:
    if panel["type"] == "row":
        return _text(4, 20, f"▾ {panel['title']}", size=15)
    box = f'<rect width="{width:.1f}" height="{height:.1f}" rx="2" fill="{_BOX}" stroke="{_GRID}"/>'
    body = _stat if panel["type"] == "stat" else _lines
    empty = _text(width / 2, height / 2 + 8, "No data", anchor="middle")
    inside = body(panel, series, width, height, span_s) if any(series.values()) else empty
    return box + _text(10, 21, panel["title"], size=13) + inside


def _stat(panel: Panel, series: Series, width: float, height: float, _: tuple[float, float]) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    known = {name: points[-1][1] for name, points in series.items() if points}
    wide = width / len(known)
    parts = []
    for number, (name, value) in enumerate(known.items()):
        steps = [step["color"] for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
        middle = (number + 0.5) * wide
        large = shown(value, defaults["unit"], defaults.get("decimals"))
        parts.append(_text(middle, height / 2 + 22, large, anchor="middle", colour=_NAMED[steps[-1]], size=30))
        if len(known) > 1:
            parts.append(_text(middle, height - 14, name, anchor="middle", colour=_FAINT))
    return "".join(parts)


def _lines(panel: Panel, series: Series, width: float, height: float, span_s: tuple[float, float]) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
    drawn = _stack(series) if stacked else series
    rows = _legend_rows(list(series), width)
    bottom = height - 6 - _LEGEND * len(rows) - _AXIS
    top = defaults.get("max") or _ceiling(max((value for points in drawn.values() for _, value in points), default=0), defaults["unit"])
    begin_s, end_s = span_s

    def at(point: tuple[float, float]) -> str:
        x = _LEFT + (width - _LEFT - _RIGHT) * (point[0] - begin_s) / (end_s - begin_s)
        return f"{x:.1f},{bottom - (bottom - _TOP) * min(point[1], top) / top:.1f}"

    parts = [_axes(width, bottom, top, defaults["unit"], end_s - begin_s)]
    opacity = defaults["custom"]["fillOpacity"] / 100
    # From the top of a stack down, so that each area covers those above it.
    for number, points in reversed(list(enumerate(drawn.values()))):
        colour = _COLOURS[number % len(_COLOURS)]
        for run in _runs(points):
            path = " ".join(map(at, run))
            if stacked:
                area = f"{path} {at((run[-1][0], 0))} {at((run[0][0], 0))}"
                parts.append(f'<polygon points="{area}" fill="{_BOX}"/><polygon points="{area}" fill="{colour}" fill-opacity="{opacity}"/>')
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    number = 0
    for row, names in enumerate(rows):
        x, y = 12.0, height - 8 - _LEGEND * (len(rows) - 1 - row)
        for name in names:
            parts.append(f'<rect x="{x:.1f}" y="{y - 5:.1f}" width="12" height="3" fill="{_COLOURS[number % len(_COLOURS)]}"/>')
            parts.append(_text(x + 17, y, name, size=11))
            x += _legend_width(name)
            number += 1
    return "".join(parts)


def _axes(width: float, bottom: float, top: float, unit: str, seconds: float) -> str:
    parts = []
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - (bottom - _TOP) * part
        parts.append(f'<line x1="{_LEFT}" x2="{width - _RIGHT:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>')
        parts.append(_text(_LEFT - 6, y + 4, shown(top * part, "short" if unit == "reqps" else unit), anchor="end", colour=_FAINT, size=11))
    step = max(1, round(seconds / 60)) * 10
    for second in range(0, int(seconds) + 1, step):
        x = _LEFT + (width - _LEFT - _RIGHT) * second / seconds
        parts.append(_text(x, bottom + 15, f"{second} s", anchor="middle", colour=_FAINT, size=11))
    return "".join(parts)


def _ceiling(value: float, unit: str) -> float:
    """The end of an axis: a quarter of it is a number that is easy to read."""
    if value <= 0:
        return 1.0
    scale = 1024.0 if unit == "bytes" else 1000.0
    quarter, power = value / 4, 1.0
    while quarter / power >= scale:
        power *= scale
    while quarter / power < 1:
        power /= 10
    return 4 * power * next((step for step in (1, 2, 2.5, 5, 10, 20, 25, 50, 100, 200, 250, 500) if step * power >= quarter), scale)


def _stack(series: Series) -> dict[str, list[tuple[float, float]]]:
    """Each series on top of those before it."""
    total: dict[float, float] = {}
    stacked = {}
    for name, points in series.items():
        for at_s, value in points:
            total[at_s] = total.get(at_s, 0) + value
        stacked[name] = [(at_s, total[at_s]) for at_s, _ in points]
    return stacked


def _runs(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The points in pieces, broken where some are missing."""
    if not points:
        return []
    usual_s = min((after[0] - before[0] for before, after in pairwise(points)), default=0)
    runs = [[points[0]]]
    for before, after in pairwise(points):
        if after[0] - before[0] > 1.5 * usual_s:
            runs.append([])
        runs[-1].append(after)
    return runs


def _legend_width(name: str) -> float:
    return 34 + len(name) * _CHARACTER


def _legend_rows(names: Sequence[str], width: float) -> list[list[str]]:
    rows: list[list[str]] = [[]]
    x = 12.0
    for name in names:
        if rows[-1] and x + _legend_width(name) > width:
            rows.append([])
            x = 12.0
        rows[-1].append(name)
        x += _legend_width(name)
    return rows


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = _TEXT, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(text)}</text>'
