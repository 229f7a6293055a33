"""The HTTP surface, fuzzed from its own OpenAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.process.server import serving

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


def test_no_request_makes_the_server_fail_or_hang(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--long-poll-ms", "1") as (_, address):
        schema = schemathesis.openapi.from_url(f"http://{address}/openapi.json")
        requests = 0
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()

            @given(case=operation.as_strategy())
            @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
            def fuzz(case: Any) -> None:  # noqa: ANN401 - generic in types that are private
                nonlocal requests
                requests += 1
                response = case.call(timeout=10)
                assert response.status_code < 500 or response.status_code == 503, response.text
                case.validate_response(response, checks=CHECKS)

            fuzz()
        assert requests >= 300
        assert httpx.get(f"http://{address}/v1/health_check").status_code == 200
