"""The built-in schema registry: every schema has an id that never changes."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from ticketmaster.errors import Fatal, UsageError

# Part of the format of every data directory: append, never reorder.
SCHEMA_IDS: dict[str, int] = {
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
# The forms of each record, the first one first. A later one has more behind the fields of the one before it, and is written only where
# that is set: until then all is as the original has it, byte for byte.
_FORMS: dict[str, tuple[str, ...]] = {
    record: tuple(sorted(form for form in SCHEMA_IDS if form.partition(".")[0] == record)) for record in SCHEMA_IDS if "." not in record
}

# Without an id for each of these nothing works. The others are of what the original does not have: without them it can't be used.
ORIGINAL_RECORDS = frozenset(record for record, schema_id in SCHEMA_IDS.items() if schema_id <= 6)

MAGIC = b"\x00"


def forms_of(record: str) -> tuple[str, ...]:
    """The schemas that the values of a record may have, the first form first."""
    return _FORMS[record]


def frame(schema_id: int) -> bytes:
    """Confluent's wire format: what stands before the Avro bytes, one 0 and the schema id in 4 bytes, big-endian."""
    return MAGIC + schema_id.to_bytes(4, "big")


def load_schema(record: str, folder: Path | None = None) -> dict[str, Any]:
    """The Avro schema of a record, from a folder, or from the ``avro`` folder of the repository or of the installed package."""
    name = f"{record}.avsc"
    packaged = resources.files("ticketmaster").joinpath("_avro", name)
    own = packaged if packaged.is_file() else Path(__file__).parents[2] / "avro" / name
    source = folder / name if folder else own
    try:
        schema: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        if folder:
            raise UsageError(f"{source} is no Avro schema that can be read: {cause}") from cause
        raise Fatal(f"the Avro schema {name} of this installation can't be read: {cause}") from cause
    return schema
