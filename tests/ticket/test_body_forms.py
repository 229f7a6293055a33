"""How a body may be written: numbers, encodings, names, and fields that come twice."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from tests.support.records import create_reservation
from tests.ticket.test_bodies import LIMITS, NOW_NS, event_code, reservation_code
from ticketmaster.domain.event import Area
from ticketmaster.ticket.bodies import event_json, read_event, read_reservation_request
from ticketmaster.ticket.problems import Problem


def event_of(price: str = "1", rows: str = "1", cols: str = "1") -> bytes:
    """An event of one area, its numbers as they are written."""
    return f'{{"eventName":"show","areas":[{{"areaId":"A","price":{price},"rowCount":{rows},"colCount":{cols}}}]}}'.encode()


@pytest.mark.parametrize(
    ("written", "meant"),
    [("2.0", 2), ("2.000", 2), ("2e0", 2), ("20e-1", 2), ("1e2", 100), ("1E+2", 100), ("-0", 0), ("-0.0", 0), ("0e999999999", 0)],
)
def test_an_integer_may_be_written_with_decimals_and_exponents(written: str, meant: int) -> None:
    body = f'{{"userId":"ann","areaId":"A","type":"RANDOM","numOfSeats":{written},"seats":[{{"row":{written},"col":{written}}}]}}'

    assert read_event(event_of(price=written), LIMITS.event, NOW_NS).areas == (Area("A", meant, 1, 1),)
    assert json.loads(event_json(read_event(event_of(price=written), LIMITS.event, NOW_NS)))["areas"][0]["price"] == meant
    command = read_reservation_request(body.encode(), "show", LIMITS)
    assert command == create_reservation(count=meant, seats=[(meant, meant)])


@pytest.mark.parametrize(
    "written",
    [
        *("2.5", "25e-1", "1e-1", "0.0000001", "2147483648.0", "-2147483649.0", "1e10", "1e999999999", "-1e400", "1e18"),
        *("9" * 5_000, '"2"', '"2.0"', "true", "[2]", "{}"),
    ],
)
def test_a_number_with_a_fraction_or_out_of_range_is_refused(written: str) -> None:
    for body in (event_of(price=written), event_of(rows=written), event_of(cols=written)):
        assert event_code(body) == "invalid_field"
    for field in ('"numOfSeats":%s', '"seats":[{"row":%s,"col":0}]', '"seats":[{"row":0,"col":%s}]'):
        assert reservation_code(b'{"userId":"ann","areaId":"A",%b}' % (field % written).encode()) == "invalid_field"


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "+1", "01", "1.", ".5", "0x10", "1_000"])
def test_what_json_calls_no_number_is_malformed(written: str) -> None:
    assert event_code(event_of(price=written)) == "malformed_json"


def test_a_huge_number_costs_no_time() -> None:
    started_s = time.perf_counter()
    for written in ("1" * 1_000_000, "1e" + "9" * 1_000_000, "0." + "1" * 1_000_000):
        assert event_code(event_of(price=written)) == "invalid_field"
    assert time.perf_counter() - started_s < 1


def detail_of(body: bytes) -> str:
    """What a person is told about a body that is refused."""
    with pytest.raises(Problem) as refused:
        read_event(body, LIMITS.event, NOW_NS)
    detail: str = json.loads(refused.value.response[2])["detail"]
    return detail


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b'\xef\xbb\xbf{"eventName":"show"}', "begins with a byte order mark"),
        ('{"eventName":"show"}'.encode("utf-16"), "UTF-16 or UTF-32"),
        ('{"eventName":"show"}'.encode("utf-16-le"), "UTF-16 or UTF-32"),
        ('{"eventName":"show"}'.encode("utf-16-be"), "UTF-16 or UTF-32"),
        ('{"eventName":"show"}'.encode("utf-32"), "UTF-16 or UTF-32"),
        (gzip.compress(b'{"eventName":"show"}'), "is compressed"),
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (event_of(price="2.5"), "Expected an integer - at `$.areas[0].price`"),
        (event_of(price='"2"'), "Expected `int`, got `str` - at `$.areas[0].price`"),
        (event_of(price="2147483648.0"), "Expected `int` <= 2147483647 -"),
    ],
)
def test_a_body_that_is_refused_is_told_why(body: bytes, hint: str) -> None:
    assert hint in detail_of(body)


def test_of_a_field_that_comes_twice_the_last_is_taken() -> None:
    event = read_event(b'{"eventName":"first","eventName":"show"}', LIMITS.event, NOW_NS)
    command = read_reservation_request(b'{"userId":"bob","areaId":"A","userId":"ann","numOfSeats":9,"numOfSeats":0}', "show", LIMITS)

    assert event.event_name == "show"
    assert command == create_reservation("INVALID", 0)


def test_names_that_look_alike_are_two() -> None:
    names = {read_event(json.dumps({"eventName": name}).encode(), LIMITS.event, NOW_NS).event_name for name in ("zo\u00eb", "zoe\u0308")}

    assert len(names) == 2
