"""The port for operators of a real process: probes, and numbers that agree with what was sold."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.client import ask, connected
from tests.process.server import one_clear_line, run, serving

CONCERT = {"eventName": "concert", "areas": [{"areaId": "A", "price": 100, "rowCount": 1, "colCount": 3}]}
BUY = {"userId": "ann", "eventId": "concert", "areaId": "A", "numOfSeats": 1, "type": "RANDOM"}


@pytest.fixture
def free() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def scraped(address: str) -> dict[str, float]:
    """All samples, by name with the values of the labels that are not the role's."""
    reply = await ask(address, "GET", "/metrics")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        " ".join([sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "role" and value)]): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


async def test_the_numbers_of_a_process_agree_with_what_it_sold(tmp_path: Path, free: int) -> None:
    operators = f"127.0.0.1:{free}"
    with serving(tmp_path / "data", "--metrics-port", str(free)) as (_, address):
        assert (await ask(address, "POST", "/v1/event", CONCERT)).status == 200
        async with connected(address) as buyer:
            for _ in range(5):
                reservation_id = (await buyer.request("POST", "/v1/event/concert/reservation", BUY)).body.decode()
                assert (await buyer.request("GET", f"/v1/reservation/{reservation_id}")).status == 200
            assert (await buyer.request("GET", "/v1/reservation/nonsense")).status == 404
            assert (await buyer.request("GET", "/made/up/by/a/client")).status == 404

        read = await scraped(operators)

    refused = read["ticketmaster_decisions_total failed FILTERED"] + read.get("ticketmaster_decisions_total failed NOT_AVAILABLE", 0)
    assert (read["ticketmaster_decisions_total success"], refused) == (3, 2)
    assert read["ticketmaster_decision_duration_seconds_count"] == 5
    assert read["ticketmaster_http_requests_total POST /v1/event/{eventId}/reservation 200"] == 5
    assert read["ticketmaster_http_requests_total GET /v1/reservation/{reservationId} 200"] == 5
    assert read["ticketmaster_http_requests_total GET /v1/reservation/{reservationId} 404"] == 1
    assert read["ticketmaster_http_requests_total GET other 404"] == 1
    assert (read["ticketmaster_event_seats concert"], read["ticketmaster_event_seats_available concert"]) == (3, 0)
    assert read["ticketmaster_lag_records 0 command.reservation.create_reservation"] == 0
    assert read["ticketmaster_ready"] == 1
    assert read["ticketmaster_state_bytes"] > 0
    assert 0 < read["ticketmaster_disk_used_ratio"] < 1
    assert read["ticketmaster_waiting_requests"] == 0


@pytest.mark.parametrize("path", ["/v1/health_check", "/v1/health_check/live", "/v1/health_check/ready"])
async def test_probes_are_answered_on_both_ports(tmp_path: Path, free: int, path: str) -> None:
    with serving(tmp_path / "data", "--metrics-port", str(free)) as (_, address):
        for asked in (address, f"127.0.0.1:{free}"):
            assert (await ask(asked, "GET", path)).status == 200


async def test_the_port_for_operators_answers_nothing_else(tmp_path: Path, free: int) -> None:
    with serving(tmp_path / "data", "--metrics-port", str(free)) as (_, address):
        for method, path in (("GET", "/v1/event"), ("POST", "/v1/event"), ("GET", "/")):
            assert (await ask(f"127.0.0.1:{free}", method, path)).status in {404, 405}
        assert (await ask(address, "GET", "/metrics")).status == 404


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one_clear_line(run("standalone", "-p", "0", "--metrics-port", str(port), cwd=tmp_path), [str(port), "use"])
