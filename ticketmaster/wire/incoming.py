"""Records that other programs wrote with another schema, brought into ours before anybody reads them.

What can't be translated stays as it is: whoever reads it finds that the frame is not ours, and puts it aside.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import fastavro

from ticketmaster.retry import until_answered
from ticketmaster.wire import topics
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.registry import MAGIC, frame, load_schema
from ticketmaster.wire.schema_registry import SchemaRegistry

_Pair = tuple[bytes, bytes | None]
_RECORDS: Final = {topic.name: topic.record for topic in topics.ALL_TOPICS}
# Of ids that nobody knows: so many are remembered, for so long, lest a flood of them becomes one of requests.
_UNKNOWN_MAX: Final = 1_000
_UNKNOWN_S: Final = 60.0


class Incoming:
    """The translator of a process. ``ids`` are those of our schemas by record; ``on_waiting(topic, reason)`` is told of an outage."""

    def __init__(self, registry: SchemaRegistry, ids: Mapping[str, int], on_waiting: Callable[[str, str], None]) -> None:
        self._registry = registry
        self._frames = {record: frame(schema_id) for record, schema_id in ids.items()}
        self._readers = {record: fastavro.parse_schema(load_schema(record)) for record in ids}
        self._writers: dict[int, Any] = {}
        self._unknown: dict[int, float] = {}
        self._on_waiting = on_waiting

    def try_translate(self, topic: str, records: Sequence[_Pair]) -> Sequence[_Pair] | None:
        """As :meth:`translate`, at once; None: some record is not in our schema."""
        record = _RECORDS.get(topic)
        if record is None:
            return records
        ours = self._frames[record]
        return records if all(value is None or value.startswith(ours) for _, value in records) else None

    async def translate(self, topic: str, records: Sequence[_Pair]) -> Sequence[_Pair]:
        """The records of a topic, all in our schema that can be."""
        record = _RECORDS.get(topic)
        if record is None:
            return records
        ours = self._frames[record]
        frames = {value[:FRAME_BYTES] for _, value in records if value is not None}
        if not frames - {ours}:
            return records
        writers = {found: await self._writer(topic, found) for found in frames - {ours}}
        translated = []
        for key, value in records:
            writer = writers.get(value[:FRAME_BYTES]) if value is not None else None
            translated.append((key, value if writer is None or value is None else self._rewritten(record, writer, value)))
        return translated

    async def _writer(self, topic: str, found: bytes) -> Any:  # noqa: ANN401 - a schema as fastavro parses it
        """The schema behind a frame, None if there is none."""
        if len(found) < FRAME_BYTES or found[:1] != MAGIC:
            return None
        schema_id, now = int.from_bytes(found[1:], "big"), asyncio.get_running_loop().time()
        if schema_id in self._writers:
            return self._writers[schema_id]
        if self._unknown.get(schema_id, 0.0) > now:
            return None
        # While the registry is away nobody can tell what a record is: it is neither skipped nor put aside.
        schema = await until_answered(partial(self._registry.schema, schema_id), partial(self._on_waiting, topic))
        if schema is not None:
            try:
                self._writers[schema_id] = fastavro.parse_schema(schema)
            # A registry keeps what it is given: fastavro raises the last two for what is no schema at all.
            except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, TypeError, LookupError):
                schema = None
        if schema is None:
            if len(self._unknown) >= _UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown[schema_id] = now + _UNKNOWN_S
            return None
        return self._writers[schema_id]

    def _rewritten(self, record: str, writer: Any, value: bytes) -> bytes:  # noqa: ANN401
        reader, rest = self._readers[record], io.BytesIO(value[FRAME_BYTES:])
        try:
            fields = fastavro.schemaless_reader(rest, writer, reader)
            if rest.read(1):
                return value
            out = io.BytesIO()
            out.write(self._frames[record])
            fastavro.schemaless_writer(out, reader, fields)
        # Whatever a foreign schema and foreign bytes make of each other: it is not ours to read.
        except Exception:  # noqa: BLE001
            return value
        return out.getvalue()
