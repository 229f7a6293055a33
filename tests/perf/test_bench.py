"""The benchmark as it is run, with very little to do: every figure is taken, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "perf" / "bench"
SMALL = ("--quick", "--requests", "500", "--reservations", "600", "--runs", "2")


def test_every_figure_is_taken_in_each_run_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = subprocess.run([sys.executable, BENCH, *SMALL, "--json", file], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_bytes())
    assert (results["runs"], results["requests"], results["reservations"]) == (2, 500, 600)
    assert len(results["figures"]) >= 25
    for figure in results["figures"]:
        once = figure["name"].startswith(("filling", "stop", "disk")) or figure["name"] == "resident memory, full"
        assert len(figure["values"]) == (1 if once else 2), figure
        assert 0 < figure["min"] <= figure["median"] <= figure["max"]
        assert figure["name"] in done.stdout
    assert done.stdout.count("≤") == sum(figure["goal"] is not None for figure in results["figures"]) > 5
    assert "run 2 of 2: one hot area" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_it_is_interrupted_no_process_and_no_directory_stays_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, str(BENCH), "--quick", "--requests", "1000000"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "1,000,000 reservations" in line:
                break
        started_s = time.monotonic()
        # The server, the load client and its worker are there.
        while len(children := psutil.Process(process.pid).children(recursive=True)) < 3 and time.monotonic() < started_s + 20:
            time.sleep(0.02)
        assert len(children) >= 3
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith("bench: interrupted\n")
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--runs", "0"], "--runs"),
        (["--requests", "many"], "--requests"),
        (["--reservations", "1"], "--reservations"),
        (["--json", "/no/such/directory/x"], "no such directory"),
        (["--bogus"], "No such option '--bogus'"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_a_bad_option_is_one_clear_line(arguments: list[str], text: str) -> None:
    done = subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert done.stderr.startswith("bench: ")
    assert done.stderr.count("\n") == 1
