"""docs/reliability.md says what its results say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scripts.reliability.text import render

ROOT = Path(__file__).parent.parent
RUN = {"command": "the command", "commit": "abc1234", "machine": "a machine", "date": "2026-01-02"}


def run_of(**result: object) -> dict[str, Any]:
    """A run and what it found."""
    return {**RUN, "result": result}


SIMULATED = {
    "seeds": 500,
    "commands_each": 1000,
    "faults_each": 24,
    "commands": 490_000,
    "records": 2_000_000,
    "virtual_s": 3_600_000.0,
    "cpu_s": 250.0,
    "faults": {"paused": 7, "power lost": 3},
}


def simulated(failed: dict[str, list[str]]) -> dict[str, Any]:
    """Five hundred seeds, of which some failed."""
    return run_of(**SIMULATED, failed=failed)


def test_runs_are_added_up() -> None:
    text = render({"simulation": [simulated({}), simulated({})]})

    assert "| simulated sales (seeds) | 1,000 | 0 |" in text
    assert "| simulated hours | 2,000 |" in text
    assert "| paused | 14 |" in text
    assert "(0.50 s a seed:\n14,400 seeds an hour on two cores)" in text
    assert "`the command` … `the command` (2 commands); 2026-01-02; commit abc1234; a machine." in text


def test_a_seed_that_failed_is_shown() -> None:
    text = render({"simulation": [simulated({"17": ["a seat is in two live reservations", "more"]})]})

    assert "| simulated sales (seeds) | 500 | 1 |" in text
    assert "- seed 17: a seat is in two live reservations" in text
    assert "1 seed failed." in text


def test_a_seed_that_was_mended_is_told_as_what_it_was() -> None:
    mended = {"seed": 17, "command": "ticketmaster simulate", "commit": "abc1234", "was": "the broker forgot", "mended_in": "def5678"}
    text = render({"simulation": [simulated({})], "mended": [mended]})

    assert "No seeds failed." in text
    assert "| 17 | ticketmaster simulate | abc1234 | the broker forgot | def5678 |" in text


def test_a_planted_bug_that_nobody_caught_is_shown() -> None:
    bugs = [{"bug": "one", "seed": 3, "violation": "x | [y]"}, {"bug": "other", "seed": None, "violation": ""}]
    text = render({"planted": [run_of(bugs=bugs, commands_each=150, faults_each=20, seeds_max=25)]})

    assert "| planted bugs, of which caught | 2, 1 |" in text
    assert "| one | 3 | x \\| \\[y] |" in text
    assert "| other | not caught |" in text


def test_what_broke_on_kafka_is_shown() -> None:
    kind = {"times": 2, "unavailable_s_max": 1.5, "unavailable_s_median": 1.0, "wait_s_max": 3.25, "unhealthy_s_max": 0.0, "violations": 1}
    counts = {"faults": 2, "process_kills": 5, "broker_kills": 1, "acknowledged": 30, "decided": 29, "seconds": 120.0}
    lists = {"violations": ["2 event killed: lost"], "audits": [{"sound": True}, {"sound": False}], "skipped": {"disk full": "no root"}}
    text = render({"kafka": [run_of(**counts, **lists, kinds={"event killed": kind})]})

    assert "| faults on real Kafka | 2 | 1 |" in text
    assert "| event killed | 2 | 1.50 | 3.25 | 1 |" in text
    assert "29 decided in 2 minutes; 2 audits, 1 of them sound." in text
    assert "- 2 event killed: lost\n- left out: disk full: no root" in text


def test_what_the_fuzzer_found_is_shown() -> None:
    found = {"requests": 9, "findings": [{"what": "a hang"}], "rss_before_mib": 50.2, "rss_after_mib": 60.7}
    text = render({"http": [run_of(**found, by_status={"200": 8}, by_mutation={"path": 9})]})

    assert "| malformed and well-formed HTTP requests | 9 | 1 |" in text
    assert "- a hang" in text
    assert "from 50 to 61 MiB" in text


def test_the_text_in_the_repository_is_that_of_its_results() -> None:
    docs = ROOT / "docs"
    assert (docs / "reliability.md").read_text() == render(json.loads((docs / "reliability.json").read_text()))
