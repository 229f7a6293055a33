"""What holds, payments and extensions add to bodies, and to what is shown of events and reservations."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import area_status, create_reservation
from ticketmaster.domain.event import EventLimits
from ticketmaster.domain.life import Life
from ticketmaster.domain.reservation import State
from ticketmaster.ticket.bodies import event_json, read_event, read_extension, read_payment, reservation_json
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.problems import Problem
from ticketmaster.wire.events import encode_event, encode_rules, read_announcement
from ticketmaster.wire.lives import standing, stands
from ticketmaster.wire.reservations import processing

LIMITS = EventLimits()
WEEK_S = 604_800


def code_of(read: Callable[[], object]) -> str:
    with pytest.raises(Problem) as refused:
        read()
    problem = json.loads(refused.value.response[2])
    assert problem["status"] == 400
    code: str = problem["code"]
    return code


def announced(**more: object) -> bytes:
    area = {"areaId": "A", "rowCount": 1, "colCount": 2}
    return json.dumps({"eventName": "show", "areas": [area], **more}).encode()


def answered(**more: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(event_json(read_event(announced(**more), LIMITS, 0)))
    return answer


def test_an_event_has_the_hold_that_it_is_given() -> None:
    assert "holdSeconds" not in answered()
    assert "holdSecondsMax" not in answered()
    for given_s, given_max_s in ((600, None), (600, 600), (600, 900), (1, 1), (WEEK_S, WEEK_S), (6e2, 9.0e2)):
        more = {} if given_max_s is None else {"holdSecondsMax": given_max_s}
        answer = answered(holdSeconds=given_s, **more)
        assert (answer["holdSeconds"], answer["holdSecondsMax"]) == (int(given_s), int(given_max_s or given_s))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"holdSeconds": 0}, "invalid_hold"),
        ({"holdSeconds": -1, "holdSecondsMax": 5}, "invalid_hold"),
        ({"holdSeconds": 600, "holdSecondsMax": 599}, "invalid_hold"),
        ({"holdSeconds": WEEK_S + 1}, "invalid_hold"),
        ({"holdSeconds": 1, "holdSecondsMax": WEEK_S + 1}, "invalid_hold"),
        ({"holdSecondsMax": 600}, "invalid_hold"),
        ({"holdSeconds": None}, "invalid_field"),
        ({"holdSeconds": "600"}, "invalid_field"),
        ({"holdSeconds": 1.5}, "invalid_field"),
        ({"holdSeconds": 2**31}, "invalid_field"),
    ],
)
def test_a_hold_that_is_none_is_refused(more: dict[str, object], code: str) -> None:
    assert code_of(lambda: read_event(announced(**more), LIMITS, 0)) == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"{}", "invalid_field"),
        (b'{"reference":7}', "invalid_field"),
        (b'{"reference":null}', "invalid_field"),
        (b'{"reference":""}', "invalid_reference"),
        (json.dumps({"reference": "r" * 256}).encode(), "invalid_reference"),
        (json.dumps({"reference": "é" * 128}).encode(), "invalid_reference"),
        (b'{"reference":"\\ud800"}', "malformed_json"),
        (b'{"reference":"\xff"}', "malformed_json"),
    ],
)
def test_a_payment_without_a_good_reference_is_refused(body: bytes, code: str) -> None:
    assert code_of(lambda: read_payment(body, 255)) == code


def test_a_reference_is_any_text() -> None:
    for text in ("7", "r" * 255, "é" * 127, "\x00", "#"):
        assert read_payment(json.dumps({"reference": text, "more": 1}).encode(), 255) == text.encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{}", "invalid_field"),
        (b'{"seconds":"60"}', "invalid_field"),
        (b'{"seconds":0.5}', "invalid_field"),
        (b'{"seconds":0}', "invalid_extension"),
        (b'{"seconds":-1}', "invalid_extension"),
        (b'{"seconds":604801}', "invalid_extension"),
        (b'{"seconds":2147483648}', "invalid_field"),
    ],
)
def test_an_extension_without_a_good_number_of_seconds_is_refused(body: bytes, code: str) -> None:
    assert code_of(lambda: read_extension(body, WEEK_S)) == code


def test_an_extension_has_a_number_of_seconds() -> None:
    assert [read_extension(body, WEEK_S) for body in (b'{"seconds":1}', b'{"seconds":604800}', b'{"seconds":6e1}')] == [1, WEEK_S, 60]


@given(
    seats=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=5),
    state=st.sampled_from(State),
    reason=st.text(max_size=20),
    expires_ms=st.one_of(st.just(0), st.integers(1, 2**41)),
    reference=st.text(max_size=20),
    change_id=st.text(max_size=40),
    refusal=st.sampled_from(["", "hold_expired"]),
)
def test_a_reservation_of_the_second_form_shows_its_hold_and_its_payment(
    seats: list[tuple[int, int]], state: State, reason: str, expires_ms: int, reference: str, change_id: str, refusal: str
) -> None:
    create = create_reservation(seats=seats)
    first = processing(b"id", create)
    life = Life(expires_ms, expires_ms * 2, reference.encode(), change_id.encode(), refusal.encode())
    told = reservation_json(stands(first, standing(first).seats_end, state, reason.encode(), life))

    shown = json.loads(told)
    plain = json.loads(reservation_json(first))
    names = [*plain, *(["holdExpiresAt"] if expires_ms else []), *(["paymentReference"] if reference else [])]
    assert list(shown) == names
    assert (shown["state"], shown["failedReason"]) == (state.name, reason)
    assert shown["seats"] == plain["seats"] == [{"row": row, "col": col} for row, col in seats]
    assert shown.get("paymentReference", "") == reference
    if expires_ms:
        assert b'"holdExpiresAt":%d.%03d000000' % (expires_ms // 1_000, expires_ms % 1_000) in told


def rules(**more: object) -> bytes:
    announcement = read_announcement(encode_event(read_event(announced(**more), LIMITS, 0)))
    return encode_rules(announcement.event_id, announcement.rules._replace(revision=1 if more else 0))


def test_a_catalog_shows_the_hold_of_an_event_that_has_one() -> None:
    catalog = Catalog(lambda: True)
    for name, more in (("held", {"holdSeconds": 60, "holdSecondsMax": 90}), ("free", {})):
        key = name.encode()
        if name == "held":
            assert catalog.apply_rules([(key, rules(**more))]) == []
        catalog.apply([(key + b"#A", area_status(1, 2, event=name))])
        if name == "free":
            assert catalog.apply_rules([(key, rules(**more))]) == []

    held, free = catalog.event("held"), catalog.event("free")
    assert held
    assert free
    shown = json.loads(held.body)
    assert list(shown) == ["eventName", "seats", "availableSeats", "areas", "holdSeconds", "holdSecondsMax", "status", "revision"]
    assert (shown["holdSeconds"], shown["holdSecondsMax"]) == (60, 90)
    assert list(json.loads(free.body)) == ["eventName", "seats", "availableSeats", "areas"]
    assert catalog.has_rules("free")

    catalog.apply_rules([(b"free", rules(holdSeconds=5)), (b"held", rules())])
    held, free = catalog.event("held"), catalog.event("free")
    assert held
    assert free
    assert "holdSeconds" not in json.loads(held.body)
    assert json.loads(free.body)["holdSecondsMax"] == 5


def test_rules_that_are_none_are_told_and_change_nothing() -> None:
    catalog = Catalog(lambda: True)
    catalog.apply([(b"show#A", area_status(1, 2))])
    before = catalog.event("show")
    unreadable = catalog.apply_rules([(b"show", b"\x00"), (b"show", None), (b"\xff", rules(holdSeconds=5))])

    assert [at for at, _ in unreadable] == [0, 2]
    assert catalog.event("show") == before
