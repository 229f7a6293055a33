"""From a foreign schema into ours: which bytes are the same, and how the others are written anew, in small steps."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, Final

import fastavro

from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import encode_int
from ticketmaster.wire.frames import FRAME_BYTES

# Below this many bytes a record is rewritten in one step of some milliseconds; above, its arrays go item by item, at four times the cost.
_WHOLE_BYTES_MAX: Final = 16_384
_VARINT_BYTES_MAX: Final = 10

# Rewrites what a stream has next, and returns the bytes; it may be left for a while wherever it yields.
_Steps = Iterator[None]
_Part = Callable[[io.BytesIO, list[bytes]], _Steps]


def canonical_form(schema: Any) -> str:  # noqa: ANN401 - a schema is JSON of any type
    """Avro's Parsing Canonical Form. Of two schemas that have the same one, each record has the same bytes.

    Documentation, defaults, aliases, logical types and what others add is not in it: none of it is in a record.
    """
    return fastavro.schema.to_parsing_canonical_form(fastavro.parse_schema(schema))


class Rewriter:
    """Writes records of one schema anew in another one, by Avro's rules of resolution."""

    def __init__(self, writer: Any, reader: Any) -> None:  # noqa: ANN401
        """Any error: one of them is no schema."""
        writer, reader = fastavro.parse_schema(writer), fastavro.parse_schema(reader)
        self._whole = _whole(writer, reader)
        self._in_parts = _record_in_parts(writer, reader) or self._whole

    def rewritten(self, value: bytes, frame: bytes, out: list[bytes]) -> _Steps:
        """Puts a framed record into ``out``, framed by ``frame``. Any error: its bytes are not of the schema, or can't be resolved."""
        stream = io.BytesIO(value[FRAME_BYTES:])
        parts = [frame]
        yield from (self._whole if len(value) <= _WHOLE_BYTES_MAX else self._in_parts)(stream, parts)
        if stream.read(1):
            raise InvalidRecord("bytes are left behind it")
        out.append(b"".join(parts))


def _whole(writer: Any, reader: Any) -> _Part:  # noqa: ANN401
    """Of any type, in one step."""

    def part(stream: io.BytesIO, parts: list[bytes]) -> _Steps:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, reader, fastavro.schemaless_reader(stream, writer, reader))
        parts.append(out.getvalue())
        yield

    return part


def _record_in_parts(writer: Any, reader: Any) -> _Part | None:  # noqa: ANN401
    """Field by field; None: these schemas can't be taken apart."""
    if not (_is(writer, "record") and _is(reader, "record") and writer["name"] == reader["name"]):
        return None
    read: list[tuple[_Part, str | None]] = []
    defaults: dict[str, bytes] = {}
    ours = {name: field for field in reader["fields"] for name in (field["name"], *field.get("aliases", ()))}
    try:
        for field in writer["fields"]:
            match = ours.get(field["name"])
            theirs = fastavro.parse_schema(field["type"])
            # What we don't have is read, to be passed over.
            wanted = theirs if match is None else fastavro.parse_schema(match["type"])
            read.append((_part(theirs, wanted), match and match["name"]))
        for field in reader["fields"]:
            if all(name != field["name"] for _, name in read):
                out = io.BytesIO()
                fastavro.schemaless_writer(out, fastavro.parse_schema(field["type"]), field["default"])
                defaults[field["name"]] = out.getvalue()
    # A field names a type that stands elsewhere in the record, or has no default.
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, LookupError, TypeError, ValueError):
        return None
    order = [field["name"] for field in reader["fields"]]

    def part(stream: io.BytesIO, parts: list[bytes]) -> _Steps:
        found = dict(defaults)
        for read_field, name in read:
            field_parts: list[bytes] = []
            yield from read_field(stream, field_parts)
            if name is not None:
                found[name] = b"".join(field_parts)
        parts += [found[name] for name in order]

    return part


def _part(writer: Any, reader: Any) -> _Part:  # noqa: ANN401
    if not (_is(writer, "array") and _is(reader, "array")):
        return _whole(writer, reader)
    item = _part(fastavro.parse_schema(writer["items"]), fastavro.parse_schema(reader["items"]))

    def part(stream: io.BytesIO, parts: list[bytes]) -> _Steps:
        items: list[bytes] = []
        total = 0
        while count := _read_long(stream):
            if count < 0:
                # The size of the block in bytes follows.
                count = -count
                _read_long(stream)
            if count > stream.getbuffer().nbytes - stream.tell():
                raise InvalidRecord(f"{count} items in fewer bytes")
            total += count
            for _ in range(count):
                yield from item(stream, items)
        # One block, as ours are.
        parts += [encode_int(total), *items, b"\x00"] if total else [b"\x00"]

    return part


def _is(schema: Any, kind: str) -> bool:  # noqa: ANN401
    return isinstance(schema, dict) and schema.get("type") == kind


def _read_long(stream: io.BytesIO) -> int:
    result = 0
    for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
        byte = stream.read(1)[0]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1)
    raise InvalidRecord("an integer of more than 64 bits")
