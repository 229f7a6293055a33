"""Bodies of requests and responses: what is taken, what is refused, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import create_reservation
from ticketmaster.domain.event import Area, Event, EventLimits
from ticketmaster.domain.reservation import ReservationType, State
from ticketmaster.ticket.bodies import event_json, read_event, read_reservation_request, reservation_json
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Problem
from ticketmaster.wire import avro

NOW_NS = 1_746_600_000_000_000_001
LIMITS = TicketLimits()
EXCHANGES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden.json").read_text(encoding="utf-8"))["http"]
RECORDS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden.json").read_text(encoding="utf-8"))["records"]


def code_of(read: Callable[[], object]) -> str:
    """The code of the 400 that reading a body ends in."""
    with pytest.raises(Problem) as refused:
        read()
    status, headers, body = refused.value.response
    problem = json.loads(body)
    assert (status, problem["status"], problem["title"]) == (400, 400, "Bad Request")
    assert ("content-type", "application/problem+json") in headers
    assert problem["type"] == f"/docs#{problem['code']}"
    assert problem["detail"]
    code: str = problem["code"]
    return code


def event_code(body: object) -> str:
    """The code that an event is refused with; bytes are the body itself, anything else becomes JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return code_of(lambda: read_event(raw, LIMITS.event, NOW_NS))


def reservation_code(body: object, event_id: str = "show") -> str:
    """The code that a reservation is refused with."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return code_of(lambda: read_reservation_request(raw, event_id, LIMITS))


def asked(body: dict[str, Any], event_id: str = "show") -> dict[str, Any]:
    """The fields of the command that a body becomes."""
    return avro.decode("CreateReservation", read_reservation_request(json.dumps(body).encode(), event_id, LIMITS))


MALFORMED = [
    b"",
    b"{",
    b"nonsense",
    b'{"eventName":"show","userId":"ann","areaId":"A",}',
    b'{"eventName":"show","userId":"ann","areaId":"A"}}',
    b'{"areaId":"A","eventName":"\xff","userId":"\xff"}',
    b'{"areaId":"A","eventName":"\\ud800","userId":"\\ud800"}',
    b'{"eventName":"show","userId":"ann","areaId":"A","more":' + b"[" * 100_000,
]


def test_an_event_is_read_with_all_it_says() -> None:
    body = (
        '{"eventName": "zoë", "artist": "東京", "areas": [{"areaId": "A", "price": 12, "rowCount": 3, "colCount": 4}], '
        '"reservationOpeningTime": 1746600000.5, "reservationClosingTime": "2025-05-08T06:40:00Z", "eventStartTime":  null , "more": 1}'
    )

    event = read_event(body.encode(), LIMITS.event, NOW_NS)

    opening, closing = 1_746_600_000_500_000_000, 1_746_686_400_000_000_000
    assert event == Event("zoë", "東京", opening, closing, NOW_NS, NOW_NS, (Area("A", 12, 3, 4),))


def test_an_event_needs_only_its_name() -> None:
    assert read_event(b'{"eventName":"show"}', LIMITS.event, NOW_NS) == Event("show", "", NOW_NS, NOW_NS, NOW_NS, NOW_NS)


def test_the_golden_event_is_answered_as_it_always_was() -> None:
    (exchange,) = (exchange for exchange in EXCHANGES if exchange["path"] == "/v1/event")

    event = read_event(json.dumps(exchange["request"]).encode(), LIMITS.event, NOW_NS)

    assert event_json(event).decode() == exchange["response"]


@pytest.mark.parametrize("body", MALFORMED)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    assert event_code(body) == "malformed_json"
    assert reservation_code(body) == "malformed_json"


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        5,
        {},
        {"eventName": None},
        {"eventName": 5},
        {"eventName": "show", "artist": 5},
        {"eventName": "show", "areas": {}},
        {"eventName": "show", "areas": [{"price": 1, "rowCount": 1, "colCount": 1}]},
        {"eventName": "show", "areas": [{"areaId": 1, "rowCount": 1, "colCount": 1}]},
        {"eventName": "show", "areas": [{"areaId": "A", "rowCount": "1", "colCount": 1}]},
        {"eventName": "show", "areas": [{"areaId": "A", "rowCount": 1.5, "colCount": 1}]},
        {"eventName": "show", "areas": [{"areaId": "A", "rowCount": True, "colCount": 1}]},
        {"eventName": "show", "areas": [{"areaId": "A", "rowCount": 2**31, "colCount": 1}]},
        {"eventName": "show", "areas": [{"areaId": "A", "rowCount": 1, "colCount": -(2**31) - 1}]},
        {"eventName": "show", "areas": [{"areaId": "A", "price": 10**30, "rowCount": 1, "colCount": 1}]},
    ],
)
def test_an_event_with_a_field_of_another_type_or_none_is_refused(body: object) -> None:
    assert event_code(body) == "invalid_field"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"eventName": ""}, "empty_name"),
        ({"eventName": "é" * 128}, "name_too_long"),
        ({"eventName": "a#b"}, "invalid_event_name"),
        ({"eventName": "show", "artist": "a" * 256}, "name_too_long"),
        ({"eventName": "sh\ufffdw"}, "invalid_text"),
        ({"eventName": "show", "areas": [{"areaId": "\ufffd", "rowCount": 1, "colCount": 1}]}, "invalid_text"),
        ({"eventName": "show", "areas": [{"areaId": "A", "price": -1, "rowCount": 1, "colCount": 1}]}, "invalid_price"),
        ({"eventName": "show", "areas": [{"areaId": "A", "price": -500.0, "rowCount": 1, "colCount": 1}]}, "invalid_price"),
        ({"eventName": "show", "areas": [{"areaId": "A"}]}, "invalid_area_size"),
        ({"eventName": "show", "areas": [{"areaId": "A", "rowCount": 1, "colCount": 0}]}, "invalid_area_size"),
        ({"eventName": "show", "areas": [{"areaId": "A", "rowCount": 1_000, "colCount": 101}]}, "area_too_large"),
        ({"eventName": "show", "areas": [{"areaId": "A", "rowCount": 1, "colCount": 1}] * 2}, "duplicate_area"),
        ({"eventName": "show", "areas": [{"areaId": str(n), "rowCount": 1, "colCount": 1} for n in range(1_001)]}, "too_many_areas"),
        ({"eventName": "show", "areas": [{"areaId": str(n), "rowCount": 1, "colCount": 100_000} for n in range(101)]}, "event_too_large"),
        ({"eventName": "show", "eventEndTime": "soon"}, "invalid_time"),
        ({"eventName": "show", "eventEndTime": {}}, "invalid_time"),
    ],
)
def test_an_event_that_breaks_a_rule_is_refused(body: object, code: str) -> None:
    assert event_code(body) == code


def test_the_operators_limits_hold() -> None:
    body = b'{"eventName":"show","areas":[{"areaId":"A","rowCount":2,"colCount":2}]}'

    assert code_of(lambda: read_event(body, EventLimits(seats_per_area_max=3), NOW_NS)) == "area_too_large"
    assert read_event(body, EventLimits(seats_per_area_max=4), NOW_NS).areas == (Area("A", 0, 2, 2),)


@pytest.mark.parametrize("exchange", [pytest.param(one, id=one["note"]) for one in EXCHANGES if one["path"].endswith("/reservation")])
def test_a_golden_request_becomes_the_golden_command(exchange: dict[str, Any]) -> None:
    (record,) = (one for one in RECORDS if one["schema"] == "CreateReservation" and one["key"] == exchange["response"])
    event_id = exchange["path"].split("/")[3]

    command = read_reservation_request(json.dumps(exchange["request"]).encode(), event_id, LIMITS)

    assert command[5:].hex() == record["avro_hex"]


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ({"userId": "ann", "areaId": "A", "numOfSeats": 2, "type": "RANDOM"}, create_reservation(count=2)),
        ({"userId": "ann", "areaId": "A", "eventId": "show", "numOfSeats": 2, "type": "RANDOM"}, create_reservation(count=2)),
        ({"userId": "ann", "areaId": "A", "eventId": None, "seats": None, "type": "RANDOM"}, create_reservation(count=0)),
        ({"userId": "ann", "areaId": "A"}, create_reservation("INVALID", 0)),
        ({"userId": "ann", "areaId": "A", "type": "random"}, create_reservation("INVALID", 0)),
        ({"userId": "ann", "areaId": "A", "type": "INVALID"}, create_reservation("INVALID", 0)),
        (
            {"userId": "ann", "areaId": "A", "type": "SELF_PICK", "seats": [{"row": -1, "col": 2**31 - 1}, {"row": 0, "col": 0, "x": 1}]},
            create_reservation("SELF_PICK", 2, [(-1, 2**31 - 1), (0, 0)]),
        ),
        # Without a seat nothing was picked, which the area says.
        ({"userId": "ann", "areaId": "A", "type": "SELF_PICK", "numOfSeats": 2, "seats": []}, create_reservation("SELF_PICK", 2)),
        ({"userId": "ann", "areaId": "A", "type": "SELF_PICK", "seats": None}, create_reservation("SELF_PICK", 0)),
        # The seats of a RANDOM reservation mean nothing, nor does anything of an invalid one.
        (
            {"userId": "ann", "areaId": "A", "type": "RANDOM", "numOfSeats": 2, "seats": [{"row": 0, "col": 0}]},
            create_reservation(count=2, seats=[(0, 0)]),
        ),
        (
            {"userId": "ann", "areaId": "A", "numOfSeats": 2, "seats": [{"row": 0, "col": 0}]},
            create_reservation("INVALID", 2, [(0, 0)]),
        ),
        # What the area refuses is not the gateway's to refuse.
        ({"userId": "ann", "areaId": "A", "numOfSeats": -(2**31), "type": "RANDOM"}, create_reservation(count=-(2**31))),
    ],
)
def test_a_request_becomes_a_command(body: dict[str, Any], command: bytes) -> None:
    assert read_reservation_request(json.dumps(body).encode(), "show", LIMITS) == command


@given(
    names=st.tuples(*[st.text(st.characters(exclude_characters="#", codec="utf-8"), min_size=1, max_size=63)] * 3),
    count=st.integers(-(2**31), 1_000),
    seats=st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)), max_size=5),
    kind=st.sampled_from(["RANDOM", "SELF_PICK", "INVALID"]),
)
def test_whatever_is_asked_comes_through(names: tuple[str, str, str], count: int, seats: list[tuple[int, int]], kind: str) -> None:
    user, event, area = names
    seat_fields = [{"row": row, "col": col} for row, col in seats]
    if kind == "SELF_PICK" and seats:
        count = len(seats)
    body = {"userId": user, "areaId": area, "eventId": event, "numOfSeats": count, "seats": seat_fields, "type": kind}

    assert asked(body, event) == body | {"numOfSeat": 0}


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        {},
        {"userId": "ann"},
        {"areaId": "A"},
        {"userId": None, "areaId": "A"},
        {"userId": 5, "areaId": "A"},
        {"userId": "ann", "areaId": "A", "eventId": 5},
        {"userId": "ann", "areaId": "A", "type": 1},
        {"userId": "ann", "areaId": "A", "type": None},
        {"userId": "ann", "areaId": "A", "numOfSeats": "2"},
        {"userId": "ann", "areaId": "A", "numOfSeats": 1.5},
        {"userId": "ann", "areaId": "A", "numOfSeats": None},
        {"userId": "ann", "areaId": "A", "numOfSeats": -(2**31) - 1},
        {"userId": "ann", "areaId": "A", "numOfSeats": 2**31},
        {"userId": "ann", "areaId": "A", "seats": {}},
        {"userId": "ann", "areaId": "A", "seats": [{"row": 0}]},
        {"userId": "ann", "areaId": "A", "seats": [{"row": 2**31, "col": 0}]},
        {"userId": "ann", "areaId": "A", "seats": [[0, 0]]},
    ],
)
def test_a_reservation_with_a_field_of_another_type_or_none_is_refused(body: object) -> None:
    assert reservation_code(body) == "invalid_field"


@pytest.mark.parametrize(
    ("body", "event_id", "code"),
    [
        ({"userId": "ann", "areaId": "A", "eventId": "other"}, "show", "event_id_mismatch"),
        ({"userId": "ann", "areaId": "A", "eventId": ""}, "show", "event_id_mismatch"),
        ({"userId": "", "areaId": "A"}, "show", "empty_name"),
        ({"userId": "ann", "areaId": ""}, "show", "empty_name"),
        ({"userId": "ann", "areaId": "A"}, "", "empty_name"),
        ({"userId": "é" * 128, "areaId": "A"}, "show", "name_too_long"),
        ({"userId": "ann", "areaId": "i" * 256}, "show", "name_too_long"),
        ({"userId": "ann", "areaId": "A"}, "e" * 256, "name_too_long"),
        ({"userId": "ann", "areaId": "A"}, "a#b", "invalid_event_name"),
        ({"userId": "ann", "areaId": "A", "numOfSeats": 1_001}, "show", "too_many_seats"),
        *(
            (
                {"userId": "ann", "areaId": "A", "type": "SELF_PICK", "numOfSeats": n, "seats": [{"row": 0, "col": 0}]},
                "show",
                "seat_count_mismatch",
            )
            for n in (5, 2, 0, -1)
        ),
        ({"userId": "ann", "areaId": "A", "seats": [{"row": 0, "col": col} for col in range(1_001)]}, "show", "too_many_seats"),
    ],
)
def test_a_reservation_that_breaks_a_rule_is_refused(body: object, event_id: str, code: str) -> None:
    assert reservation_code(body, event_id) == code


def test_names_may_have_as_many_bytes_as_the_limit_says() -> None:
    body = {"userId": "é" * 127 + "x", "areaId": "A#" + "i" * 253}

    assert asked(body, "e" * 255)["userId"] == body["userId"]
    assert asked(body, "e" * 255)["areaId"] == body["areaId"]


@pytest.mark.parametrize("exchange", [pytest.param(one, id=one["note"]) for one in EXCHANGES if one["path"].startswith("/v1/reservation/")])
def test_a_golden_reservation_is_told_as_it_always_was(exchange: dict[str, Any]) -> None:
    reservation_id = exchange["path"].rpartition("/")[2]
    (record,) = (one for one in RECORDS if one["topic"] == "state.user.reservation" and one["key"] == reservation_id)

    assert reservation_json(b"\x00\x00\x00\x00\x02" + bytes.fromhex(record["avro_hex"])).decode() == exchange["response"]


@given(
    kind=st.sampled_from(ReservationType),
    state=st.sampled_from(State),
    texts=st.tuples(*[st.text()] * 4),
    # A reason may be empty, or end as a reservation without one does: its state, then 0.
    reason=st.sampled_from(["", "no", "\x00", "\x04\x00", "\x00\x04\x00"]),
    seats=st.lists(st.tuples(st.sampled_from([0, 1, 70]), st.sampled_from([0, 2, 8_200])), max_size=3),
    retired=st.integers(0, 2**31 - 1),
)
def test_every_reservation_is_told_with_all_its_fields(
    kind: ReservationType,
    state: State,
    texts: tuple[str, str, str, str],
    reason: str,
    seats: list[tuple[int, int]],
    retired: int,
) -> None:
    fields = dict(zip(("reservationId", "userId", "eventId", "areaId"), texts, strict=True)) | {
        "numOfSeats": 2,
        "numOfSeat": retired,
        "type": kind.name,
        "seats": [{"row": row, "col": col} for row, col in seats],
        "state": state.name,
        "failedReason": reason,
    }

    told = json.loads(reservation_json(avro.encode("Reservation", fields)))
    assert told == fields
    assert list(told) == list(fields)
