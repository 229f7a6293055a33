"""The load client's arithmetic: percentiles, shares of the work, defaults of the options."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from scripts.perf.spike_client.driver import Task, general, microseconds, status_name
from scripts.perf.spike_client.options import BadOptionError, Options, base_url, complete, cores
from scripts.perf.spike_client.report import Latency, latency, percentile
from scripts.perf.spike_client.workload import draw, event_body, reservation_template

GIVEN: dict[str, Any] = {
    "host": "localhost:8080", "env": "local", "http2": False, "areas": 5, "rows": 3, "cols": 4, "seats_max": 4, "requests": 1_000,
    "clients": None, "processes": None, "in_flight": 200, "rate_per_s": None, "seed": 11, "sleep_s": 0.0, "timeout_s": 60.0,
    "profile": None,
}  # fmt: skip


def options(**changes: object) -> Options:
    return complete(**(GIVEN | changes))


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (99.5, 100), (100, 100)])
def test_a_percentile_is_the_nearest_rank(percent: float, value: int) -> None:
    assert percentile(list(range(1, 101)), percent) == value


def test_the_percentiles_of_one_and_of_no_sample() -> None:
    assert percentile([7], 50) == percentile([7], 99) == 7
    assert percentile([], 50) == 0


def test_latencies_are_sorted_and_told_in_milliseconds() -> None:
    samples = [1_000 * value for value in range(1, 1_001)]
    random.Random(3).shuffle(samples)
    assert latency(samples) == Latency(500.0, 950.0, 990.0, 1_000.0)


def test_microseconds_stay_in_their_column() -> None:
    assert microseconds(0.0012345) == 1_234
    assert microseconds(-1.0) == 0
    assert microseconds(1e9) == 0xFFFFFFFF


def test_the_shares_of_the_workers_are_the_whole_workload() -> None:
    workload = draw(options())
    assert len(workload) == 1_000
    assert set(workload.areas) == set(range(5))
    assert set(workload.seats) == {1, 2, 3, 4}
    shares = [workload.share(number, 3) for number in range(3)]
    assert [shares[number % 3].areas[number // 3] for number in range(1_000)] == list(workload.areas)
    assert [shares[number % 3].seats[number // 3] for number in range(1_000)] == list(workload.seats)


def test_a_seed_repeats_its_requests_and_another_does_not() -> None:
    assert draw(options()) == draw(options(processes=2, clients=4))
    assert draw(options()) != draw(options(seed=12))


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_clients_and_requests_in_flight_are_shared_without_a_rest(workers: int) -> None:
    tasks = [Task(options(), "e", number, workers, draw(options())) for number in range(workers)]
    for total in (workers, 7, 63, 4_000):
        parts = [task.part(total) for task in tasks]
        assert sum(parts) == total
        assert max(parts) - min(parts) <= 1


def test_bodies_are_the_contracts_json() -> None:
    body = msgspec.json.decode(reservation_template('a "100 %" event') % (3, 2))
    assert body == {"userId": "spike", "eventId": 'a "100 %" event', "areaId": "3", "numOfSeats": 2, "seats": [], "type": "RANDOM"}
    event = msgspec.json.decode(event_body(options(areas=2), "e"))
    assert event["areas"] == [{"areaId": name, "price": 100, "rowCount": 3, "colCount": 4} for name in ("0", "1")]


def test_reasons_lose_the_names_in_them() -> None:
    assert general("[NOT_AVAILABLE]: no continuous 2 seats at area 7 in event e-1", "e-1", "7") == (
        "[NOT_AVAILABLE]: no continuous 2 seats at area <area> in event <event>"
    )
    assert general("[INVALID_EVENT_AREA]: e-1#7 event area does not exist", "e-1", "7") == (
        "[INVALID_EVENT_AREA]: <event>#<area> event area does not exist"
    )
    assert general("request rejected at cache level", "e-1", "7") == "request rejected at cache level"


def test_an_error_is_named_by_its_status_and_its_problem() -> None:
    assert status_name(400, b'{"title":"malformed body","status":400}') == "HTTP 400 malformed body"
    assert status_name(500, b"<html>") == "HTTP 500"
    assert status_name(404, b"[]") == "HTTP 404"


def test_http2_uses_four_connections_and_http1_one_client_per_64_in_flight() -> None:
    assert options(http2=True, processes=1).clients == 4
    assert options(in_flight=1_000, processes=1).clients == 16
    assert options(in_flight=3, processes=1).clients == 1
    assert options(in_flight=1, clients=1).in_flight == 1
    assert options(requests=10, in_flight=4_000).in_flight == 10


def test_the_environment_decides_how_many_cores_the_client_takes() -> None:
    assert options(env="local", clients=100).processes == max(1, cores() // 2)
    assert options(env="stage", clients=100).processes == cores()
    assert options(env="stage", clients=1).processes == 1


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("http://example.org:4403/", "http://example.org:4403"),
        ("example.org", "http://example.org:80"),
        ("[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_host_becomes_a_url(host: str, url: str) -> None:
    assert base_url(host) == url


@pytest.mark.parametrize("host", ["", "https://a:1", "a:b", "a:70000", "http://a:1/v1", "http://a:1?x", "http://u@a:1", "//"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(BadOptionError, match="--host"):
        base_url(host)


@pytest.mark.parametrize(
    "changes", [{"clients": 300}, {"processes": 9, "clients": 8}, {"rows": 10_000, "cols": 10_000}, {"sleep_s": float("nan")}]
)
def test_options_that_make_no_sense_together_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadOptionError):
        options(**changes)
