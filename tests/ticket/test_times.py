"""Times in JSON, there and back."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.times import parse_time, time_json

NOW_NS = 1_746_600_000_000_000_001
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799


@pytest.mark.parametrize("raw", [b"", b"null"])
def test_a_missing_time_is_now(raw: bytes) -> None:
    assert parse_time("eventStartTime", raw, NOW_NS) == NOW_NS


@pytest.mark.parametrize(
    ("raw", "nanoseconds"),
    [
        (b"1746600000.5", 1_746_600_000_500_000_000),
        (b"1746600000.123456789", 1_746_600_000_123_456_789),
        (b"1746700000.1234567", 1_746_700_000_123_456_700),
        (b"1746686400", 1_746_686_400_000_000_000),
        (b"1.7466e9", 1_746_600_000_000_000_000),
        (b"0", 0),
        (b"-0.5", -500_000_000),
        (b"0.9999999999", 999_999_999),
        (b"253402300799", LAST_S * 10**9),
        (b"-62135596800", FIRST_S * 10**9),
    ],
)
def test_a_number_is_seconds_with_decimals(raw: bytes, nanoseconds: int) -> None:
    assert parse_time("eventStartTime", raw, NOW_NS) == nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        ("1970-01-01T00:00", 0),
        ("1970-01-01 00:00:01", 1_000_000_000),
        ("1970-01-01T00:00:00.5Z", 500_000_000),
        ("1970-01-01T00:00:00,5Z", 500_000_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1970-01-01T00:00:00.1234567891Z", 123_456_789),
        ("1970-01-01T01:00:00.25+01:00", 250_000_000),
        ("1969-12-31T23:00:00.25-01:00", 250_000_000),
        ("19700101T000000.5Z", 500_000_000),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("0001-01-01T00:00:00Z", FIRST_S * 10**9),
        ("9999-12-31T23:59:59Z", LAST_S * 10**9),
    ],
)
def test_a_text_is_iso_8601_in_utc_unless_it_says_otherwise(text: str, nanoseconds: int) -> None:
    assert parse_time("eventStartTime", json.dumps(text).encode(), NOW_NS) == nanoseconds


@given(
    moment=st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),  # noqa: DTZ001 - Hypothesis takes naive bounds
    offset=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_every_text_that_python_writes_is_read_to_the_microsecond(moment: datetime, offset: timezone) -> None:
    moment = moment.replace(tzinfo=offset)
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    assert parse_time("eventStartTime", f'"{moment.isoformat()}"'.encode(), NOW_NS) == microseconds * 1_000


@pytest.mark.parametrize(
    "raw",
    [
        b'""',
        b'"soon"',
        b'"2026-13-01"',
        b'"2026-02-30T00:00:00Z"',
        b'"2026-01-31T25:00:00Z"',
        b'"1746600000.5"',
        b'"0001-01-01T00:00:00+01:00"',
        b'"9999-12-31T23:59:59-01:00"',
        b'"10000-01-01T00:00:00Z"',
        b'"\\ud800"',
        b'"\xff"',
        b"true",
        b"{}",
        b"[1746600000]",
        b"253402300800",
        b"-62135596801",
        b"1e400",
        b"1" * 41,
    ],
)
def test_anything_else_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(Problem, match="eventStartTime is a number of seconds since 1970, or an ISO-8601 text") as refused:
        parse_time("eventStartTime", raw, NOW_NS)

    status, _, body = refused.value.response
    assert (status, json.loads(body)["code"]) == (400, "invalid_time")


# A fraction belongs to the seconds: anywhere else it is not what the client means.
@pytest.mark.parametrize(
    "text",
    [
        "2026.5-01-31",
        "2026-01.5-31",
        "2026-01-31T20.5:00",
        "2026-01-31T20:00.5",
        "2026-01-31T20.5",
        "2026-01-31T20:00:00.5.5",
        "2026-01-31T20:00:00+01:00:00.5",
        "2026-01-31T20:00:00.٣",
    ],
)
def test_a_fraction_of_anything_but_seconds_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="eventStartTime"):
        parse_time("eventStartTime", f'"{text}"'.encode(), NOW_NS)


@pytest.mark.parametrize("raw", [b"1e999980", b"-9.9e999989", b"1e999999999999999999", b"1e-999999"])
def test_a_number_with_a_huge_exponent_costs_nothing(raw: bytes) -> None:
    started = time.process_time()

    try:
        assert parse_time("eventStartTime", raw, NOW_NS) == 0
    except Problem:
        assert not raw.startswith(b"1e-")
    # As an integer the largest of them would take half a minute to make.
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (1_746_600_000_500_000_000, b"1746600000.500000000"),
        (1_746_700_000_123_456_700, b"1746700000.123456700"),
        (0, b"0.000000000"),
        (1, b"0.000000001"),
        (-500_000_000, b"-0.500000000"),
    ],
)
def test_a_time_is_written_as_seconds_with_nine_decimals(nanoseconds: int, text: bytes) -> None:
    assert bytes(time_json(nanoseconds)) == text


@given(st.integers(FIRST_S * 10**9, LAST_S * 10**9))
def test_what_is_written_is_read_back(nanoseconds: int) -> None:
    assert parse_time("eventStartTime", bytes(time_json(nanoseconds)), NOW_NS) == nanoseconds
