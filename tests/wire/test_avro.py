"""The general codec: Confluent framing around fastavro, and clear errors for bytes that are something else."""

from __future__ import annotations

import pytest

from tests.support.records import create_reservation
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro


def test_a_record_is_framed_by_a_zero_and_its_schema_id_in_big_endian() -> None:
    assert create_reservation()[:5] == b"\x00\x00\x00\x00\x01"
    assert create_reservation(count=2, event="golden")[5:].hex() == "06616e6e0c676f6c64656e024104000200"


def test_missing_fields_have_their_defaults() -> None:
    fields = avro.decode("CreateReservation", avro.encode("CreateReservation", {"eventId": "e", "areaId": "a"}))

    assert fields == {"userId": "invalid", "eventId": "e", "areaId": "a", "numOfSeats": 0, "numOfSeat": 0, "type": "INVALID", "seats": []}


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01" + create_reservation()[1:], b"\x00\x00\x00\x00\x02" + create_reservation()[5:]])
def test_another_frame_is_no_such_record(data: bytes) -> None:
    with pytest.raises(InvalidRecord, match="does not frame a CreateReservation"):
        avro.decode("CreateReservation", data)


@pytest.mark.parametrize("end", range(5, len(create_reservation())))
def test_a_record_that_is_cut_off_anywhere_is_invalid(end: int) -> None:
    with pytest.raises(InvalidRecord, match="not a CreateReservation"):
        avro.decode("CreateReservation", create_reservation()[:end])


def test_bytes_behind_a_record_make_it_invalid() -> None:
    with pytest.raises(InvalidRecord, match="left behind"):
        avro.decode("CreateReservation", create_reservation() + b"\x00")


def test_text_that_is_not_utf8_makes_a_record_invalid() -> None:
    with pytest.raises(InvalidRecord, match="not a CreateReservation"):
        avro.decode("CreateReservation", create_reservation().replace(b"ann", b"an\xff"))
