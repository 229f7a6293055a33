"""What a hold, a payment and a change add to the records, held to fastavro."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.domain.life import NO_LIFE, Change, Kind, Life
from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType, State
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.changes import encode_change, read_change, read_release, release_seats, released_id
from ticketmaster.wire.holders import CLOSED, holder, holder_of, read_holder, result_of
from ticketmaster.wire.holds import Hold, for_now, without_hold
from ticketmaster.wire.lives import reserved_for_now, standing, stands
from ticketmaster.wire.reservations import (
    decided,
    encode_create,
    encode_seats,
    encode_who_and_where,
    processing,
    read_create,
    read_reserve,
    refused,
    reserve_seat,
    succeeded,
)
from ticketmaster.wire.rules import AreaRules, read_ruled_area, read_rules, ruled_area

TEXTS = st.text(st.characters(codec="utf-8"), max_size=80)
TIMES = st.integers(0, 253_402_300_799_999)
SECONDS = st.integers(0, 2**31 - 1)
SEATS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=20)
ID = b"01890a5d-ac96-774b-bcce-b302099a8057"


def create(count: int = 2) -> bytes:
    return encode_create(encode_who_and_where("ann", "concert", "A"), count, ReservationType.RANDOM, encode_seats([]))


def reserved(seats: list[tuple[int, int]]) -> bytes:
    decision = decided(processing(ID, create()), succeeded(ID, encode_seats(seats)))
    assert decision
    return decision.reservation


def fields_of(life: Life) -> dict[str, Any]:
    return {
        "holdExpiresAt": life.hold_expires_ms,
        "holdExpiresAtMax": life.hold_expires_max_ms,
        "paymentReference": life.payment_reference.decode(),
        "changeId": life.change_id.decode(),
        "changeRefusal": life.change_refusal.decode(),
    }


@given(SEATS, st.sampled_from(State), TEXTS, TIMES, TIMES, TEXTS, TEXTS)
def test_a_second_form_is_what_fastavro_writes_and_is_read_back(
    seats: list[tuple[int, int]], state: State, reason: str, expires: int, expires_max: int, reference: str, change: str
) -> None:
    life = Life(expires, expires_max, reference.encode(), change.encode(), b"hold_limit")
    first = reserved(seats)
    was = standing(first)
    assert (was.state, was.reason, was.life, was.seats) == (State.RESERVED, b"", NO_LIFE, encode_seats(seats))

    value = stands(first, was.seats_end, state, reason.encode(), life)

    fields = avro.decode("Reservation", first) | {"state": state.name, "failedReason": reason} | fields_of(life)
    assert value == avro.encode("Reservation.2", fields)
    found = standing(value)
    assert (found.state, found.reason, found.life, found.seats) == (state, reason.encode(), life, encode_seats(seats))
    # Again, from the second form to the second form.
    assert stands(value, found.seats_end, state, reason.encode(), life) == value


def test_a_success_with_a_hold_is_reserved_until_it_ends() -> None:
    first = reserved([(1, 2), (1, 3)])

    value = reserved_for_now(first, 1_000, 2_000)

    assert standing(value)[:3] == (State.RESERVED, b"", Life(1_000, 2_000))
    assert value == stands(first, standing(first).seats_end, State.RESERVED, b"", Life(1_000, 2_000))


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_reservation_with_bytes_too_few_or_too_many_is_unreadable(cut: int) -> None:
    first = reserved([(1, 2)])
    value = stands(first, standing(first).seats_end, State.PAID, b"", Life(1, 2, b"r", b"c", b"x"))

    with pytest.raises(UNREADABLE):
        standing(value[:-cut])
    with pytest.raises(UNREADABLE):
        standing(value + b"\x00" * cut)


@given(TEXTS, st.sampled_from(Kind), TEXTS, SECONDS, st.booleans())
def test_a_change_is_what_fastavro_writes_and_is_read_back(change_id: str, kind: Kind, reference: str, seconds: int, refund: bool) -> None:  # noqa: FBT001
    change = Change(change_id.encode(), kind, reference.encode(), seconds, refund)

    value = encode_change(change)

    fields = {"changeId": change_id, "change": kind.name, "reference": reference, "seconds": seconds, "refund": refund}
    assert value == avro.encode("ChangeReservation", fields)
    assert read_change(value) == change
    for broken in (value[:-1], value + b"\x00", b"\x00\x00\x00\x00\x01" + value[5:], value[:-1] + b"\x02"):
        with pytest.raises(UNREADABLE):
            read_change(broken)


def test_a_state_that_does_not_exist_is_unreadable() -> None:
    value = stands(reserved([(0, 0)]), standing(reserved([(0, 0)])).seats_end, State.PAID, b"", NO_LIFE)
    at = standing(value).seats_end

    for byte in (2 * len(State), 1, 0x80):
        with pytest.raises(UNREADABLE):
            standing(value[:at] + bytes([byte]) + value[at + 1 :])


@pytest.mark.parametrize("value", [b"", b"rubb", b"rubbi", b"rubbis", bytes(6)])
def test_what_is_no_release_names_an_id_that_nothing_has(value: bytes) -> None:
    assert len(released_id(value)) <= 1


@given(SEATS)
def test_a_release_names_the_area_and_the_seats(seats: list[tuple[int, int]]) -> None:
    reservation = reserved(seats)

    key, value = release_seats(ID, standing(reservation).names, standing(reservation).seats)

    listed = [{"row": row, "col": col} for row, col in seats]
    assert key == b"concert#A"
    assert value == avro.encode("ReleaseSeats", {"reservationId": ID.decode(), "eventId": "concert", "areaId": "A", "seats": listed})
    release = read_release(value)
    assert (release.reservation_id, release.names, release.seats) == (ID, read_create(create()).names, tuple(seats))
    assert released_id(value) == ID
    with pytest.raises(UNREADABLE):
        read_release(value + b"\x00")


@given(SEATS, SECONDS, SECONDS)
def test_a_success_carries_its_hold(seats: list[tuple[int, int]], seconds: int, seconds_max: int) -> None:
    first = succeeded(ID, encode_seats(seats))

    value = for_now(first, Hold(seconds, seconds_max))

    fields = avro.decode("ReservationResult", first) | {"holdSeconds": seconds, "holdSecondsMax": seconds_max}
    assert value == avro.encode("ReservationResult.2", fields)
    assert without_hold(value) == (first, Hold(seconds, seconds_max))
    assert without_hold(first) == (first, Hold())


def test_a_result_without_room_for_a_hold_is_unreadable() -> None:
    with pytest.raises(InvalidRecord):
        without_hold(for_now(succeeded(ID, encode_seats([(0, 0)])), Hold(1, 1))[:6])


@given(SECONDS, SECONDS, st.binary(max_size=20))
def test_rules_travel_with_the_area(seconds: int, seconds_max: int, status: bytes) -> None:
    area_rules = AreaRules(Hold(seconds, seconds_max))

    rules, found = read_ruled_area(ruled_area(area_rules, status))

    assert (read_rules(rules), found) == (area_rules, status)
    assert rules == area_rules.encoded()
    with pytest.raises(UNREADABLE):
        read_rules(rules + b"\x00")
    with pytest.raises(UNREADABLE):
        read_rules(b"\x00" + rules)


def test_a_holder_with_a_hold_gives_the_same_answer_again() -> None:
    command = read_reserve(reserve_seat(ID, create(), read_create(create()).names_at))
    result = for_now(succeeded(ID, encode_seats([(0, 1)])), Hold(600, 1_200))

    value = holder(command, result)

    assert result_of(ID, value) == result
    assert read_holder(ID, value) == (b"concert", b"A", [(0, 1)])


def test_a_closed_holder_has_no_answer() -> None:
    with pytest.raises(UNREADABLE):
        result_of(ID, CLOSED)


def test_the_holder_of_a_cancelled_reservation_is_closed() -> None:
    first = reserved([(0, 0)])
    end = standing(first).seats_end

    assert holder_of(stands(first, end, State.CANCELLED, b"[CANCELLED]: x", NO_LIFE)) == (b"concert#A", CLOSED)
    assert holder_of(stands(first, end, State.PAID, b"", Life(payment_reference=b"r"))) == holder_of(first)
    refusal = decided(processing(ID, create()), refused(ID, Refusal(ErrorCode.NOT_AVAILABLE, "no seats")))
    assert refusal
    assert holder_of(refusal.reservation)
