"""The dashboard, the alert rules and Prometheus's configuration together with what the program really tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scripts.docs.panels import expression
from scripts.kafka.clusters import free_ports
from tests.process.server import serving
from tests.support.prometheus import Prometheus, prometheus, promtool

ROOT: Final = Path(__file__).resolve().parents[2]
DASHBOARD: Final = ROOT / "deploy" / "observability" / "ticketmaster.json"
RULES: Final = ROOT / "deploy" / "observability" / "alerts.yml"
SOURCES: Final = ROOT / "deploy" / "compose" / "grafana" / "datasources" / "ticketmaster.yml"
METRIC: Final = re.compile(r"\b(?:ticketmaster|process)_[a-z_]+\b")
# Nothing goes wrong in a sale as small as this.
MAY_BE_EMPTY: Final = {"HTTP requests per second not answered with 200", "Dead letters, failed reads"}
CONFIG: Final = """
global: { scrape_interval: 500ms, evaluation_interval: 500ms }
rule_files: [alerts.yml]
scrape_configs:
  - job_name: ticketmaster
    static_configs: [ { targets: ["127.0.0.1:%d"] } ]
    honor_labels: true
"""


def panels() -> list[dict[str, Any]]:
    """Those of the dashboard that show something."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def sell_out(url: str) -> None:
    """An event of four seats: two reservations get two each, a third one nothing; one is paid."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        area = {"areaId": "A", "price": 1, "rowCount": 2, "colCount": 2}
        assert client.post("/v1/event", json={"eventName": "play", "areas": [area]}).status_code == 200
        wish = {"userId": "ann", "eventId": "play", "areaId": "A", "numOfSeats": 2, "type": "RANDOM"}
        states, paid = [], False
        for _ in range(3):
            reservation = client.post("/v1/event/play/reservation", json=wish).text
            states.append(client.get(f"/v1/reservation/{reservation}").json()["state"])
            if not paid:
                paid = client.post(f"/v1/reservation/{reservation}/payment", json={"reference": "r"}).json()["state"] == "PAID"
            # Rates are of what changes between two scrapes.
            time.sleep(0.7)
        assert (states, paid) == (["RESERVED", "RESERVED", "FAILED"], True)


@pytest.fixture(scope="module")
def sale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, str]]:
    """A Prometheus that has watched a small sale of a real server, and what the server tells at the end."""
    folder = tmp_path_factory.mktemp("monitoring")
    (port,) = free_ports(1)
    (folder / "prometheus.yml").write_text(CONFIG % port)
    shutil.copy(RULES, folder)
    # Prometheus first: it looks at its targets for the first time after five seconds.
    with prometheus(folder / "prometheus.yml") as watching, serving(folder / "sale", "--metrics-port", str(port)) as (_, address):
        watching.wait_for("ticketmaster_ready == 1")
        sell_out(f"http://{address}")
        watching.wait_for('ticketmaster_event_seats_available{event="play"} == 0')
        yield watching, httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text


# --- The real server, watched by the real Prometheus ---------------------------------------------------------------------


def test_promtool_has_nothing_to_say_against_the_metrics(sale: tuple[Prometheus, str]) -> None:
    checked = promtool("check", "metrics", stdin=sale[1])

    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_dashboard_and_the_rules_name_only_metrics_that_the_program_has(sale: tuple[Prometheus, str]) -> None:
    told = set()
    for family in text_string_to_metric_families(sale[1]):
        parts = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        told |= {family.name + part for part in parts}
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    expressions += [target["expr"] for panel in panels() for target in panel["targets"]]
    expressions += re.findall(r"query: (.+)", SOURCES.read_text())
    expressions += re.findall(r"expr: (.+?)\n        (?:for|labels):", RULES.read_text(), re.DOTALL)

    named = {name for text in expressions for name in METRIC.findall(text)}
    assert len(named) > 20
    assert named - told == set()


def test_every_panel_shows_the_sale(sale: tuple[Prometheus, str]) -> None:
    empty = set()
    for panel in panels():
        for target in panel["targets"]:
            found = sale[0].query(expression(target["expr"], "10s"))
            if not found:
                empty.add(panel["title"])
            # Labels that a name is made of exist; one process has no `worker`, and success no reason.
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) - {"worker", "reason"}
            assert [one["metric"] for one in found if not labels <= set(one["metric"])] == [], panel["title"]

    assert empty <= MAY_BE_EMPTY


def test_what_the_panels_show_is_what_happened(sale: tuple[Prometheus, str]) -> None:
    def value(query: str) -> float:
        (one,) = sale[0].query(query)
        return float(one["value"][1])

    assert value('max by (event) (ticketmaster_event_seats{event="play"})') == 4
    assert value('sum(ticketmaster_decisions_total{outcome="success"})') == 2
    assert value('sum(ticketmaster_decisions_total{outcome="failed"})') == 1
    assert value("sum(ticketmaster_decision_duration_seconds_count)") == 3
    assert value('sum(ticketmaster_changes_total{change="paid"})') == 1
    assert value("sum(ticketmaster_ready)") == 1


def test_prometheus_evaluates_every_rule_and_reports_what_is_sold_out_and_nothing_else(sale: tuple[Prometheus, str]) -> None:
    sale[0].wait_for('ALERTS{alertname="TicketmasterSoldOut",alertstate="firing",event="play"}')

    (group,) = sale[0].get("rules")["groups"]
    assert {(rule["health"], rule.get("lastError", "")) for rule in group["rules"]} == {("ok", "")}
    assert {one["metric"]["alertname"] for one in sale[0].query("ALERTS")} == {"TicketmasterSoldOut"}


def test_the_dashboard_is_drawn_from_its_file(sale: tuple[Prometheus, str], tmp_path: Path) -> None:
    draw = str(ROOT / "scripts" / "docs" / "dashboard")
    command = [sys.executable, draw, "--prometheus", sale[0].url, "--seconds", "10", str(tmp_path / "d.svg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    drawn = (tmp_path / "d.svg").read_text()
    assert [panel["title"] for panel in panels() if f">{panel['title']}</text>" not in drawn] == []
    assert drawn.count("No data") <= len(MAY_BE_EMPTY)
    assert ">play</text>" in drawn


def test_promtool_accepts_the_configuration_where_compose_mounts_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "compose" / "prometheus.yml", tmp_path)
    shutil.copy(RULES, tmp_path)

    checked = promtool("check", "config", tmp_path / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout
    assert "1 rule files" in checked.stdout


def test_no_two_panels_overlap_nor_share_an_id() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]

    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
