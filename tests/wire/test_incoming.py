"""Records of other programs become ours: the very bytes where the schemas allow it, else written anew, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import fastavro
import pytest

from tests.support.records import area_fields
from tests.support.registry import ORIGINAL_SCHEMAS, Answer, Registry, registry_of_tests
from tests.wire.test_golden import RECORDS
from ticketmaster.broker.port import Pair
from ticketmaster.errors import Fatal, Retriable
from ticketmaster.wire import avro, topics
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.binary import encode_int
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.incoming import Incoming
from ticketmaster.wire.registry import ORIGINAL_RECORDS, SCHEMA_IDS, frame, load_schema
from ticketmaster.wire.registry_settings import RegistrySettings
from ticketmaster.wire.schema_registry import SchemaRegistry

STATUS, STATUSES = "AreaStatus", topics.AREA_STATUS.name
SUBJECTS = {schema["name"]: subject for subject, schema in ORIGINAL_SCHEMAS.items()}


class Site:
    """A registry with the original's schemas, and the translator of a process."""

    def __init__(self, registry: Registry, client: SchemaRegistry) -> None:
        self.registry = registry
        self.theirs = registry.put_original()
        self.waits: list[str] = []
        self.incoming = Incoming(client, SCHEMA_IDS, lambda topic, reason: self.waits.append(f"{topic}: {reason}"))

    async def translated(self, topic: str, *values: bytes | None) -> list[bytes | None]:
        records: list[Pair] = [(b"%d" % at, value) for at, value in enumerate(values)]
        found = await self.incoming.translate(topic, records)
        assert [key for key, _ in found] == [key for key, _ in records]
        return [value for _, value in found]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    with registry_of_tests(first_id=101) as registry:
        async with SchemaRegistry(RegistrySettings(url=registry.url)) as client:
            yield Site(registry, client)


async def test_records_of_what_the_registry_refused_are_told_and_not_taken_for_bad_ones(site: Site) -> None:
    incoming = Incoming(site.incoming._registry, {record: SCHEMA_IDS[record] for record in ORIGINAL_RECORDS}, lambda *_: None)
    tick: Pair = (b"", None)

    assert incoming.try_translate(topics.CHANGE_RESERVATION.name, [tick]) == [tick]
    with pytest.raises(Fatal, match="ChangeReservation, whose schema the registry refused"):
        incoming.try_translate(topics.CHANGE_RESERVATION.name, [tick, (b"id", frame(99) + b"x")])


def encoded(schema_id: int, schema: dict[str, Any], fields: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), fields)
    return frame(schema_id) + out.getvalue()


def theirs_of(value: bytes, schema_id: int) -> bytes:
    return frame(schema_id) + value[FRAME_BYTES:]


@pytest.mark.parametrize(
    "topic",
    [topic for topic in topics.ORIGINAL_TOPICS if topic != topics.AREA_REPARTITION],
    ids=lambda topic: topic.name,
)
async def test_every_record_of_the_original_becomes_ours_with_the_same_bytes(site: Site, topic: topics.Topic) -> None:
    bodies = [bytes.fromhex(record["avro_hex"]) for record in RECORDS if record["topic"] == topic.name]
    assert bodies

    found = await site.translated(topic.name, *(frame(site.theirs[topic.record]) + body for body in bodies), None)

    assert found == [*(frame(SCHEMA_IDS[topic.record]) + body for body in bodies), None]
    # Whether the batch is asked for at once or not: from now on it costs nothing.
    records = [(b"k", frame(site.theirs[topic.record]) + body) for body in bodies]
    assert site.incoming.try_translate(topic.name, records) == [(b"k", value) for value in found[:-1]]


# What differs without a difference in the bytes, each by itself.
SAME_BYTES: dict[str, Callable[[dict[str, Any]], object]] = {
    "doc": lambda schema: schema.update(doc="other"),
    "a default": lambda schema: schema["fields"][2].update(default=7),
    "aliases": lambda schema: schema.update(aliases=["Other"]),
    "aliases of a field": lambda schema: schema["fields"][0].update(aliases=["event"]),
    "order": lambda schema: schema["fields"][0].update(order="ignore"),
    "Java's string type": lambda schema: schema["fields"][0].update(type={"type": "string", "avro.java.string": "String"}),
    "a logical type": lambda schema: schema["fields"][2].update(type={"type": "int", "logicalType": "date"}),
    "a full name": lambda schema: schema.update(name=f"{schema.pop('namespace')}.{schema['name']}"),
    "properties of one's own": lambda schema: schema.update(owner={"team": "sales"}),
}


@pytest.mark.parametrize("change", SAME_BYTES)
async def test_what_is_not_in_the_bytes_makes_no_difference(site: Site, change: str) -> None:
    schema = load_schema(STATUS)
    SAME_BYTES[change](schema)
    number = site.registry.put(SUBJECTS[STATUS], schema)
    value = avro.encode(STATUS, area_fields(3, 4, {(0, 1)}))
    await site.translated(STATUSES, theirs_of(value, number))

    # Even such bytes as fastavro could not read: they are for the reader to refuse.
    body = theirs_of(value, number)[:-3] + b"\xff" * 3
    assert site.incoming.try_translate(STATUSES, [(b"k", body), (b"k", value)]) == [
        (b"k", frame(SCHEMA_IDS[STATUS]) + body[FRAME_BYTES:]),
        (b"k", value),
    ]


async def test_a_name_of_another_schema_is_not_asked_for_twice(site: Site) -> None:
    for _ in range(3):
        await site.translated(STATUSES, frame(site.theirs[STATUS]) + b"x", frame(999) + b"x", b"", b"no frame")

    assert sorted(site.registry.asked) == [f"GET /schemas/ids/{site.theirs[STATUS]}", "GET /schemas/ids/999"]


def other_status(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The schema of an AreaStatus whose bytes are not ours: a field more in front, a wider price, and one that we don't have."""
    schema = load_schema(STATUS)
    fields = [field | ({"type": "int", "aliases": ["price"]} if field["name"] == "price" else {}) for field in schema["fields"]]
    return schema | {"fields": [{"name": "note", "type": "string", "default": ""}, *fields]} | more


@pytest.mark.parametrize(("rows", "cols"), [(2, 3), (20, 20), (100, 200), (1, 20_000), (20_000, 1)])
async def test_a_record_of_another_layout_is_written_anew(site: Site, rows: int, cols: int) -> None:
    schema = other_status()
    number = site.registry.put(SUBJECTS[STATUS], schema)
    fields = area_fields(rows, cols, {(0, 0)})

    (found,) = await site.translated(STATUSES, encoded(number, schema, fields | {"note": "sold by others"}))

    assert found == avro.encode(STATUS, fields)


async def test_fields_that_a_writer_leaves_out_have_our_default(site: Site) -> None:
    schema = load_schema(STATUS)
    short = schema | {"fields": [field for field in schema["fields"] if field["name"] != "seats"]}
    number = site.registry.put(SUBJECTS[STATUS], short)
    fields = area_fields(1, 1)

    (found,) = await site.translated(STATUSES, encoded(number, short, fields))

    assert found == avro.encode(STATUS, fields | {"seats": []})


def in_blocks(value: bytes, rows: int, cols: int) -> bytes:
    """The same AreaStatus as writers encode it that say of each block of an array how many bytes it has."""
    fields = avro.decode(STATUS, value)
    out = io.BytesIO()
    schema = load_schema(STATUS)
    for field in schema["fields"][:-1]:
        fastavro.schemaless_writer(out, fastavro.parse_schema(field["type"]), fields[field["name"]])
    parts = []
    for row in fields["seats"]:
        cells = b"".join(encode_int(seat["row"]) + encode_int(seat["col"]) + bytes([seat["isAvailable"]]) for seat in row)
        parts.append(encode_int(-cols) + encode_int(len(cells)) + cells + b"\x00")
    body = b"".join(parts)
    return value[:FRAME_BYTES] + out.getvalue() + encode_int(-rows) + encode_int(len(body)) + body + b"\x00"


@pytest.mark.parametrize(("rows", "cols"), [(3, 4), (100, 100)])
async def test_arrays_that_were_written_in_blocks_are_laid_out_as_ours(site: Site, rows: int, cols: int) -> None:
    value = avro.encode(STATUS, area_fields(rows, cols, {(1, 2)}))
    blocks = in_blocks(value, rows, cols)
    assert avro.decode(STATUS, blocks) == avro.decode(STATUS, value)

    (found,) = await site.translated(STATUSES, theirs_of(blocks, site.theirs[STATUS]))

    assert found == value
    AreaImage.parse(value)


@pytest.mark.parametrize("spoil", [lambda body: body[:-1], lambda body: body + b"\x00", lambda body: body[:40] + b"\xff" * 40])
async def test_what_cannot_be_written_anew_stays_for_its_reader_to_refuse(site: Site, spoil: Callable[[bytes], bytes]) -> None:
    schema = other_status()
    number = site.registry.put(SUBJECTS[STATUS], schema)
    whole = [encoded(number, schema, area_fields(rows, 100) | {"note": ""}) for rows in (1, 100)]
    values = [spoil(value) for value in whole]

    assert await site.translated(STATUSES, *values) == values


async def test_a_count_of_more_items_than_there_are_bytes_is_no_array(site: Site) -> None:
    schema = other_status()
    number = site.registry.put(SUBJECTS[STATUS], schema)
    value = encoded(number, schema, area_fields(1, 1) | {"note": "n" * 20_000})[:-6] + encode_int(1 << 60)

    async with asyncio.timeout(5):
        assert await site.translated(STATUSES, value) == [value]


@pytest.mark.parametrize(
    "schema", ["no schema", {"type": "record"}, {"type": "array", "items": "int"}, 7, None, load_schema("CreateEvent")]
)
async def test_a_schema_that_is_none_of_ours_changes_nothing(site: Site, schema: Any) -> None:  # noqa: ANN401
    value = frame(site.registry.put("other", schema)) + b"\x02x"

    assert await site.translated(STATUSES, value, value) == [value, value]


# --- The loop ----------------------------------------------------------------------------------------------------------------


async def longest_step_s(work: asyncio.Task[Any]) -> float:
    """The most CPU time that one step of this loop took while something ran: whatever else the machine does is left out."""
    longest, since = 0.0, time.thread_time()
    while not work.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, since = max(longest, now - since), now
    return longest


async def test_the_loop_is_not_held_by_a_large_area_or_by_many_small_ones(site: Site) -> None:
    schema = other_status()
    number = site.registry.put(SUBJECTS[STATUS], schema)
    large = encoded(number, schema, area_fields(100, 1_000) | {"note": ""})
    small = encoded(number, schema, area_fields(20, 20) | {"note": ""})
    await site.translated(STATUSES, small)

    work = asyncio.create_task(site.translated(STATUSES, large, *[small] * 500))
    longest_s = await longest_step_s(work)

    assert len(await work) == 501
    # 20 ms at most, and as much again for what the interpreter does meanwhile.
    assert longest_s < 0.1


async def test_eighteen_thousand_statuses_of_the_original_cost_little(site: Site) -> None:
    value = theirs_of(avro.encode(STATUS, area_fields(20, 20)), site.theirs[STATUS])
    await site.translated(STATUSES, value)
    batch = [(b"concert#A", value)] * 1_000

    began_s = time.process_time()
    for _ in range(18):
        assert site.incoming.try_translate(STATUSES, batch) is not None

    assert time.process_time() - began_s < 1.0


async def test_however_many_statuses_one_poll_has_the_loop_is_not_held(site: Site) -> None:
    value = avro.encode(STATUS, area_fields(1, 2))
    theirs = theirs_of(value, site.theirs[STATUS])
    await site.translated(STATUSES, theirs)
    batch = [(b"concert#A", theirs)] * 20_500
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    assert site.incoming.try_translate(STATUSES, batch) is None
    counting = asyncio.create_task(count())
    assert await site.incoming.translate(STATUSES, batch) == [(b"concert#A", value)] * 20_500
    counting.cancel()
    assert turns >= 20


# --- The registry ------------------------------------------------------------------------------------------------------------


async def test_while_the_registry_says_something_else_a_foreign_record_waits_and_ours_do_not(site: Site) -> None:
    page = Answer(404, b"<html>not here</html>", {"content-type": "text/html"})
    site.registry.answers = lambda _method, _path: page
    value = avro.encode(STATUS, area_fields(1, 2))
    theirs = theirs_of(value, site.theirs[STATUS])

    waiting = asyncio.create_task(site.translated(STATUSES, theirs))
    async with asyncio.timeout(10):
        while not site.waits:
            await asyncio.sleep(0.01)
    assert site.incoming.try_translate(STATUSES, [(b"k", value)]) == [(b"k", value)]
    assert site.incoming.try_translate(STATUSES, [(b"k", theirs)]) is None
    assert not waiting.done()

    site.registry.answers = lambda _method, _path: None
    async with asyncio.timeout(10):
        assert await waiting == [value]
    assert site.waits[0].startswith(f"{STATUSES}: ")


async def test_who_does_not_want_to_wait_for_the_registry_need_not(site: Site) -> None:
    def give_up(topic: str, reason: str) -> None:
        raise Retriable(f"{topic}: {reason}")

    site.registry.answers = lambda _method, _path: Answer(503, b"")
    async with SchemaRegistry(RegistrySettings(url=site.registry.url)) as client:
        impatient = Incoming(client, SCHEMA_IDS, give_up)
        with pytest.raises(Retriable, match="503"):
            await impatient.translate(STATUSES, [(b"k", frame(site.theirs[STATUS]) + b"x")])
