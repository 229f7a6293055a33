"""Bars and lines as SVG. A plotting library would bring numpy, which other packages then load into the processes that are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from scripts.perf.bench_suite.figures import shown

_COLOURS = ("#4c6ef5", "#e8590c", "#2b8a3e", "#9c36b5", "#868e96")
_WIDTH, _HEIGHT = 960.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 150.0, 14.0, 24.0
_ROW, _NAMES = 24.0, 430.0
Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], unit: str, end_s: float) -> str:
    """Lines over seconds 0 to ``end_s``, from 0 up."""
    top = max((value for points in series.values() for _, value in points), default=0) or 1.0
    parts = [_axes(top, unit, end_s)]
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{_x(at_s, end_s):.1f},{_y(value, top):.1f}" for at_s, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_text(_WIDTH - _RIGHT + 12, _TOP + 12 + 16 * number, name, anchor="start", colour=colour))
    return _svg(_HEIGHT, parts)


def bars(values: Sequence[tuple[str, float]], unit: str) -> str:
    """A bar a row."""
    top = max(value for _, value in values) or 1.0
    parts = []
    for number, (name, value) in enumerate(values):
        width = (_WIDTH - _NAMES - 110) * value / top
        parts.append(_text(_NAMES - 8, _ROW * number + 16, name, anchor="end"))
        parts.append(f'<rect x="{_NAMES}" y="{_ROW * number + 4:.0f}" width="{width:.1f}" height="16" fill="{_COLOURS[0]}"/>')
        parts.append(_text(_NAMES + width + 6, _ROW * number + 16, f"{value:.2f} {unit}", anchor="start"))
    return _svg(_ROW * len(values), parts)


def _axes(top: float, unit: str, end_s: float) -> str:
    parts = []
    for part in (0.0, 0.5, 1.0):
        y = _y(top * part, top)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3ea"/>')
        parts.append(_text(_LEFT - 6, y + 4, shown(round(top * part, 1)), anchor="end"))
    parts.append(_text(_LEFT + 4, _TOP + 4, unit, anchor="start", colour="#868e96"))
    step = max(1, round(end_s / 10))
    parts += [_text(_x(second, end_s), _HEIGHT - 6, f"{second} s", anchor="middle") for second in range(0, int(end_s) + 1, step)]
    return "".join(parts)


def _x(at_s: float, end_s: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at_s / end_s


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top


def _text(x: float, y: float, text: str, *, anchor: str, colour: str = "#1c1c28") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    style = 'font-family="system-ui, sans-serif" font-size="12"'
    return f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" {style}>{"".join(parts)}</svg>'
