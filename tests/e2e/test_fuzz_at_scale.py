"""A short run of the fuzzer, scripts/reliability/fuzz, against a real server."""

from __future__ import annotations

import json

from tests.fuzz.command import as_json
from tests.fuzz.corpus import MODES, draw, operations
from tests.fuzz.plans import Planner
from tests.fuzz.run import run

REQUESTS = 2_000
SEED = 20_260_131
CASES = 4


def test_nothing_that_a_client_sends_gets_an_answer_that_is_not_described() -> None:
    cases = [case for label in operations() for mode in MODES for case in draw(label, mode, CASES, SEED)]
    report = run(Planner(cases, SEED), range(REQUESTS), SEED, connections=32, deadline_s=15.0, rss_mib_max=400, progress=lambda _sent: None)
    assert report.findings == [], as_json(report)
    assert report.requests == REQUESTS == sum(report.by_operation.values())
    assert report.by_operation.keys() == operations().keys()
    assert 0 < report.reservations_acknowledged == report.reservations_decided
    assert report.seats_sold > 0
    assert (
        {"200", "204", "304", "400", "404", "405", "409", "413", "422", "503"}
        <= report.by_status.keys()
        <= {"200", "204", "304", "400", "404", "405", "409", "412", "413", "414", "422", "431", "503"}
    )
    assert 0 < report.rss_before_mib <= report.rss_max_mib
    assert {"requests", "seconds", "seed", "by_status", "by_mutation", "findings", "rss_before_mib", "rss_after_mib"} <= json.loads(
        as_json(report)
    ).keys()
