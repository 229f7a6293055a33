"""One trace from POST to the answered GET, received by a collector over both protocols; and what happens when there is none."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.process.client import ask, connected
from tests.process.server import Server, one_clear_line, run, serving
from tests.support.otlp import Collector, Seen, collecting

CONCERT = {"eventName": "concert", "areas": [{"areaId": "A", "price": 100, "rowCount": 2, "colCount": 10}]}
BUY = {"userId": "ann", "eventId": "concert", "areaId": "A", "numOfSeats": 1, "type": "RANDOM"}
POST = "POST /v1/event/{eventId}/reservation"
GET = "GET /v1/reservation/{reservationId}"
CREATE = "decide command.reservation.create_reservation"
RESERVE = "decide command.event.reserve_seat"
RESULT = "decide response.reservation.result"
CLIENT = "0af7651916cd43dd8448eb211c80319c"
# The SDK's batches are sent soon.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


def endpoint(collector: Collector, protocol: str) -> dict[str, str]:
    address = collector.grpc_address if protocol == "grpc" else collector.http_address
    return SOON | {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}


async def bought(address: str, **headers: str) -> str:
    """Buys one seat and reads the decision, over one connection; returns the reservation's id."""
    async with connected(address) as buyer:
        reservation_id = (await buyer.request("POST", "/v1/event/concert/reservation", BUY, headers)).body.decode()
        assert (await buyer.request("GET", f"/v1/reservation/{reservation_id}")).status == 200
    return reservation_id


def parents(spans: list[Seen]) -> dict[str, str]:
    """Of each span of a trace, by names, its parent; "" of none that came."""
    names = {span.span_id: span.name for span in spans}
    return {span.name: names.get(span.parent_id, "") for span in spans}


# The reservation role has a transaction for each of its two decisions.
WHOLE = Counter([POST, "send create_reservation", CREATE, *2 * ["transaction reservation"], RESERVE, "transaction event", RESULT, GET])


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_one_trace_leads_from_the_post_through_all_roles_to_the_answered_get(tmp_path: Path, protocol: str) -> None:
    with collecting() as collector, serving(tmp_path / "data", env=endpoint(collector, protocol)) as (_, address):
        assert (await ask(address, "POST", "/v1/event", CONCERT)).status == 200
        reservation_id = await bought(address)
        collector.wait(lambda: any(span.name == GET for span in collector.spans), "the GET's span")
        post = next(span for span in collector.spans if span.name == POST)
        collector.wait(lambda: Counter(span.name for span in collector.trace(post.trace_id)) >= WHOLE, "all spans of the trace")
        spans = collector.trace(post.trace_id)
        restored = [span for span in collector.spans if span.name.startswith("restore ")]

    found = parents(spans)
    assert found[POST] == ""
    assert found[CREATE] == found["send create_reservation"] == found[GET] == POST
    assert found[RESERVE] == CREATE
    assert found[RESULT] == RESERVE
    assert found["transaction event"] == RESERVE
    # Of the two of the reservation role, one belongs to each of its decisions.
    names = {span.span_id: span.name for span in spans}
    assert {names[span.parent_id] for span in spans if span.name == "transaction reservation"} == {CREATE, RESULT}
    by_name = {span.name: span for span in spans}
    assert (by_name[POST].kind, by_name[CREATE].kind, by_name["transaction event"].kind) == ("SERVER", "CONSUMER", "PRODUCER")
    assert (
        by_name[POST].attributes["ticketmaster.reservation.id"] == by_name[GET].attributes["ticketmaster.reservation.id"] == reservation_id
    )
    assert by_name[POST].attributes["http.response.status_code"] == 200
    assert by_name[RESERVE].attributes["messaging.destination.name"] == "command.event.reserve_seat"
    assert not any(span.failed for span in spans)
    assert all(span.start_ns <= span.end_ns for span in spans)
    assert {span.service for span in spans} == {"ticketmaster"}
    # Each of the three tasks told of its start, in a trace of its own.
    assert len({span.trace_id for span in restored}) == 3


def served(spans: list[Seen]) -> list[tuple[str, str]]:
    """The decisions, by trace and span, that transactions serve."""
    transactions = [span for span in spans if span.name.startswith("transaction ")]
    return [(span.trace_id, span.parent_id) for span in transactions] + [link for span in transactions for link in span.links]


async def test_a_transaction_of_many_is_linked_to_them_all(tmp_path: Path) -> None:
    with collecting() as collector, serving(tmp_path / "data", env=endpoint(collector, "grpc")) as (_, address):
        assert (await ask(address, "POST", "/v1/event", CONCERT)).status == 200
        await asyncio.gather(*(bought(address) for _ in range(15)))
        # A transaction's span ends after those of the decisions that it serves, and may be exported later.
        collector.wait(lambda: len(served(collector.spans)) >= 45, "the transactions of all decisions")
        spans = list(collector.spans)

    decided = {(span.trace_id, span.span_id) for span in spans if span.name in {CREATE, RESERVE, RESULT}}
    assert any(span.links for span in spans if span.name.startswith("transaction ")), "15 commands at once are no 15 transactions each"
    # Every decision is served by exactly one transaction.
    assert sorted(served(spans)) == sorted(decided)


async def test_a_client_that_traces_is_the_parent(tmp_path: Path) -> None:
    env = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
    with collecting() as collector, serving(tmp_path / "data", env=endpoint(collector, "grpc") | env) as (_, address):
        assert (await ask(address, "POST", "/v1/event", CONCERT)).status == 200
        await bought(address)
        await bought(address, traceparent=f"00-{CLIENT}-b7ad6b7169203331-01", tracestate="shop=1")
        await bought(address, traceparent=f"00-{CLIENT}-b7ad6b7169203332-00")
        await bought(address, traceparent="rubbish")
        collector.wait(lambda: any(span.name == GET for span in collector.spans), "the GET's span")
        await asyncio.sleep(0.3)
        spans = list(collector.spans)

    # Only the one that asked for it, and nothing drawn by lot.
    assert {span.trace_id for span in spans} == {CLIENT}
    assert [span.parent_id for span in spans if span.name == POST] == ["b7ad6b7169203331"]


async def test_disabled_means_that_nothing_is_sent(tmp_path: Path) -> None:
    env = {"OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "otlp"}
    with collecting() as collector, serving(tmp_path / "data", env=endpoint(collector, "grpc") | env) as (_, address):
        assert (await ask(address, "POST", "/v1/event", CONCERT)).status == 200
        await bought(address)
        await asyncio.sleep(0.3)
    assert collector.spans == []
    assert collector.metrics == []


def told(metrics: Mapping[str, Any]) -> int:
    """How many decisions were told."""
    found = metrics.get("ticketmaster_decision_duration_seconds")
    return sum(point.count for point in found.histogram.data_points) if found else 0


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_metrics_are_pushed_where_that_is_asked_for(tmp_path: Path, protocol: str) -> None:
    env = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    with collecting() as collector, serving(tmp_path / "data", env=endpoint(collector, protocol) | env) as (_, address):
        assert (await ask(address, "POST", "/v1/event", CONCERT)).status == 200
        await bought(address)
        # A role decides before it is on the disk, and told.
        collector.wait(lambda: bool(collector.metrics) and told(collector.metrics[-1]) == 1, "the decision that was told")
        last = collector.metrics[-1]

    (decisions,) = last["ticketmaster_decisions"].sum.data_points
    assert (decisions.as_double, last["ticketmaster_decisions"].sum.is_monotonic) == (1, True)
    (durations,) = last["ticketmaster_decision_duration_seconds"].histogram.data_points
    assert (durations.count, sum(durations.bucket_counts), last["ticketmaster_decision_duration_seconds"].unit) == (1, 1, "s")
    assert last["ticketmaster_waiting_requests"].gauge.data_points[0].as_double == 0


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_that_is_away_costs_no_sale_and_no_patience(tmp_path: Path, protocol: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        env = SOON | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nobody.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }
        server = Server(tmp_path / "data", env=env)
        try:
            address = server.wait_ready()
            assert (await ask(address, "POST", "/v1/event", CONCERT)).status == 200
            for _ in range(5):
                await bought(address)
            await asyncio.sleep(1)
            server.send(signal.SIGTERM)
            began_s = time.monotonic()
            assert server.wait() == 0
            assert time.monotonic() - began_s < 10
        finally:
            server.kill()
    complaints = [line for line in server.lines() if line["event"] == "library"]
    # Each kind of complaint once, however often it came.
    assert len({(line["logger"], line["message"]) for line in complaints}) == len(complaints) <= 6
    assert server.stderr.read_text() == ""


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "grpc or http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "a number from 0 to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", "a number from 0 to 1"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp, console or none"),
        ("OTEL_METRICS_EXPORTER", "prometheus", "otlp or none"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1s", "an integer"),
        ("OTEL_SDK_DISABLED", "yes", "TRUE or FALSE"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "an integer"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a-key", "name=value"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10", "at least OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
        ("OTEL_RESOURCE_ATTRIBUTES", "nonsense", "name=value"),
    ],
)
def test_a_wrong_variable_is_one_clear_line(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    one_clear_line(run("standalone", "-p", "0", cwd=tmp_path, env={variable: value}), [variable, expected])


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_EXPORTER_OTLP_COMPRESSION", "foo"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"), ("OTEL_PROPAGATORS", "foo")],
)
def test_what_only_the_sdk_knows_to_be_wrong_is_one_line_too(tmp_path: Path, variable: str, value: str) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", variable: value}
    done = run("standalone", "-p", "0", cwd=tmp_path, env=env)
    assert done.returncode == 2, done.stderr
    assert "OpenTelemetry's variables (OTEL_*) can't be used" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


async def test_the_last_numbers_are_sent_at_the_end(tmp_path: Path) -> None:
    env = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
    with collecting() as collector:
        with serving(tmp_path / "data", env=endpoint(collector, "grpc") | env) as (_, address):
            assert (await ask(address, "POST", "/v1/event", CONCERT)).status == 200
            await bought(address)
        assert [last["ticketmaster_decisions"].sum.data_points[0].as_double for last in collector.metrics] == [1]
