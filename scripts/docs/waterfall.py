"""A trace as a waterfall in SVG, from the spans that OpenTelemetry's console exporter prints among log lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import NamedTuple

_WIDTH, _ROW, _HEAD, _FOOT = 1200.0, 30.0, 64.0, 30.0
_NAMES, _RIGHT = 470.0, 20.0
_COLOURS = {"ticket": "#4269d0", "reservation": "#3ca951", "event": "#ff725c"}
_OTHER = "#888"
_INDENT = 16.0
_CHARACTER = 7.0


class Drawn(NamedTuple):
    """A span: times in microseconds since 1970, ids in hex."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    start_us: int
    end_us: int
    links: int


def spans(text: str) -> Iterator[Drawn]:
    """The spans among the lines that a process has printed."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            found, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            if "context" in found and "resource" in found:
                yield _drawn(found)
        at = text.find("{", end)


def _drawn(found: dict[str, object]) -> Drawn:
    def hexadecimal(value: object) -> str:
        return str(value or "").removeprefix("0x")

    context, resource = found["context"], found["resource"]
    assert isinstance(context, dict)
    assert isinstance(resource, dict)
    links = found["links"]
    assert isinstance(links, list)
    return Drawn(
        str(found["name"]),
        str(resource["attributes"]["service.name"]).removeprefix("ticketmaster-"),
        hexadecimal(context["trace_id"]),
        hexadecimal(context["span_id"]),
        hexadecimal(found["parent_id"]),
        _microseconds(found["start_time"]),
        _microseconds(found["end_time"]),
        len(links),
    )


def _microseconds(time: object) -> int:
    at = datetime.fromisoformat(str(time))
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def fullest(found: Sequence[Drawn]) -> str:
    """The trace with the most spans; "" if there is none."""
    most = Counter(span.trace_id for span in found).most_common(1)
    return most[0][0] if most else ""


def _in_order(found: Sequence[Drawn]) -> Iterator[tuple[int, Drawn]]:
    """(depth, span), each behind its parent, by time."""
    known = {span.span_id for span in found}

    def below(parent: str, depth: int) -> Iterator[tuple[int, Drawn]]:
        children = [span for span in found if span.parent_id == parent or (not parent and span.parent_id not in known)]
        for child in sorted(children, key=lambda span: span.start_us):
            yield depth, child
            yield from below(child.span_id, depth + 1)

    yield from below("", 0)


def picture(found: Sequence[Drawn]) -> str:
    """The trace: a row for each span, time to the right, a colour for each service."""
    start, end = min(span.start_us for span in found), max(span.end_us for span in found)
    scale = (_WIDTH - _NAMES - _RIGHT) / max(end - start, 1)
    rows = list(_in_order(found))
    height = _HEAD + _ROW * len(rows) + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH:.0f}" height="{height:.0f}" fill="#fff"/>',
        f'<text x="12" y="26" font-size="16">Trace {found[0].trace_id}: {(end - start) / 1000:.1f} ms, {len(rows)} spans</text>',
        *_axis((end - start) / 1000, height),
    ]
    for number, (depth, span) in enumerate(rows):
        y, x = _HEAD + _ROW * number, _NAMES + (span.start_us - start) * scale
        width, colour = max((span.end_us - span.start_us) * scale, 2), _COLOURS.get(span.service, _OTHER)
        linked = f", linked to {span.links} more" if span.links else ""
        label = f"{(span.end_us - span.start_us) / 1000:.2f} ms{linked}"
        # Beside the bar where there is room.
        beyond = x + width + 6 + len(label) * _CHARACTER > _WIDTH
        at, anchor = (x - 6, "end") if beyond else (x + width + 6, "start")
        parts += [
            f'<rect x="0" y="{y}" width="{_WIDTH:.0f}" height="{_ROW}" fill="{"#f6f7f9" if number % 2 else "#fff"}" opacity="0.6"/>',
            f'<rect x="12" y="{y + 9}" width="4" height="12" fill="{colour}"/>',
            f'<text x="{22 + _INDENT * depth}" y="{y + 19}" fill="#222">{escape(span.name)}</text>',
            f'<rect x="{x:.1f}" y="{y + 7}" width="{width:.1f}" height="16" rx="2" fill="{colour}"/>',
            f'<text x="{at:.1f}" y="{y + 19}" text-anchor="{anchor}" fill="#555" font-size="12">{label}</text>',
        ]
    legend = "".join(
        f'<rect x="{12 + 130 * at}" y="{height - 20}" width="12" height="12" fill="{colour}"/>'
        f'<text x="{30 + 130 * at}" y="{height - 10}" fill="#222">{service}</text>'
        for at, (service, colour) in enumerate(sorted({(span.service, _COLOURS.get(span.service, _OTHER)) for span in found}))
    )
    return "\n".join([*parts, legend, "</svg>\n"])


def _axis(milliseconds: float, height: float) -> Iterator[str]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 1_000_000) if milliseconds / step <= 8)
    for at in range(0, int(milliseconds) + 1, step):
        x = _NAMES + (_WIDTH - _NAMES - _RIGHT) * at / max(milliseconds, 0.001)
        yield f'<line x1="{x:.1f}" y1="{_HEAD - 8}" x2="{x:.1f}" y2="{height - _FOOT}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{_HEAD - 14}" text-anchor="middle" fill="#777" font-size="11">{at} ms</text>'
