"""The built-in schema registry: every subject has version 1 of its schema, under an id that never changes."""

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
}

MAGIC = b"\x00"


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
