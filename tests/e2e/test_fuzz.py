"""Requests made up from the OpenAPI document, valid ones and broken ones, against a real server: each answer is one that it describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.process.server import serving
from ticketmaster.ticket.documents import OPENAPI_JSON

TIMEOUT_S = 5.0
CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(json.loads(OPENAPI_JSON))
Case = schemathesis.Case[Any]
OPERATIONS = {one.label: one for one in (result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok))}
HEALTH = {f"GET /v1/health_check{path}" for path in ("", "/live", "/ready")}
FIXED = HEALTH | {"GET /openapi.json", "GET /docs", "GET /"}
POSTS, GETS = 60, 12


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("fuzz") / "data", "--long-poll-ms", "20", "--list-reservations") as (_, where):
        event = {"eventName": "concert", "areas": [{"areaId": "A", "rowCount": 20, "colCount": 20}]}
        httpx.post(f"http://{where}/v1/event", json=event, timeout=TIMEOUT_S).raise_for_status()
        yield where


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "broken"])
@pytest.mark.parametrize("label", sorted(OPERATIONS.keys() - FIXED))
def test_every_answer_is_one_that_the_document_describes(address: str, label: str, mode: GenerationMode) -> None:
    examples = POSTS if label.startswith("POST") else GETS
    cases: SearchStrategy[Case] = OPERATIONS[label].as_strategy(mode)

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def answers(case: Case) -> None:
        response = case.call(base_url=f"http://{address}", timeout=TIMEOUT_S)
        assert response.status_code < 500 or response.status_code == 503
        case.validate_response(response, checks=CHECKS)

    answers()
    assert httpx.get(f"http://{address}/v1/health_check", timeout=TIMEOUT_S).status_code == 200


@pytest.mark.parametrize("label", sorted(FIXED))
def test_what_takes_no_parameters_answers_as_described(address: str, label: str) -> None:
    case = OPERATIONS[label].Case()
    response = case.call(base_url=f"http://{address}", timeout=TIMEOUT_S)
    case.validate_response(response, checks=CHECKS)
    assert response.status_code == 200
