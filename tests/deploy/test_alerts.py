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
RULES: Final = FOLDER / "alerts.yml"
CASES: Final = FOLDER / "alerts.test.yml"


def rules() -> list[dict[str, Any]]:
    """Each alert rule as the file has it."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def anchors(document: str) -> set[str]:
    """What a link may name in a document: its headings, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_promtool_accepts_the_rules() -> None:
    checked = promtool("check", "rules", RULES)

    assert checked.returncode == 0, checked.stdout
    assert f"{len(rules())} rules found" in checked.stdout


def test_alerts_fire_when_they_should_and_only_then() -> None:
    tested = promtool("test", "rules", CASES)

    assert tested.returncode == 0, tested.stdout


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ('absent(ticketmaster_ready{role="event"})', 'absent(ticketmaster_ready{role="ticket"})'),
        ("for: 15m", "for: 1m"),
        (" and deriv(ticketmaster_lag_seconds[2m]) > 0", ""),
    ],
)
def test_a_rule_that_is_wrong_fails_its_tests(rule: str, broken: str, tmp_path: Path) -> None:
    text = RULES.read_text()
    assert text.count(rule) == 1
    (tmp_path / RULES.name).write_text(text.replace(rule, broken))
    (tmp_path / CASES.name).write_text(CASES.read_text())

    assert promtool("test", "rules", tmp_path / CASES.name).returncode == 1


def test_each_alert_is_tested_both_to_fire_and_not_to() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}

    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_each_alert_says_how_bad_it_is_what_to_do_and_where_that_is_written() -> None:
    for rule in rules():
        annotations = rule["annotations"]
        assert set(annotations) == {"summary", "description", "runbook"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        file, _, anchor = annotations["runbook"].partition("#")
        assert anchor == rule["alert"].lower()
        assert anchor in anchors((ROOT / file).read_text())


def test_the_documentation_lists_each_alert_with_its_severity() -> None:
    listed = re.findall(r"^\| \[(Ticketmaster\w+)\]\([^)]+\) \| (\w+) \|", (ROOT / "docs" / "observability.md").read_text(), re.MULTILINE)

    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in rules()]
