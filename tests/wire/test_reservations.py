"""The spliced records, against fastavro: whatever the values are, the bytes are the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import Seat, create_reservation, failure, reserve_seat, seat_fields, success
from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType, State
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro
from ticketmaster.wire.binary import UNREADABLE, encode_int, encode_string
from ticketmaster.wire.reservations import (
    decided,
    encode_create,
    encode_run,
    encode_seats,
    encode_who_and_where,
    end_of_seats,
    failed_at_once,
    is_seats,
    processing,
    read_create,
    read_names,
    read_reservation,
    read_reserve,
    read_seats,
    refused,
    remembered,
    succeeded,
)
from ticketmaster.wire.reservations import (
    reserve_seat as spliced_reserve_seat,
)

ID = "51998dfc-abe9-4429-bce7-255ede8d55db"
INT32 = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, 63, 64, 8191, 8192, -1, -64, -65])
# Around the lengths whose own length takes a byte more.
TEXT = (
    st.text(max_size=20) | st.text(alphabet="aé東🎸", min_size=14, max_size=70) | st.sampled_from(["x" * 8191, "x" * 8192, "é" * 4096, ""])
)
SEATS = st.lists(st.tuples(INT32, INT32), max_size=6) | st.integers(60, 70).map(lambda count: [(1, col) for col in range(count)])
KINDS = st.sampled_from(list(ReservationType))


def in_blocks(blocks: Sequence[Sequence[Seat]], *, sized: bool) -> bytes:
    """An Avro array of seats in several blocks; a sized block has a negative count and its size in bytes."""
    parts = []
    for block in blocks:
        items = b"".join(encode_int(row) + encode_int(col) for row, col in block)
        parts.append((encode_int(-len(block)) + encode_int(len(items)) if sized else encode_int(len(block))) + items)
    return b"".join(parts) + b"\x00"


def create_fields(
    user: str, event: str, area: str, count: int, retired: int, kind: ReservationType, seats: list[Seat]
) -> dict[str, object]:
    """The fields of a ``CreateReservation``."""
    return {
        "userId": user,
        "eventId": event,
        "areaId": area,
        "numOfSeats": count,
        "numOfSeat": retired,
        "type": kind.name,
        "seats": seat_fields(seats),
    }


CREATES = st.builds(create_fields, TEXT, TEXT, TEXT, INT32, INT32 | st.just(0), KINDS, SEATS)


@given(TEXT, TEXT, TEXT, INT32, KINDS, SEATS)
def test_a_create_reservation_is_what_fastavro_writes(
    user: str, event: str, area: str, count: int, kind: ReservationType, seats: list[Seat]
) -> None:
    value = encode_create(encode_who_and_where(user, event, area), count, kind, encode_seats(seats))

    assert value == avro.encode("CreateReservation", create_fields(user, event, area, count, 0, kind, seats))


@given(st.integers(0, 9_000), st.integers(0, 9_000), st.integers(1, 100))
def test_a_run_is_the_array_of_its_seats(row: int, col: int, count: int) -> None:
    assert encode_run(row, col, count) == encode_seats([(row, taken) for taken in range(col, col + count)])


@given(SEATS)
def test_seats_are_read_back(seats: list[Seat]) -> None:
    raw = encode_seats(seats)

    assert read_seats(b"?" + raw + b"?", 1) == (seats, 1 + len(raw))


@given(blocks=st.lists(st.lists(st.tuples(INT32, INT32), min_size=1, max_size=4), max_size=4), sized=st.booleans())
def test_seats_in_several_blocks_are_read_as_fastavro_reads_them(blocks: list[list[Seat]], *, sized: bool) -> None:
    raw = in_blocks(blocks, sized=sized)
    value = create_reservation("SELF_PICK")[:-1] + raw

    seats, end = read_seats(value, len(value) - len(raw))

    assert end == len(value)
    assert seats == [seat for block in blocks for seat in block]
    assert avro.decode("CreateReservation", value)["seats"] == seat_fields(seats)


@given(TEXT, CREATES)
def test_what_a_command_asks_is_found_without_decoding_it(reservation_id: str, fields: dict[str, object]) -> None:
    create = avro.encode("CreateReservation", fields)
    without_user = {name: value for name, value in fields.items() if name != "userId"}
    reserve = avro.encode("ReserveSeat", {"reservationId": reservation_id, **without_user})

    for value, command, who in ((create, read_create(create), str(fields["userId"])), (reserve, read_reserve(reserve), reservation_id)):
        assert command.who == who.encode()
        assert command.names == encode_string(str(fields["eventId"])) + encode_string(str(fields["areaId"]))
        assert read_names(command.names) == (str(fields["eventId"]).encode(), str(fields["areaId"]).encode())
        assert (command.seat_count, ReservationType(command.kind).name) == (fields["numOfSeats"], fields["type"])
        seats, end = read_seats(value, command.seats_at)
        assert seat_fields(seats) == fields["seats"]
        assert end == len(value)
    assert spliced_reserve_seat(reservation_id.encode(), create, read_create(create).names_at) == reserve


@given(TEXT, CREATES, TEXT)
def test_a_reservation_is_its_command_with_id_state_and_reason(reservation_id: str, fields: dict[str, object], reason: str) -> None:
    create = avro.encode("CreateReservation", fields)
    reservation = {"reservationId": reservation_id, **fields}

    started = processing(reservation_id.encode(), create)
    failed = failed_at_once(reservation_id.encode(), create, reason)

    assert started == avro.encode("Reservation", reservation | {"state": "PROCESSING", "failedReason": ""})
    assert failed == avro.encode("Reservation", reservation | {"state": "FAILED", "failedReason": reason})


@given(TEXT, SEATS)
def test_a_success_is_what_fastavro_writes(reservation_id: str, seats: list[Seat]) -> None:
    assert succeeded(reservation_id.encode(), encode_seats(seats)) == success(reservation_id, seats)


@given(TEXT, st.sampled_from(ErrorCode), TEXT)
def test_a_refusal_is_what_fastavro_writes(reservation_id: str, code: ErrorCode, message: str) -> None:
    assert refused(reservation_id.encode(), Refusal(code, message)) == failure(reservation_id, code.name, message)


@given(TEXT, CREATES, SEATS)
def test_a_success_reserves_the_seats_it_gives(reservation_id: str, fields: dict[str, object], seats: list[Seat]) -> None:
    started = processing(reservation_id.encode(), avro.encode("CreateReservation", fields))

    decision = decided(started, success(reservation_id, seats))

    expected = {"reservationId": reservation_id, **fields, "seats": seat_fields(seats), "state": "RESERVED", "failedReason": ""}
    assert decision == (avro.encode("Reservation", expected), "")


@given(TEXT, CREATES, st.sampled_from(ErrorCode), TEXT, st.none() | SEATS)
def test_a_refusal_fails_with_its_code_and_message_and_keeps_what_was_asked(
    reservation_id: str, fields: dict[str, object], code: ErrorCode, message: str, seats: list[Seat] | None
) -> None:
    started = processing(reservation_id.encode(), avro.encode("CreateReservation", fields))
    result = {
        "reservationId": reservation_id,
        "result": "FAILED",
        "seats": None if seats is None else seat_fields(seats),
        "errorCode": code.name,
        "errorMessage": message,
    }

    decision = decided(started, avro.encode("ReservationResult", result))

    expected = {"reservationId": reservation_id, **fields, "state": "FAILED", "failedReason": f"[{code.name}]: {message}"}
    assert decision == (avro.encode("Reservation", expected), code.name)


def test_a_refusal_without_code_or_message_is_an_internal_error() -> None:
    started = processing(ID.encode(), create_reservation())
    result = avro.encode("ReservationResult", {"reservationId": ID, "result": "FAILED", "seats": None})

    decision = decided(started, result)

    assert decision is not None
    assert read_reservation(decision.reservation).failed_reason == "[INTERNAL_ERROR]: "


@pytest.mark.parametrize("sized", [False, True])
def test_seats_in_several_blocks_are_decided_like_those_in_one(*, sized: bool) -> None:
    raw = in_blocks([[(0, 1)], [(7, 300), (7, 301)]], sized=sized)
    started = processing(ID.encode(), create_reservation("SELF_PICK", 3)[:-1] + raw)

    failed = decided(started, failure(ID, "NOT_AVAILABLE", "no"))
    reserved = decided(processing(ID.encode(), create_reservation()), success(ID, [])[:-3] + raw + b"\x00\x00")

    for decision, state in ((failed, "FAILED"), (reserved, "RESERVED")):
        assert decision is not None
        reservation = decision.reservation
        assert read_reservation(reservation).seats == [(0, 1), (7, 300), (7, 301)]
        fields = avro.decode("Reservation", reservation)
        assert fields["state"] == state
        assert fields["seats"] == seat_fields([(0, 1), (7, 300), (7, 301)])


@given(
    fields=CREATES,
    state=st.sampled_from([state for state in State if state is not State.PROCESSING]),
    reason=TEXT | st.sampled_from(["\x00", "\x00\x00", "\x00\x00\x00", "x\x00\x00"]),
)
def test_a_decision_is_final(fields: dict[str, object], state: State, reason: str) -> None:
    reservation = avro.encode("Reservation", {"reservationId": ID, **fields, "state": state.name, "failedReason": reason})

    assert decided(reservation, success(ID, [(0, 0)])) is None
    assert decided(reservation, failure(ID, "NOT_AVAILABLE", "no")) is None


@pytest.mark.parametrize(
    "result",
    [
        {"result": "SUCCESS", "seats": None},
        {"result": "SUCCESS", "seats": [], "errorCode": "NOT_AVAILABLE"},
        {"result": "SUCCESS", "seats": [], "errorMessage": "but"},
        {"result": "SUCCESS", "seats": [{"row": 0, "col": 0}], "errorCode": "INVALID_EVENT_AREA"},
        {"result": "SUCCESS", "seats": [{"row": 0, "col": 0}], "errorCode": "INVALID_SEAT", "errorMessage": ""},
    ],
)
def test_a_success_without_seats_or_with_an_error_is_invalid(result: dict[str, object]) -> None:
    started = processing(ID.encode(), create_reservation())

    with pytest.raises(InvalidRecord, match="success"):
        decided(started, avro.encode("ReservationResult", {"reservationId": ID, **result}))


def test_a_refusal_with_an_unknown_code_is_invalid() -> None:
    result = bytearray(failure(ID, "INVALID_ARGUMENT", "no"))
    at = result.index(b"\x02\x08\x02\x04no") + 1
    result[at] = 10

    with pytest.raises(UNREADABLE, match="ErrorCode"):
        decided(processing(ID.encode(), create_reservation()), bytes(result))


@given(TEXT, CREATES, st.sampled_from(State), TEXT)
def test_every_field_of_a_reservation_is_read(reservation_id: str, fields: dict[str, object], state: State, reason: str) -> None:
    expected = {"reservationId": reservation_id, **fields, "state": state.name, "failedReason": reason}

    read = read_reservation(avro.encode("Reservation", expected))

    names = ("reservationId", "userId", "eventId", "areaId", "numOfSeats", "numOfSeat", "type", "seats", "state", "failedReason")
    values = (*read[:6], ReservationType(read.kind).name, seat_fields(read.seats), State(read.state).name, read.failed_reason)
    assert dict(zip(names, values, strict=True)) == expected


def test_the_support_records_are_not_made_by_the_codec_they_judge() -> None:
    assert reserve_seat(ID, "SELF_PICK", 1, [(2, 3)], event="golden")[5:].hex() == (
        "4835313939386466632d616265392d343432392d626365372d3235356564653864353564620c676f6c64656e024102000002040600"
    )


def test_short_seats_are_remembered_and_those_that_somebody_chose_are_not() -> None:
    looked_at: list[bytes] = []
    look = remembered(looked_at.append)
    short, chosen = encode_seats([(1, col) for col in range(4)]), encode_seats([(1, col) for col in range(1_000)])
    for seats in (short, chosen, short, chosen):
        look(seats)

    assert looked_at == [short, chosen, chosen]
    assert is_seats(chosen)
    assert not is_seats(chosen[:-1])


@given(SEATS, st.binary(max_size=3), st.integers(0, 200))
def test_where_seats_end_is_told_as_by_reading_them(seats: list[tuple[int, int]], behind: bytes, cut: int) -> None:
    encoded = encode_seats(seats)
    assert end_of_seats(b"x" + encoded + behind, 1) == 1 + len(encoded)

    # Any bytes, of which most are no seats.
    spoiled = encoded[:cut] + behind
    try:
        expected = read_seats(spoiled, 0)[1]
    except UNREADABLE:
        with pytest.raises(UNREADABLE):
            end_of_seats(spoiled, 0)
    else:
        assert end_of_seats(spoiled, 0) == expected
