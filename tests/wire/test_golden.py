"""Records of the system this one is compatible with: the same bytes, the same partitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType
from ticketmaster.wire import avro, topics
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.events import read_announcement
from ticketmaster.wire.registry import SCHEMA_IDS, frame
from ticketmaster.wire.reservations import (
    encode_create,
    encode_seats,
    encode_who_and_where,
    failed_at_once,
    processing,
    read_reservation,
    refused,
    reserve_seat,
    succeeded,
)

RECORDS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden.json").read_text(encoding="utf-8"))["records"]
PARTITIONS = 20
_BODY_AT = 5


def value_of(record: dict[str, Any]) -> bytes:
    """A golden record's value in our framing."""
    return frame(SCHEMA_IDS[record["schema"]]) + bytes.fromhex(record["avro_hex"])


def of_record(schema: str) -> list[Any]:
    """The golden records of a schema, as parameters."""
    chosen = [record for record in RECORDS if record["schema"] == schema]
    return [pytest.param(record, id=f"{number}-{record['key']}") for number, record in enumerate(chosen)]


def seats_of(fields: dict[str, Any]) -> bytes:
    """The seats of a decoded record, encoded by the codec under test."""
    return encode_seats([(seat["row"], seat["col"]) for seat in fields["seats"]])


def create_of(fields: dict[str, Any]) -> bytes:
    """The ``CreateReservation`` whose fields a record carries, encoded by the codec under test."""
    who_and_where = encode_who_and_where(fields.get("userId", "anybody"), fields["eventId"], fields["areaId"])
    return encode_create(who_and_where, fields["numOfSeats"], ReservationType[fields["type"]], seats_of(fields))


SCHEMAS = sorted({topic.record for topic in topics.ORIGINAL_TOPICS})


def test_the_golden_records_are_all_there() -> None:
    assert len(RECORDS) == 105
    assert {record["schema"] for record in RECORDS} == set(SCHEMAS)
    assert {record["topic"] for record in RECORDS} == {
        topic.name for topic in topics.ORIGINAL_TOPICS if topic != topics.AREA_REPARTITION
    } | {"ticket-service-Reservation-changelog"}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_golden_record_is_written_again_with_the_same_bytes(schema: str) -> None:
    records = [value_of(record) for record in RECORDS if record["schema"] == schema]

    assert records
    assert [avro.encode(schema, avro.decode(schema, value)) for value in records] == records


def test_every_golden_key_has_the_recorded_partition() -> None:
    assert [partition_of(record["key"].encode(), PARTITIONS) for record in RECORDS] == [record["partition"] for record in RECORDS]


@pytest.mark.parametrize("record", of_record("CreateReservation"))
def test_a_golden_create_reservation_is_encoded_to_the_same_bytes(record: dict[str, Any]) -> None:
    value = value_of(record)

    assert create_of(avro.decode("CreateReservation", value)) == value


@pytest.mark.parametrize("record", of_record("ReserveSeat"))
def test_a_golden_reserve_seat_is_spliced_to_the_same_bytes(record: dict[str, Any]) -> None:
    value = value_of(record)
    fields = avro.decode("ReserveSeat", value)
    create = create_of(fields)

    assert reserve_seat(fields["reservationId"].encode(), create, create.index(b"anybody") + len("anybody")) == value
    assert record["key"] == f"{fields['eventId']}#{fields['areaId']}"


@pytest.mark.parametrize("record", of_record("ReservationResult"))
def test_a_golden_result_is_encoded_to_the_same_bytes(record: dict[str, Any]) -> None:
    value = value_of(record)
    fields = avro.decode("ReservationResult", value)
    reservation_id = fields["reservationId"].encode()

    if fields["result"] == "SUCCESS":
        assert succeeded(reservation_id, seats_of(fields)) == value
    else:
        assert refused(reservation_id, Refusal(ErrorCode[fields["errorCode"]], fields["errorMessage"])) == value


@pytest.mark.parametrize("record", of_record("Reservation"))
def test_a_golden_reservation_is_spliced_to_the_same_bytes_and_read(record: dict[str, Any]) -> None:
    value = value_of(record)
    fields = avro.decode("Reservation", value)
    reservation_id = fields["reservationId"].encode()

    if fields["state"] == "PROCESSING":
        assert processing(reservation_id, create_of(fields)) == value
    elif fields["state"] == "FAILED":
        assert failed_at_once(reservation_id, create_of(fields), fields["failedReason"]) == value
    read = read_reservation(value)
    assert (read.reservation_id, read.user_id, read.failed_reason) == (fields["reservationId"], fields["userId"], fields["failedReason"])
    assert encode_seats(read.seats) == seats_of(fields)


@pytest.mark.parametrize("record", of_record("AreaStatus"))
def test_a_golden_area_status_is_parsed_and_written_again(record: dict[str, Any]) -> None:
    value = value_of(record)

    image, seats = AreaImage.parse(value)

    assert image.value(seats.available) == value
    fields = avro.decode("AreaStatus", value)
    assert seats.row_strings() == ["".join(".#"[not seat["isAvailable"]] for seat in row) for row in fields["seats"]]


def test_the_golden_event_announces_the_golden_areas() -> None:
    (record,) = (record for record in RECORDS if record["schema"] == "CreateEvent")

    name, areas, _ = read_announcement(value_of(record))

    assert name == record["key"] == "golden"
    opened = {
        AreaImage.all_free(b"golden", area.area_id.encode(), area.price, area.row_count, area.col_count).value(
            area.row_count * area.col_count
        )
        for area in areas
    }
    assert opened <= {value_of(record) for record in RECORDS if record["topic"] == topics.AREA_STATUS.name}
    assert len(opened) == 2
