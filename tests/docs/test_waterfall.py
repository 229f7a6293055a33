"""The picture of a trace: what processes print becomes rows, each behind its parent."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from scripts.docs.waterfall import fullest, picture, spans

TRACE = Path(__file__).resolve().parents[2] / "scripts" / "docs" / "trace"


def printed(name: str, span_id: int, parent_id: int | None, start_ms: int, end_ms: int, *, trace: int = 1, links: int = 0) -> str:
    """A span as OpenTelemetry's console exporter prints it."""
    times = [f"2026-01-01T00:00:00.{at:03}000Z" for at in (start_ms, end_ms)]
    return json.dumps(
        {
            "name": name,
            "context": {"trace_id": f"0x{trace:032x}", "span_id": f"0x{span_id:016x}"},
            "parent_id": None if parent_id is None else f"0x{parent_id:016x}",
            "start_time": times[0],
            "end_time": times[1],
            "links": [{}] * links,
            "resource": {"attributes": {"service.name": "ticketmaster-event"}},
        },
        indent=4,
    )


OUTPUT = "\n".join(
    [
        '{"event":"ready","level":"info"}',
        "{ no JSON at all",
        printed("last <child>", 3, 1, 30, 40, links=2),
        printed("root", 1, None, 0, 100),
        '{"event":"stopped","level":"info"}',
        printed("inner", 4, 2, 12, 15),
        printed("first child", 2, 1, 10, 20),
        printed("another trace", 9, None, 0, 1, trace=2),
    ]
)


def test_spans_are_found_among_log_lines() -> None:
    found = list(spans(OUTPUT))
    assert [span.name for span in found] == ["last <child>", "root", "inner", "first child", "another trace"]
    assert fullest(found) == f"{1:032x}"
    assert found[0].service == "event"
    assert found[0].end_us - found[0].start_us == 10_000


def test_each_span_is_drawn_behind_its_parent(tmp_path: Path) -> None:
    (tmp_path / "output").write_text(OUTPUT)
    subprocess.run([sys.executable, TRACE, "output", "-o", "trace.svg"], cwd=tmp_path, check=True)

    drawn = ET.fromstring((tmp_path / "trace.svg").read_text())  # noqa: S314 - our own
    texts = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    names = [text for text in texts if text in {"root", "first child", "inner", "last <child>", "another trace"}]
    assert names == ["root", "first child", "inner", "last <child>"]
    assert "10.00 ms, linked to 2 more" in texts


def test_a_trace_of_one_moment_is_drawn() -> None:
    assert "<svg" in picture(list(spans(printed("now", 1, None, 5, 5))))


@pytest.mark.parametrize("options", [[], ["--trace", "00"]])
def test_nothing_to_draw_is_one_clear_line(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "output").write_text('{"event":"ready"}')
    done = subprocess.run(
        [sys.executable, TRACE, "output", "-o", "trace.svg", *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: there is no span")
