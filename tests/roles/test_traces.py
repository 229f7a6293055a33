"""One trace over three roles on a real Kafka, through whichever processes it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fleet import READY_S, ROLES, Fleet
from tests.process.client import ask
from tests.process.test_traces import BUY, CONCERT, CREATE, GET, POST, RESERVE, RESULT, WHOLE, parents
from tests.support.kafka import Cluster
from tests.support.otlp import Collector, collecting

GET_FOR_PEER = "GET /internal/v1/reservation/{reservationId}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def fleet(own_cluster: Cluster, tmp_path: Path, collector: Collector) -> Iterator[Fleet]:
    """Two processes of each role that send their traces, at once."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_address, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, own_cluster.registry_url)
    fleet.create_topics()
    try:
        for program in [fleet.start(role, env=env) for role in ROLES for _ in range(2)]:
            program.wait_ready_line(READY_S)
        yield fleet
    finally:
        fleet.kill_all()


async def test_one_trace_leads_through_all_roles_and_a_get_that_was_passed_on(fleet: Fleet, collector: Collector) -> None:
    one, other = fleet.addresses()
    assert (await ask(one, "POST", "/v1/event", CONCERT)).status == 200
    reservation_id = (await ask(one, "POST", "/v1/event/concert/reservation", BUY)).body.decode()
    for address in (one, other):
        assert (await ask(address, "GET", f"/v1/reservation/{reservation_id}")).status == 200

    collector.wait(lambda: any(span.name == POST for span in collector.spans), "the POST's span")
    post = next(span for span in collector.spans if span.name == POST)
    whole = WHOLE + Counter([GET, GET_FOR_PEER])
    collector.wait(
        lambda: Counter(span.name for span in collector.trace(post.trace_id)) >= whole, "all spans of the trace, two GETs among them"
    )
    spans = collector.trace(post.trace_id)

    found = parents(spans)
    assert (found[CREATE], found[RESERVE], found[RESULT]) == (POST, CREATE, RESERVE)
    assert found[GET_FOR_PEER] == POST
    assert {span.parent_id for span in spans if span.name == GET} == {post.span_id}
    services = {span.name: span.service.removeprefix("ticketmaster-") for span in spans}
    assert (services[POST], services[CREATE], services[RESERVE]) == ("ticket", "reservation", "event")
    assert not any(span.failed for span in spans)
    # Each process told what it restored.
    assert any(span.name.startswith("restore event-service-") for span in collector.spans)
