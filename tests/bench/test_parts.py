"""Each part of the benchmark as it is run, with very little to do: every figure is taken.

They take minutes, of waiting and of starting brokers: `make test-bench` runs them, and `make test` does not.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import MissingError
from scripts.perf.bench_suite import beside, in_one_process, life, loop_holds, on_kafka, peers, quiet, watched
from scripts.perf.peers.kit import installed
from tests.support.bench import ALONE, bench
from tests.support.tools import skipped

SMALL = ("--runs", "2", "--standalone-requests", "1000", "--reservations", "600", "--single-requests", "20")


def figures(tmp_path: Path, *options: str, timeout_s: float = 300) -> dict[str, Any]:
    """Runs parts; returns their figures by name."""
    file = tmp_path / "results.json"
    done = bench("run", *options, "--json", file, timeout_s=timeout_s)
    assert done.returncode == 0, done.stderr
    return {figure["name"]: figure for figure in json.loads(file.read_bytes())["figures"]}


def test_every_figure_is_taken_in_each_run_and_shown(tmp_path: Path) -> None:
    file, page = tmp_path / "results.json", tmp_path / "report.html"
    done = bench(*ALONE, *SMALL, "--json", file, "--html", page)

    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_bytes())
    assert [figure["name"] for figure in results["figures"]] == [kind.name for kind in in_one_process.KINDS]
    for figure in results["figures"]:
        once = figure["name"].endswith(("stop, full directory", "memory, full", "disk per reservation"))
        assert len(figure["values"]) == (1 if once else 2), figure
        assert 0 < figure["min"] <= figure["median"] <= figure["max"]
        assert figure["name"] in done.stdout
        assert (figure["met"] is None) == (figure["goal"] is None)
    assert "run 2 of 2: one hot area" in done.stderr
    assert len(results["steps"]) > 10
    assert all(step["us"] > 0 for step in results["steps"])
    (first, _) = results["timelines"]
    assert sum(first["decided"]) == 1_000
    assert sum(first["cpu_s"].get("standalone", [0.1])) > 0
    text = page.read_text()
    # Three for each sale, and the steps.
    assert text.count("<svg") == 3 * 2 + 1
    for named in (results["figures"][0]["name"], first["name"], results["steps"][0]["name"]):
        assert named in text


def test_what_holds_the_loop_is_taken_in_every_situation(tmp_path: Path) -> None:
    sizes = ("--loop-records", "2000", "--loop-statuses", "20", "--loop-areas", "3", "--waiters", "300")
    found = figures(tmp_path, "--part", "loop", "--runs", "1", *sizes)

    assert list(found) == [kind.name for kind in loop_holds.KINDS]
    assert all(figure["goal"] == "≤ 50" for figure in found.values())
    assert all(figure["median"] >= 0 for figure in found.values())
    assert sum(figure["median"] > 0 for figure in found.values()) > len(found) / 2


def test_what_it_costs_to_be_looked_at_is_taken_in_every_way(tmp_path: Path) -> None:
    found = figures(tmp_path, "--part", "watched", "--runs", "1", "--standalone-requests", "200")

    assert list(found) == [kind.name for kind in watched.KINDS]
    assert all(figure["median"] > 0 for figure in found.values())


def test_what_the_life_of_a_reservation_takes_is_taken_whole(tmp_path: Path) -> None:
    sizes = ("--standalone-requests", "400", "--single-requests", "20", "--wave-holds", "300", "--wave-s", "25", "--open-holds", "400")
    found = figures(tmp_path, "--part", "life", "--runs", "1", *sizes)

    assert list(found) == [kind.name for kind in life.KINDS]
    # So few holds can't be seen in the memory.
    assert all(figure["median"] > 0 for name, figure in found.items() if "memory" not in name)


def test_the_same_sale_is_taken_here_and_at_peers(tmp_path: Path) -> None:
    try:
        installed()
    except MissingError as reason:
        skipped(f"peers: {reason}")
    found = figures(tmp_path, "--part", "peers", "--runs", "1", "--peer-requests", "100", "--peer-clients", "8")

    assert list(found) == [kind.name for kind in peers.KINDS if kind.name.startswith("8 clients")]
    assert all(figure["median"] > 0 for figure in found.values())


@pytest.mark.usefixtures("installed_kafka")
def test_the_parts_on_kafka_take_every_figure(tmp_path: Path) -> None:
    sizes = {"runs": 1, "requests": 200, "warm-up": 200, "reservations": 2_000, "in-memory": 500, "rate-s": 1, "waiters": 300}
    options = [text for name, size in sizes.items() for text in (f"--{name}", str(size))]
    parts = [text for part in ("one", "four", "quiet", "polls") for text in ("--part", part)]
    found = figures(tmp_path, *parts, *options, timeout_s=500)

    # Whether restoring took longer than reading the state is chance where there is so little.
    assert {kind.name for kind in on_kafka.KINDS} - found.keys() <= {"restoration of reservation: records per s"}
    assert {kind.name for kind in quiet.KINDS if not kind.name.startswith("one area")} <= found.keys()
    assert found["long polls waiting in one ticket process"]["values"] == [300]


@pytest.mark.usefixtures("installed_kafka")
def test_what_one_large_area_writes_is_taken(tmp_path: Path) -> None:
    found = figures(tmp_path, "--part", "large", "--runs", "1", "--rate-s", "1")

    assert list(found) == [kind.name for kind in quiet.KINDS if kind.name.startswith("one area")]
    assert all(figure["min"] > 0 for figure in found.values())


@pytest.mark.usefixtures("installed_kafka")
def test_what_the_reservation_role_costs_beside_the_original_is_taken(tmp_path: Path) -> None:
    found = figures(tmp_path, "--part", "beside", "--runs", "2", "--requests", "200", "--in-memory", "200")

    assert list(found) == [kind.name for kind in beside.KINDS]
    assert all(len(figure["values"]) == 2 and figure["min"] > 0 for figure in found.values())


def test_a_long_sale_tells_what_it_costs_at_its_end_and_leaves_a_sound_directory(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    done = bench("endurance", "--reservations", "3000", "--shares", "3", "--directory", directory)

    assert done.returncode == 0, done.stderr
    assert re.search(r"last third over first: \d\.\d+", done.stdout)
    assert re.search(r"log loaded in [\d.]+ ms, all ready in \d+ ms", done.stdout)
    assert re.search(r"^ *3,000 ", done.stdout, re.MULTILINE)
    audit = subprocess.run(
        [sys.executable, "-m", "ticketmaster", "audit", "-d", directory, "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (audit.returncode, json.loads(audit.stdout)["totals"]["decisions"]) == (0, 3_000)
