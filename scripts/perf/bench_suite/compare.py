"""Two results side by side."""

from __future__ import annotations

from rich.table import Table

from scripts.perf.bench_suite.figures import Figure, Results, shown


def compared(before: Results, after: Results) -> Table:
    """A row for each figure that both have: medians, their ratio, and whether the ranges overlap."""
    slower = _speed(after) / _speed(before)
    caption = f"the machine took {slower:.2f} × as long for the calibration loop in the second; ranges that overlap show no difference"
    made = Table(title=f"{before.commit} → {after.commit}", title_justify="left", caption=caption, caption_justify="left")
    made.add_column("figure")
    for column in ("before", "after", "ratio", "ranges"):
        made.add_column(column, justify="right", no_wrap=True)
    earlier = {figure.name: figure for figure in before.figures}
    for figure in after.figures:
        if known := earlier.get(figure.name):
            ratio = f"{figure.median / known.median:.2f} ×" if known.median else ""
            made.add_row(
                figure.name,
                f"{shown(known.median)} {known.unit}",
                f"{shown(figure.median)} {figure.unit}",
                ratio,
                "overlap" if _overlap(known, figure) else "apart",
            )
    return made


def _speed(results: Results) -> float:
    return sum(results.calibration_us) / len(results.calibration_us)


def _overlap(one: Figure, other: Figure) -> bool:
    return one.min <= other.max and other.min <= one.max
