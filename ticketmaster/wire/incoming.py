"""Records that other programs wrote with another schema, brought into ours before anybody reads them.

A schema that differs from ours in nothing that is in the bytes (documentation, defaults, aliases) costs a frame: its records get ours.
Other records are written anew. What can't be stays as it is: its reader finds that the frame is not ours, and puts it aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from ticketmaster.errors import Fatal, Retriable, UsageError
from ticketmaster.retry import until_answered
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import is_in_layout
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.registry import MAGIC, forms_of, frame, load_schema
from ticketmaster.wire.schema_registry import SchemaRegistry
from ticketmaster.wire.translation import Rewriter, canonical_form

_Pair = tuple[bytes, bytes | None]
_RECORDS: Final = {topic.name: topic.record for topic in topics.ALL_TOPICS if topic.record}
# Of ids that nobody knows: so many are remembered, for so long, lest a flood of them becomes one of requests.
_UNKNOWN_MAX: Final = 1_000
_UNKNOWN_S: Final = 60.0
# Longer the loop is not held. So many records of another frame take some milliseconds.
_STEP_S: Final = 0.005
_AT_ONCE_MAX: Final = 1_000


class _Foreign:
    """How records of one kind that have one foreign schema become ours."""

    def __init__(self, record: str, schema: Any, frames: Mapping[str, bytes]) -> None:  # noqa: ANN401 - a schema is JSON of any type
        """``frames`` are ours, by form. Any error: the schema is none."""
        # In the first form that has all of its fields, lest some are lost; but for those that no form has.
        fields = {form: _fields_of(load_schema(form)) for form in frames}
        wanted = _fields_of(schema) & set().union(*fields.values())
        form = next(form for form in frames if wanted <= fields[form])
        ours = load_schema(form)
        self.frame = frames[form]
        self.has_our_bytes = canonical_form(schema) == canonical_form(ours)
        self._is_usual: Callable[[bytes], bool] = is_in_layout if record == topics.AREA_STATUS.record else _always
        self.rewriter = Rewriter(schema, ours)

    def only_framed_otherwise(self, value: bytes) -> bool:
        """Whether the record is ours but for its frame: Avro has several ways to write an array, and ours is not always theirs."""
        return self.has_our_bytes and self._is_usual(value)


def _always(_value: bytes) -> bool:
    return True


def _fields_of(schema: Any) -> set[str]:  # noqa: ANN401
    """The names of a record's fields."""
    return {field["name"] for field in schema["fields"]}


class Incoming:
    """The translator of a process. ``on_waiting(topic, reason)`` is told of an outage.

    ``ids`` are those of our schemas by record; they may be filled in until the first record comes.
    """

    def __init__(self, registry: SchemaRegistry, ids: Mapping[str, int], on_waiting: Callable[[str, str], None]) -> None:
        self._registry = registry
        self._ids = ids
        self._frames: dict[str, dict[str, bytes]] = {}
        self._foreign: dict[tuple[str, bytes], _Foreign | None] = {}
        self._unknown: dict[int, float] = {}
        self._on_waiting = on_waiting

    def try_translate(self, topic: str, records: Sequence[_Pair]) -> Sequence[_Pair] | None:
        """As :meth:`translate`, at once and at next to no cost; None: it would take a while, or must wait for the registry."""
        record = _RECORDS.get(topic)
        if record is None:
            return records
        found = {value[:FRAME_BYTES] for _, value in records if value is not None}
        if found:
            found.difference_update(self._frames_of(record).values())
        if not found:
            return records
        if len(records) > _AT_ONCE_MAX:
            return None
        foreign: dict[bytes, _Foreign] = {}
        for head in found:
            if (record, head) in self._foreign:
                known = self._foreign[record, head]
                if known:
                    foreign[head] = known
            elif self._may_be_known(head):
                return None
        translated: list[_Pair] = []
        for pair in records:
            key, value = pair
            if value is not None and (one := foreign.get(value[:FRAME_BYTES])):
                if not one.only_framed_otherwise(value):
                    return None
                pair = key, one.frame + value[FRAME_BYTES:]  # noqa: PLW2901
            translated.append(pair)
        return translated

    def _frames_of(self, record: str) -> dict[str, bytes]:
        """Our frames of a record, by form. Fatal: there is none, and none can be told from bad ones."""
        found = self._frames.get(record)
        if found is None:
            found = {form: frame(self._ids[form]) for form in forms_of(record) if form in self._ids}
            if not found:
                raise Fatal(f"there are records of {record}, whose schema the registry refused when this process began: start it again")
            self._frames[record] = found
        return found

    async def translate(self, topic: str, records: Sequence[_Pair]) -> Sequence[_Pair]:
        """The records of a topic, all in our schema that can be. The loop is never held for long, however many they are."""
        translated: list[_Pair] = []
        for start in range(0, len(records), _AT_ONCE_MAX):
            if start:
                await asyncio.sleep(0)
            some = records[start : start + _AT_ONCE_MAX]
            done = self.try_translate(topic, some)
            translated += await self._one_by_one(topic, some) if done is None else done
        return translated

    async def _one_by_one(self, topic: str, records: Sequence[_Pair]) -> Sequence[_Pair]:
        record, loop = _RECORDS[topic], asyncio.get_running_loop()
        foreign = {head: await self._known(topic, record, head) for head in {value[:FRAME_BYTES] for _, value in records if value}}
        translated: list[_Pair] = []
        since = loop.time()
        for key, value in records:
            one = foreign.get(value[:FRAME_BYTES]) if value else None
            if one is None or value is None:
                translated.append((key, value))
                continue
            out: list[bytes] = []
            if one.only_framed_otherwise(value):
                out.append(one.frame + value[FRAME_BYTES:])
            else:
                try:
                    for _ in one.rewriter.rewritten(value, one.frame, out):
                        if loop.time() - since >= _STEP_S:
                            await asyncio.sleep(0)
                            since = loop.time()
                # Whatever a foreign schema and foreign bytes make of each other: it is not ours to read.
                except Exception:  # noqa: BLE001
                    out = [value]
            translated.append((key, out[0]))
        return translated

    def _may_be_known(self, head: bytes) -> bool:
        """Whether to ask the registry for what stands behind a frame."""
        if len(head) < FRAME_BYTES or head[:1] != MAGIC:
            return False
        return self._unknown.get(int.from_bytes(head[1:], "big"), 0.0) <= asyncio.get_running_loop().time()

    async def _known(self, topic: str, record: str, head: bytes) -> _Foreign | None:
        """What is behind a frame that is not ours, None if there is nothing that could be translated."""
        if head in self._frames_of(record).values():
            return None
        if (record, head) in self._foreign:
            return self._foreign[record, head]
        if not self._may_be_known(head):
            return None
        schema_id = int.from_bytes(head[1:], "big")
        # While the registry is away nobody can tell what a record is: it is neither skipped nor put aside.
        schema = await until_answered(partial(self._schema, schema_id), partial(self._on_waiting, topic))
        if schema is None:
            if len(self._unknown) >= _UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown[schema_id] = asyncio.get_running_loop().time() + _UNKNOWN_S
            return None
        try:
            foreign = _Foreign(record, schema, self._frames_of(record))
        # A registry keeps what it is given, and fastavro has many ways to say that it is no schema.
        except Exception:  # noqa: BLE001
            foreign = None
        self._foreign[record, head] = foreign
        return foreign

    async def _schema(self, schema_id: int) -> Any:  # noqa: ANN401
        try:
            return await self._registry.schema(schema_id)
        except UsageError as cause:
            # It worked when this process began. A proxy's page or a password that is being changed ends nobody: it may pass.
            raise Retriable(str(cause)) from cause
