"""scripts/perf/rules on a small scale: that it measures, not what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "perf" / "rules"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--task", "500"), "500 cancelled in 3 transactions"),
        (("--limit", "20", "--pairs", "1"), "with a limit"),
        (("--cancel", "300"), "all seats are free after"),
    ],
)
def test_the_cost_of_rules_is_measured(arguments: tuple[str, ...], part: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert part in done.stdout
