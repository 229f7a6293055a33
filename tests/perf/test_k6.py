"""The k6 scripts against a real server: by k6 where it is in PATH, else by a stand-in that knows what the scripts use of it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.perf.seat_seller import SeatSeller, selling
from tests.process.server import serving
from tests.support.tools import needs

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "perf" / "k6"
STAND_IN = Path(__file__).parent / "k6_stand_in" / "run.mjs"
THRESHOLDS_FAILED = 99
# Two seconds of load on two small areas. A machine that is busy with other tests is slow, not wrong.
BRIEF = {"NUM_OF_AREAS": "2", "RATE": "20", "DURATION": "2", "VUS": "16", "ROWS": "4", "COLS": "8", "P95_MS": "10000"}


def k6(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end."""
    if shutil.which("k6"):
        program = ["k6"]
    else:
        needs("node", "a run of the k6 scripts without k6")
        program = ["node", str(STAND_IN)]
    pairs = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    command = [*program, "run", "--no-usage-report", str(SCRIPTS / script), *pairs]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that sells, by host and port."""
    with serving(tmp_path_factory.mktemp("k6") / "data") as (_, address):
        yield address


def event(address: str, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the server knows of the event that a run has named."""
    named = re.search(r"event ([a-z]+-[0-9-]+):", done.stderr + done.stdout)
    assert named, done.stderr
    with urlopen(f"http://{address}/v1/event/{named[1]}") as reply:
        known: dict[str, Any] = json.load(reply)
    return known


def test_a_smoke_run_sells_exactly_what_it_says(address: str) -> None:
    done = k6("smoke.js", HOST_PORT=address)

    assert done.returncode == 0, done.stdout + done.stderr
    known = event(address, done)
    assert (len(known["areas"]), known["seats"], known["availableSeats"]) == (2, 200, 200 - 10 * 3)


def test_a_stress_run_sells_in_every_area_and_oversells_none(address: str) -> None:
    done = k6("stress.js", HOST_PORT=address, **BRIEF)

    assert done.returncode == 0, done.stdout + done.stderr
    areas = event(address, done)["areas"]
    assert [area["areaId"] for area in areas] == ["0", "1"]
    assert all(0 <= area["availableSeats"] < 4 * 8 for area in areas)


def test_a_seat_that_is_sold_twice_fails_the_run() -> None:
    with selling(SeatSeller(sells_twice=True)) as seller:
        done = k6("stress.js", HOST_PORT=f"127.0.0.1:{seller.port}", **BRIEF)

    assert done.returncode == THRESHOLDS_FAILED, done.stdout + done.stderr
    assert re.search(r"✗ .*count<=32", done.stdout), done.stdout


def test_a_run_without_a_server_fails_and_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = k6("smoke.js", HOST_PORT=address)

    assert done.returncode not in {0, THRESHOLDS_FAILED}
    assert f"http://{address} does not create an event" in done.stderr


@pytest.mark.parametrize(
    ("script", "env", "message"),
    [
        ("smoke.js", {}, 'HOST_PORT is "", and must be host:port'),
        ("stress.js", {}, 'HOST_PORT is "", and must be host:port'),
        ("smoke.js", {"HOST_PORT": "http://localhost:8080"}, 'HOST_PORT is "http://localhost:8080", and must be host:port'),
        ("smoke.js", {"HOST_PORT": "localhost:99999"}, 'HOST_PORT is "localhost:99999", and must be host:port'),
        ("stress.js", {"HOST_PORT": "localhost:8080", "NUM_OF_AREAS": "many"}, 'NUM_OF_AREAS is "many", and must be a whole number'),
        ("smoke.js", {"HOST_PORT": "localhost:8080", "NUM_OF_AREAS": "0"}, 'NUM_OF_AREAS is "0", and must be a whole number'),
        ("stress.js", {"HOST_PORT": "localhost:8080", "NUM_OF_AREAS": "9999"}, "must be a whole number from 1 to 1000"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_sent(script: str, env: dict[str, str], message: str) -> None:
    done = k6(script, **env)

    assert done.returncode != 0
    assert message in done.stderr


def test_the_scripts_import_k6_and_their_own_files_only() -> None:
    scripts = sorted(SCRIPTS.glob("*.js"))
    modules = [module for script in scripts for module in re.findall(r"\bfrom '([^']+)'|\bimport\(|\brequire\(", script.read_text())]

    assert [script.name for script in scripts] == ["sale.js", "smoke.js", "stress.js"]
    assert {*modules} == {"k6", "k6/http", "k6/execution", "k6/metrics", "./sale.js"}
