"""Where scripts/prometheus/install takes Prometheus from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

INSTALL: Final = Path(__file__).resolve().parents[2] / "scripts" / "prometheus" / "install"


def install(path: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Runs it with nothing but this folder in PATH."""
    env = {"PATH": str(path), "TICKETMASTER_CACHE": str(cache)}
    return subprocess.run([sys.executable, INSTALL], env=env, capture_output=True, text=True, timeout=60, check=False)


def test_programs_in_the_path_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("prometheus", "promtool"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)

    done = install(tmp_path, tmp_path / "cache")
    assert done.stdout.split() == [str(tmp_path / "prometheus"), str(tmp_path / "promtool")]
    assert not (tmp_path / "cache").exists()


def test_a_machine_with_neither_programs_nor_apt_is_told_what_it_lacks_in_one_line(tmp_path: Path) -> None:
    done = install(tmp_path, tmp_path / "cache")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "install: no Prometheus found, and no apt to take it from: put `prometheus` and `promtool` into PATH\n"
