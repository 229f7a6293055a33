"""Avro by fastavro: the codec of everything that is not hot, and the oracle that the hot codec is tested against."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import fastavro

from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.registry import load_schema


@cache
def _parsed(record: str) -> Any:
    return fastavro.parse_schema(load_schema(record))


def encode(record: str, value: dict[str, Any]) -> bytes:
    """A record's value in Confluent framing. ``value`` has the fields of the Avro schema."""
    out = io.BytesIO()
    out.write(FRAMES.by_record[record])
    fastavro.schemaless_writer(out, _parsed(record), value)
    return out.getvalue()


def decode(record: str, data: bytes) -> dict[str, Any]:
    """The fields of a framed record. InvalidRecord: another schema, or bytes that are not this record's."""
    if data[:FRAME_BYTES] != FRAMES.by_record[record]:
        raise InvalidRecord(f"{data[:FRAME_BYTES].hex()} does not frame a {record}")
    rest = io.BytesIO(data[FRAME_BYTES:])
    try:
        value = fastavro.schemaless_reader(rest, _parsed(record), None)
    except (EOFError, ValueError, IndexError, OverflowError) as cause:
        raise InvalidRecord(f"not a {record}: {cause}") from cause
    if rest.read(1):
        raise InvalidRecord(f"bytes are left behind a {record}")
    if not isinstance(value, dict):
        raise InvalidRecord(f"not a {record}")
    return value
