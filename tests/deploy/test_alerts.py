"""The alert rules, by promtool: that they are valid, that each of them is tested, and that somebody has written down what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.prometheus import promtool

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy" / "observability"
OURS: Final = FOLDER / "alerts.yml"
FILES: Final = (OURS, FOLDER / "kafka-alerts.yml")
# Some set-ups scrape as rarely as this; a rate needs two values, and a scrape may fail.
SCRAPE_S: Final = 60
SCRAPES_MIN: Final = 4


def cases(file: Path) -> Path:
    """The tests of a file of rules."""
    return file.with_suffix(".test.yml")


def rules(file: Path) -> list[dict[str, Any]]:
    """Each alert rule as the file has it."""
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def anchors(document: str) -> set[str]:
    """What a link may name in a document: its headings, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_promtool_accepts_the_rules(file: Path) -> None:
    checked = promtool("check", "rules", file)

    assert checked.returncode == 0, checked.stdout
    assert f"{len(rules(file))} rules found" in checked.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_only_then(file: Path) -> None:
    tested = promtool("test", "rules", cases(file))

    assert tested.returncode == 0, tested.stdout


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ('absent(ticketmaster_ready{role="event"})', 'absent(ticketmaster_ready{role="ticket"})'),
        ("for: 15m", "for: 1m"),
        (" and deriv(ticketmaster_lag_seconds[5m]) > 0", ""),
        ("unless (kube_statefulset_status_replicas_updated < kube_statefulset_replicas)", ""),
    ],
)
def test_a_rule_that_is_wrong_fails_its_tests(rule: str, broken: str, tmp_path: Path) -> None:
    text = OURS.read_text()
    assert text.count(rule) == 1
    (tmp_path / OURS.name).write_text(text.replace(rule, broken))
    (tmp_path / cases(OURS).name).write_text(cases(OURS).read_text())

    assert promtool("test", "rules", tmp_path / cases(OURS).name).returncode == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_alert_is_tested_both_to_fire_and_not_to(file: Path) -> None:
    tested = [case for test in yaml.safe_load(cases(file).read_text())["tests"] for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules(file)}

    assert {case["alertname"] for case in tested if case["exp_alerts"]} == names
    assert {case["alertname"] for case in tested if not case["exp_alerts"]} == names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_has_a_rate_has_one_where_metrics_are_scraped_rarely(file: Path) -> None:
    windows = re.findall(r"\[(\d+)([smh])\]", file.read_text())

    units = {"s": 1, "m": 60, "h": 3_600}
    assert [number + unit for number, unit in windows if int(number) * units[unit] < SCRAPES_MIN * SCRAPE_S] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_alert_says_how_bad_it_is_what_to_do_and_where_that_is_written(file: Path) -> None:
    for rule in rules(file):
        annotations = rule["annotations"]
        assert set(annotations) == {"summary", "description", "runbook"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        document, _, anchor = annotations["runbook"].partition("#")
        assert anchor == rule["alert"].lower()
        assert anchor in anchors((ROOT / document).read_text())


def test_the_documentation_lists_each_alert_with_its_severity() -> None:
    listed = re.findall(r"^\| \[(Ticketmaster\w+)\]\([^)]+\) \| (\w+) \|", (ROOT / "docs" / "observability.md").read_text(), re.MULTILINE)

    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in rules(OURS)]
