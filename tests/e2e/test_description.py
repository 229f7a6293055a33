"""The OpenAPI document and the page made of it say what the code does, and what they show works."""

from __future__ import annotations

import ast
import html
import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from datetime import timedelta
from typing import Any

import httpx
import pytest
import schemathesis

import ticketmaster
from tests.e2e.site import Site, client_of, seats
from tests.process.server import ROOT
from ticketmaster.ticket.documents import DOCS_HTML, OPENAPI_JSON
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import TITLES
from ticketmaster.ticket.routes import allowed_methods

DOCUMENT: dict[str, Any] = json.loads(OPENAPI_JSON)
PAGE = DOCS_HTML.decode()
CODES: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]["ProblemCode"]["x-enum"]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
ADDRESS = "http://localhost:4403"


def statuses_of(code: dict[str, Any]) -> set[int]:
    """Most codes have one."""
    return set(code["status"]) if isinstance(code["status"], list) else {code["status"]}


def codes_in_the_code() -> dict[str, set[int]]:
    """Every problem code that the source names, with its statuses."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for code in ("malformed_json", "invalid_field"):
        found[code].add(400)
    statuses = {"unavailable": 503, "too_many": 429}
    for path in [*(ROOT / "ticketmaster" / "ticket").glob("*.py"), ROOT / "ticketmaster" / "domain" / "event.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if not isinstance(node, ast.Call) or name not in {"Problem", "Violation", *statuses}:
                continue
            given = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            if name == "Problem" and len(given) > 1 and isinstance(given[1], str) and isinstance(given[0], int):
                found[given[1]].add(given[0])
            elif name != "Problem" and given and isinstance(given[0], str):
                found[given[0]].add(statuses.get(name, 400))
    return dict(found)


def test_every_code_is_described_with_its_status_and_has_a_place_on_the_page() -> None:
    assert {code: statuses_of(one) for code, one in CODES.items()} == codes_in_the_code()
    assert DOCUMENT["components"]["schemas"]["ProblemCode"]["enum"] == list(CODES)
    for code in CODES:
        assert f'id="{code}"' in PAGE


def test_every_code_is_named_by_an_operation_under_its_status() -> None:
    named = set()
    for response in DOCUMENT["components"]["responses"].values():
        content = response.get("content", {}).get("application/problem+json")
        if content:
            properties = content["schema"]["allOf"][1]["properties"]
            named |= {(properties["status"]["const"], code) for code in properties["code"]["enum"]}
            for example in content["examples"].values():
                value = example["value"]
                assert value["code"] in properties["code"]["enum"]
                assert (value["type"], value["title"]) == (f"/docs#{value['code']}", TITLES[value["status"]])
                assert value["status"] == properties["status"]["const"]
    assert named == {(status, code) for code, one in CODES.items() for status in statuses_of(one)}


def test_the_document_is_openapi_and_names_the_methods_that_the_routes_take() -> None:
    SCHEMA.validate()
    assert DOCUMENT["info"]["version"] == ticketmaster.__version__
    for path, item in DOCUMENT["paths"].items():
        documented = {method.upper() for method in item if method != "parameters"}
        # Those that every path has, or every path that takes GET, are told once.
        assert documented == set(allowed_methods(path, lists=True).split(", ")) - {"HEAD", "OPTIONS"}, path
        assert ("HEAD" in allowed_methods(path, lists=True)) == ("GET" in documented)


def test_the_limits_in_the_document_are_the_defaults() -> None:
    limits, schemas = TicketLimits(), DOCUMENT["components"]["schemas"]
    assert schemas["Name"]["maxLength"] == schemas["EventName"]["maxLength"] == limits.event.name_bytes_max
    assert schemas["NewEvent"]["properties"]["areas"]["maxItems"] == limits.event.areas_max
    assert schemas["NewArea"]["properties"]["rowCount"]["maximum"] == limits.event.seats_per_area_max
    assert f"{limits.event.seats_per_event_max:,} seats" in schemas["NewEvent"]["description"]
    assert schemas["NewReservation"]["properties"]["numOfSeats"]["maximum"] == limits.seats_per_reservation_max
    assert DOCUMENT["paths"]["/v1/event"]["get"]["parameters"][0]["schema"]["maximum"] == limits.listed_events_max
    listing = DOCUMENT["paths"]["/v1/event/{eventId}/reservation"]["get"]["parameters"]
    assert listing[3]["schema"]["maximum"] == schemas["ReservationList"]["properties"]["reservations"]["maxItems"]
    assert listing[3]["schema"]["maximum"] == limits.listed_reservations_max
    for name in ("NewEvent", "AnnouncedEvent", "Event"):
        assert {schemas[name]["properties"][hold]["maximum"] for hold in ("holdSeconds", "holdSecondsMax")} == {
            limits.event.hold_seconds_max
        }
    assert schemas["Extension"]["properties"]["seconds"]["maximum"] == limits.event.hold_seconds_max
    assert schemas["Payment"]["properties"]["reference"]["maxLength"] == limits.payment_reference_bytes_max
    assert limits.request_body_bytes_max == 1 << 20
    assert limits.long_poll_ms == 10_000


def test_the_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs" / "render.py", "--check"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_page_needs_nothing_from_elsewhere_and_its_links_lead_somewhere() -> None:
    anchors = set(re.findall(r'id="([^"]+)"', PAGE))
    assert len(anchors) == PAGE.count(' id="')
    links = re.findall(r'(?:href|src)="([^"]*)"', PAGE)
    assert {link for link in links if not link.startswith("#")} == {"/openapi.json", "data:,"}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert f"<small>{ticketmaster.__version__}</small>" in PAGE
    assert "prefers-color-scheme: dark" in PAGE


def curls() -> list[str]:
    return [html.unescape(one) for one in re.findall(r'<pre class="curl"><code>(.*?)</code></pre>', PAGE, re.DOTALL)]


async def run_curl(client: httpx.AsyncClient, command: str, variables: dict[str, str]) -> httpx.Response:
    """What the shell and curl would do with a command of the page."""
    kept = re.fullmatch(r"(\w+)=\$\((.*)\)\necho \$(\w+)", command, re.DOTALL)
    for name, value in variables.items():
        command = command.replace(f"${name}", value)
    words = shlex.split((kept[2] if kept else command).replace("\\\n", ""))
    assert words.pop(0) == "curl"
    method, url, headers, body = "GET", "", {}, None
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
        elif word not in {"-s", "-i"}:
            url = word
    assert url.startswith(ADDRESS)
    response = await client.request(method, url.removeprefix(ADDRESS), headers=headers, content=body)
    if kept:
        assert kept[1] == kept[3]
        variables[kept[1]] = response.text
    return response


@pytest.mark.parametrize("version", [1, 2], ids=["http1", "http2"])
async def test_the_commands_of_the_page_work_in_their_order(listing_site: Site, version: int) -> None:
    commands = curls()
    assert len(commands) == sum(method in item for item in DOCUMENT["paths"].values() for method in ("get", "post", "patch", "delete"))
    variables: dict[str, str] = {}
    async with client_of(listing_site.address, version) as client:
        # The page shows the defaults: its event is larger than the small site takes.
        # What ends the sale comes at its end.
        for command in sorted(commands, key=lambda one: "PATCH" in one or ("DELETE" in one and "/v1/event/" in one)):
            response = await run_curl(client, command.replace(": 20", ": 10"), variables)
            assert response.status_code == 200, (command, response.text)
    assert list(variables) == ["reservationId"]


async def test_the_example_bodies_are_accepted_and_answered_as_described(listing_site: Site) -> None:
    async with client_of(listing_site.address, 1) as client:
        for path, item in DOCUMENT["paths"].items():
            content = item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in content.get("examples", {}).values():
                body = json.dumps(example["value"]).replace(": 20", ": 10")
                if "{reservationId}" in path:
                    asked = await client.post("/v1/event/concert/reservation", json=seats())
                    url = path.replace("{reservationId}", asked.text)
                else:
                    url = path.replace("{eventId}", "concert")
                answer = await client.post(url, content=body)
                assert answer.status_code == 200, answer.text
                SCHEMA[path]["post"].validate_response(answer)


def test_the_example_answers_fit_their_schemas() -> None:
    headers = {"content-type": "application/json", "etag": f'"{"0" * 24}"', "cache-control": "no-cache"}
    checked = 0
    for path, item in DOCUMENT["paths"].items():
        for method in {"get", "post", "patch", "delete"} & item.keys():
            shown = item[method]["responses"]["200"]["content"].get("application/json", {})
            for example in shown.get("examples", {}).values():
                request = httpx.Request(method.upper(), f"{ADDRESS}{path}")
                answer = httpx.Response(200, headers=headers, json=example["value"], request=request)
                answer.elapsed = timedelta(0)
                SCHEMA[path][method].validate_response(answer)
                checked += 1
    assert checked == 12
