"""Running scripts/perf/bench."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.perf.bench_suite.processes import NO_ENV

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "perf" / "bench"
ALONE = ("run", "--part", "standalone", "--part", "steps")


def bench(*arguments: str | Path, timeout_s: float = 300, env: Mapping[str, str] = NO_ENV) -> subprocess.CompletedProcess[str]:
    """Runs it until it ends."""
    environment = {**os.environ, **env}
    command = [sys.executable, BENCH, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)
