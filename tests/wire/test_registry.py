"""The built-in registry: ids are part of the format of every data directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ticketmaster.errors import Fatal
from ticketmaster.wire.registry import SCHEMA_IDS, forms_of, frame, load_schema

AVRO = Path(__file__).parents[2] / "avro"


def test_the_ids_are_what_they_always_were() -> None:
    assert SCHEMA_IDS == {
        "CreateReservation": 1,
        "Reservation": 2,
        "ReserveSeat": 3,
        "ReservationResult": 4,
        "AreaStatus": 5,
        "CreateEvent": 6,
        "ChangeReservation": 7,
        "ReleaseSeats": 8,
        "Event": 9,
        "Reservation.2": 10,
        "ReservationResult.2": 11,
        "CreateEvent.2": 12,
        "ChangeEvent": 13,
        "CancelEvent": 14,
        "CreateReservation.2": 15,
        "ReserveSeat.2": 16,
        "Event.2": 17,
        "CreateEvent.3": 18,
    }


def test_every_schema_file_is_registered_under_its_own_name() -> None:
    assert {path.stem for path in AVRO.glob("*.avsc")} == set(SCHEMA_IDS)
    for name in SCHEMA_IDS:
        schema = load_schema(name)
        assert schema == json.loads((AVRO / f"{name}.avsc").read_text(encoding="utf-8"))
        assert schema["name"] == name.partition(".")[0]


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ("CreateReservation", "userId eventId areaId numOfSeats numOfSeat type seats"),
        ("ReserveSeat", "reservationId eventId areaId numOfSeats numOfSeat type seats"),
        ("Reservation", "reservationId userId eventId areaId numOfSeats numOfSeat type seats state failedReason"),
        ("ReservationResult", "reservationId result seats errorCode errorMessage"),
        ("AreaStatus", "eventId areaId price rowCount colCount availableSeats seats"),
        ("CreateEvent", "artist eventName reservationOpeningTime reservationClosingTime eventStartTime eventEndTime areas"),
    ],
)
def test_the_fields_stand_in_the_order_that_others_read(record: str, fields: str) -> None:
    schema = load_schema(record)

    assert [field["name"] for field in schema["fields"]] == fields.split()
    package = "event" if record in {"ReserveSeat", "AreaStatus", "CreateEvent"} else "reservation"
    assert schema["namespace"] == f"lab.tall15421542.app.avro.{package}"


@pytest.mark.parametrize("later", [name for name in SCHEMA_IDS if "." in name])
def test_a_later_form_has_fields_with_defaults_behind_those_of_the_form_before(later: str) -> None:
    forms = forms_of(later.partition(".")[0])
    before, fields = load_schema(forms[forms.index(later) - 1])["fields"], load_schema(later)["fields"]

    assert fields[: len(before)] == before
    assert len(fields) > len(before)
    assert all("default" in field for field in fields[len(before) :])


def test_a_frame_is_five_bytes() -> None:
    assert frame(5) == b"\x00\x00\x00\x00\x05"
    assert frame(0x01020304) == b"\x00\x01\x02\x03\x04"


def test_a_schema_that_is_not_there_is_fatal_and_named() -> None:
    with pytest.raises(Fatal, match=r"Nothing\.avsc"):
        load_schema("Nothing")
