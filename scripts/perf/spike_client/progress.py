"""How far a spike is, while it runs: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from scripts.perf.spike_client.driver import Progress

LINE_INTERVAL_S = 2.0


class ProgressView:
    """Shows the sum of the workers' progress."""

    def __init__(self, console: Console, requests: int) -> None:
        self._console = console
        self._requests = requests
        self._started_s = time.monotonic()
        self._line_s = self._started_s + LINE_INTERVAL_S
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[facts]}"))
        self._bar = Bar(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("spike", total=requests, facts="") if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, workers: Iterable[Progress]) -> None:
        """Show where the workers are."""
        reserved, refused, failed, retries = (sum(column) for column in zip(*workers, strict=True))
        done = reserved + refused + failed
        now_s = time.monotonic()
        rate_per_s = (reserved + refused) / max(now_s - self._started_s, 0.001)
        facts = f"{rate_per_s:,.0f}/s, {reserved:,} reserved, {refused:,} refused"
        facts += "".join(f", {count:,} {name}" for count, name in ((failed, "failed"), (retries, "retried")) if count)
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, facts=facts)
        elif now_s >= self._line_s:
            self._line_s = now_s + LINE_INTERVAL_S
            self._console.print(f"{done:,} of {self._requests:,}: {facts}", highlight=False)
