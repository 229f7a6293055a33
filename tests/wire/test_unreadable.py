"""Bytes that are not the record they should be: the byte-level readers refuse whatever fastavro refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import area_status, create_event, create_reservation, failure, reserve_seat, success
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro
from ticketmaster.wire.area_status import AreaHeader, AreaImage, area_names
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.events import read_announcement
from ticketmaster.wire.reservations import check_id, decided, processing, read_create, read_reserve

LONG = "x" * 100
STARTED = processing(b"id", create_reservation())

READERS: list[tuple[str, Callable[[bytes], object], list[bytes]]] = [
    (
        "CreateReservation",
        read_create,
        [create_reservation(), create_reservation("SELF_PICK", 2, [(0, 1), (70, 9)], user=LONG, area="東京")],
    ),
    ("ReserveSeat", read_reserve, [reserve_seat("id"), reserve_seat(LONG, "SELF_PICK", 1, [(3, 3)], event="zoë")]),
    (
        "ReservationResult",
        lambda value: decided(STARTED, value),
        [success("id", [(1, 2), (70, 3)]), failure("id", "NOT_AVAILABLE", LONG), failure("id", "INTERNAL_ERROR", "")],
    ),
    ("CreateEvent", read_announcement, [create_event("show", [("A", 1, 2, 3), (LONG, 1, 2, 3)])]),
    ("AreaStatus", AreaImage.parse, [area_status(2, 3), area_status(1, 70, {(0, 5)})]),
]
CASES = [(record, read, value) for record, read, values in READERS for value in values]


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, Callable[[bytes], object], bytes]:
    """A record with a few bytes changed, cut off, put in or put behind."""
    record, read, value = draw(st.sampled_from(CASES))
    data = bytearray(value)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["change", "cut", "insert", "append"])):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case "insert":
                data.insert(at, draw(st.integers(0, 255)))
            case _:
                data += draw(st.binary(min_size=1, max_size=4))
    return record, read, bytes(data)


@given(spoilt())
def test_what_is_read_of_a_spoilt_record_fastavro_reads_too(case: tuple[str, Callable[[bytes], object], bytes]) -> None:
    record, read, value = case
    try:
        read(value)
    except UNREADABLE:
        return
    avro.decode(record, value)


@pytest.mark.parametrize(("read", "value"), [(read, value) for _, read, value in CASES])
def test_a_record_in_the_frame_of_another_schema_is_unreadable(read: Callable[[bytes], object], value: bytes) -> None:
    read(value)
    with pytest.raises(InvalidRecord):
        read(b"\x00\x00\x00\x00\x63" + value[5:])


@pytest.mark.parametrize("read", [AreaHeader, area_names])
def test_a_table_of_areas_reads_no_other_frame(read: Callable[[bytes], object]) -> None:
    with pytest.raises(InvalidRecord):
        read(b"\x00\x00\x00\x00\x63" + area_status(1, 1)[5:])


@pytest.mark.parametrize(("rows", "cols"), [(0, 5), (-1, 1), (1 << 20, 1 << 20), (1_001, 1_000)])
def test_an_area_of_an_impossible_size_is_unreadable(rows: int, cols: int) -> None:
    with pytest.raises(InvalidRecord):
        read_announcement(create_event("show", [("A", 1, rows, cols)]))


@pytest.mark.parametrize("key", [b"", b"\xff\xfe"])
def test_a_key_that_is_no_text_is_no_reservation_id(key: bytes) -> None:
    with pytest.raises(UNREADABLE):
        check_id(key)
