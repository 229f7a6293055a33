"""The dashboard's picture, of made-up points: what is written, and where lines go."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from scripts.docs.panels import Panel, Series, legend, page, shown

SVG = "{http://www.w3.org/2000/svg}"


def panel(kind: str, **defaults: Any) -> Panel:  # noqa: ANN401 - as JSON has them
    """A panel as wide as the page."""
    return {
        "type": kind,
        "title": "A <title>",
        "gridPos": {"x": 0, "y": 0, "w": 24, "h": 8},
        "fieldConfig": {"defaults": {"unit": "short", "custom": {"fillOpacity": 10}} | defaults},
    }


def drawn(one: Panel, series: Series) -> ET.Element:
    """A page of this panel, over the seconds 100 to 160."""
    return ET.fromstring(page([(one, series)], (100, 160), "Title", "caption"))  # noqa: S314 - our own


def texts(root: ET.Element) -> list[str]:
    """All that is written."""
    return [str(text.text) for text in root.iter(f"{SVG}text")]


def lines(root: ET.Element) -> list[list[tuple[float, float]]]:
    """The points of each line."""
    found = [re.findall(r"([\d.]+),([\d.]+)", line.get("points", "")) for line in root.iter(f"{SVG}polyline")]
    return [[(float(x), float(y)) for x, y in line] for line in found]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "short", "0"),
        (999, "short", "999"),
        (1_500, "short", "1.5K"),
        (2_500_000, "short", "2.5M"),
        (1536, "bytes", "1.5 KiB"),
        (0.0425, "s", "42.5 ms"),
        (2.5, "s", "2.5 s"),
        (0.256, "percentunit", "25.6%"),
        (12, "reqps", "12 req/s"),
    ],
)
def test_values_are_written_in_their_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_a_series_is_named_by_its_labels_and_a_label_that_it_lacks_leaves_no_gap() -> None:
    assert legend("{{role}} {{worker}} p99", {"role": "event"}) == "event p99"


def test_a_panel_without_data_says_so_and_its_title_is_text() -> None:
    written = texts(drawn(panel("timeseries"), {"a": []}))

    assert "No data" in written
    assert "A <title>" in written


def test_a_line_goes_from_left_to_right_and_breaks_where_points_are_missing() -> None:
    first, second = lines(drawn(panel("timeseries"), {"a": [(100, 0), (101, 4), (102, 2), (150, 4)]}))

    assert [x for x, _ in first] == sorted(x for x, _ in first)
    low, high, middle = (y for _, y in first)
    assert high < middle < low  # as SVG counts, from the top
    assert middle == pytest.approx((low + high) / 2)
    assert len(second) == 1


def test_stacked_series_stand_on_each_other() -> None:
    stacked = panel("timeseries", custom={"fillOpacity": 10, "stacking": {"mode": "normal"}})
    upper, lower = lines(drawn(stacked, {"a": [(100, 0), (101, 1)], "b": [(100, 0), (101, 1)]}))

    (bottom, one), (_, two) = (y for _, y in lower), (y for _, y in upper)
    assert bottom - two == pytest.approx(2 * (bottom - one), abs=0.2)


def test_a_stat_shows_the_last_value_in_the_colour_of_its_threshold() -> None:
    steps = [{"color": "green", "value": None}, {"color": "red", "value": 5}]
    root = drawn(panel("stat", thresholds={"mode": "absolute", "steps": steps}), {"a": [(100, 9), (101, 4)], "b": [(100, 1), (101, 7)]})

    colours = {str(text.text): text.get("fill") for text in root.iter(f"{SVG}text")}
    assert {"4", "7", "a", "b"} <= set(colours)
    assert colours["4"] != colours["7"]
