"""The client of a schema registry: on a real one, and on ones that misbehave."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fastavro
import httpx
import pytest

from tests.process.server import one_clear_line, run
from tests.support.kafka import Cluster
from tests.support.pipe import piped
from tests.support.registry import ORIGINAL_SCHEMAS
from ticketmaster.errors import Retriable, UsageError
from ticketmaster.wire.incoming import Incoming
from ticketmaster.wire.registry import SCHEMA_IDS, forms_of, frame, load_schema
from ticketmaster.wire.registry_settings import RegistrySettings
from ticketmaster.wire.schema_registry import SchemaRegistry, Subject, register_schemas, subjects
from ticketmaster.wire.topics import AREA_STATUS, CREATE_RESERVATION

AVRO = Path(__file__).parents[2] / "avro"
COMMANDS = next(subject for subject in subjects() if subject.name == f"{CREATE_RESERVATION.name}-value")


@pytest.fixture
def url(own_cluster: Cluster) -> str:
    """A registry without any subject of ours."""
    url = own_cluster.registry_url
    with httpx.Client(base_url=url) as client:
        for subject in client.get("/subjects").json():
            client.delete(f"/subjects/{subject}").raise_for_status()
    return url


@pytest.fixture
async def registry(url: str) -> AsyncIterator[SchemaRegistry]:
    async with SchemaRegistry(RegistrySettings(url=url)) as registry:
        yield registry


def other_schema(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The schema of CreateReservation with other fields: a value of None takes one away."""
    schema = load_schema("CreateReservation")
    kept = [field for field in schema["fields"] if field["name"] not in changes]
    return schema | {"fields": kept + [field for field in changes.values() if field is not None]}


NOTE = {"name": "note", "type": "string", "default": ""}
NUMERIC_USER = {"name": "userId", "type": "int"}


async def put(registry: SchemaRegistry, schema: dict[str, Any]) -> int:
    return await registry.register(Subject(COMMANDS.name, COMMANDS.record, json.dumps(schema)))


# --- Registering -------------------------------------------------------------------------------------------------------------


async def test_what_is_registered_is_found_again_under_the_same_id(registry: SchemaRegistry) -> None:
    assert [await registry.lookup(subject) for subject in subjects()] == [None] * len(SCHEMA_IDS)

    ids = await register_schemas(registry, pytest.fail)

    assert {subject.record: await registry.lookup(subject) for subject in subjects()} == ids
    assert await register_schemas(registry, pytest.fail) == ids
    for subject in subjects():
        assert await registry.schema(ids[subject.record]) == json.loads(subject.schema)


async def test_what_the_original_has_registered_is_used_and_nothing_added(registry: SchemaRegistry, url: str) -> None:
    theirs = {
        schema["name"]: await registry.register(Subject(subject, schema["name"], json.dumps(schema)))
        for subject, schema in ORIGINAL_SCHEMAS.items()
    }

    ids = await register_schemas(registry, pytest.fail)

    assert {record: ids[record] for record in theirs} == theirs
    # But for second forms, which are registered behind.
    versions = {schema["name"]: len(forms_of(schema["name"])) for schema in ORIGINAL_SCHEMAS.values()}
    async with httpx.AsyncClient(base_url=url) as client:
        found = {
            schema["name"]: len((await client.get(f"/subjects/{subject}/versions")).json()) for subject, schema in ORIGINAL_SCHEMAS.items()
        }
    assert found == versions
    assert await register_schemas(registry, pytest.fail) == ids


async def test_roles_that_start_at_once_agree(url: str) -> None:
    async def role() -> dict[str, int]:
        async with SchemaRegistry(RegistrySettings(url=url)) as registry:
            return await register_schemas(registry, pytest.fail)

    first, *others = await asyncio.gather(*(role() for _ in range(6)))

    assert others == [first] * 5


async def test_a_new_subject_takes_only_what_can_be_read_both_ways(registry: SchemaRegistry, url: str) -> None:
    await register_schemas(registry, pytest.fail)
    async with httpx.AsyncClient(base_url=url) as client:
        rule = (await client.get(f"/config/{COMMANDS.name}")).json()

    assert "FULL" in rule.values()
    with pytest.raises(UsageError, match="incompatible"):
        await put(registry, other_schema(userId=NUMERIC_USER))


async def test_an_incompatible_schema_that_is_there_is_refused_with_the_reason(registry: SchemaRegistry, url: str, tmp_path: Path) -> None:
    await put(registry, other_schema(userId=NUMERIC_USER))

    with pytest.raises(UsageError, match=f"CreateReservation is incompatible with what is registered as {COMMANDS.name}"):
        await registry.register(COMMANDS)

    config = tmp_path / "client.properties"
    config.write_text(f"schema.registry.url={url}")
    check = await asyncio.to_thread(run, "schemas", "check", "--json", "-c", str(config), cwd=tmp_path)
    register = await asyncio.to_thread(run, "schemas", "register", "-c", str(config), cwd=tmp_path)
    assert check.returncode == 1
    assert [report["record"] for report in json.loads(check.stdout) if report["incompatible"]] == [
        "CreateReservation",
        "CreateReservation.2",
    ]
    one_clear_line(register, ["CreateReservation", "incompatible"])


def test_the_commands_tell_what_is_there_and_what_they_did(url: str, tmp_path: Path) -> None:
    config = tmp_path / "client.properties"
    config.write_text(f"schema.registry.url={url}")

    before = run("schemas", "check", "--json", "-c", str(config), cwd=tmp_path)
    registered = run("schemas", "register", "--json", "-c", str(config), cwd=tmp_path)
    after = run("schemas", "check", "--json", "-c", str(config), cwd=tmp_path)

    assert [done.returncode for done in (before, registered, after)] == [0, 0, 0]
    assert {report["schema_id"] for report in json.loads(before.stdout)} == {None}
    assert json.loads(after.stdout) == json.loads(registered.stdout)
    assert all(report["schema_id"] > 0 for report in json.loads(after.stdout))


async def test_changed_files_are_checked_before_anybody_runs_them(registry: SchemaRegistry, url: str, tmp_path: Path) -> None:
    await register_schemas(registry, pytest.fail)
    config, folder = tmp_path / "client.properties", tmp_path / "avro"
    config.write_text(f"schema.registry.url={url}")
    shutil.copytree(AVRO, folder)

    async def check(changed: str) -> subprocess.CompletedProcess[str]:
        (folder / "CreateReservation.avsc").write_text(changed)
        return await asyncio.to_thread(run, "schemas", "check", "-c", str(config), "--avro", str(folder), cwd=tmp_path)

    good, bad = await check(json.dumps(other_schema(note=NOTE))), await check(json.dumps(other_schema(userId=NUMERIC_USER)))
    broken = await check("{")

    assert (good.returncode, bad.returncode) == (0, 1)
    assert "CreateReservation is compatible and not registered yet" in good.stdout
    assert "CreateReservation is INCOMPATIBLE" in bad.stdout
    one_clear_line(broken, ["CreateReservation.avsc", "is no Avro schema that can be read"])
    assert await registry.lookup(COMMANDS) is not None
    assert await registry.lookup(COMMANDS._replace(schema=json.dumps(other_schema(note=NOTE)))) is None


async def test_ids_that_nobody_gave_out_have_no_schema(registry: SchemaRegistry) -> None:
    assert [await registry.schema(number) for number in (999_999, 2**31 - 1, 2**32 - 1)] == [None] * 3


# --- Away, and back ----------------------------------------------------------------------------------------------------------


def through(url: str, port: int) -> RegistrySettings:
    return RegistrySettings(url=urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl())


async def test_a_role_waits_for_a_registry_that_is_away_and_tells_why(url: str, unused_tcp_port: int) -> None:
    told: list[str] = []
    async with SchemaRegistry(through(url, unused_tcp_port)) as registry:
        waiting = asyncio.create_task(register_schemas(registry, told.append))
        # Long enough for a second try.
        await asyncio.sleep(1)
        assert not waiting.done()
        async with piped(urlsplit(url).netloc, unused_tcp_port), asyncio.timeout(20):
            ids = await waiting

    assert sorted(ids) == sorted({subject.record for subject in subjects()})
    assert len(told) > 1
    assert all("does not answer" in reason for reason in told)


# --- Records of others -------------------------------------------------------------------------------------------------------

COMMAND = {"userId": "ann", "eventId": "concert", "areaId": "A", "numOfSeats": 2, "numOfSeat": 0, "type": "RANDOM", "seats": []}


def encoded(schema_id: int, schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return frame(schema_id) + out.getvalue()


async def test_a_command_of_another_version_is_read_as_one_of_ours(registry: SchemaRegistry) -> None:
    ids = await register_schemas(registry, pytest.fail)
    newer = other_schema(note=NOTE)
    newer_id = await put(registry, newer)
    incoming = Incoming(registry, ids, lambda *_: pytest.fail("it is there"))
    theirs = encoded(newer_id, newer, COMMAND | {"note": "aisle, please"})
    ours = encoded(ids["CreateReservation"], load_schema("CreateReservation"), COMMAND)

    assert newer_id != ids["CreateReservation"]
    assert list(await incoming.translate(CREATE_RESERVATION.name, [(b"1", theirs), (b"2", ours), (b"3", None)])) == [
        (b"1", ours),
        (b"2", ours),
        (b"3", None),
    ]


async def test_what_cannot_be_translated_stays_as_it_is_for_the_reader_to_refuse(registry: SchemaRegistry) -> None:
    ids = await register_schemas(registry, pytest.fail)
    newer = other_schema(note=NOTE)
    newer_id = await put(registry, newer)
    incoming = Incoming(registry, ids, lambda *_: pytest.fail("it is there"))
    bad = [b"", b"\x00", b"\x01abcdef", frame(999_999) + b"x", frame(2**32 - 1), frame(newer_id), frame(newer_id) + b"\xff" * 40]
    bad.append(encoded(newer_id, newer, COMMAND | {"note": ""}) + b"more")
    records = [(b"key", value) for value in bad]

    assert list(await incoming.translate(CREATE_RESERVATION.name, records)) == records
    # The schema of another record, whose fields ours has not.
    assert list(await incoming.translate(AREA_STATUS.name, records)) == records


async def test_while_the_registry_is_away_a_foreign_record_waits(url: str, registry: SchemaRegistry, unused_tcp_port: int) -> None:
    ids = await register_schemas(registry, pytest.fail)
    newer = other_schema(note=NOTE)
    newer_id = await put(registry, newer)
    waits: list[str] = []
    async with SchemaRegistry(through(url, unused_tcp_port)) as away:
        incoming = Incoming(away, ids, lambda topic, _: waits.append(topic))
        records = [(b"1", encoded(newer_id, newer, COMMAND | {"note": ""}))]
        ours = [(b"2", encoded(ids["CreateReservation"], load_schema("CreateReservation"), COMMAND))]
        waiting = asyncio.create_task(incoming.translate(CREATE_RESERVATION.name, records))
        await asyncio.sleep(0.7)
        assert not waiting.done()
        # Who needs no schema needs no registry.
        assert await incoming.translate(CREATE_RESERVATION.name, ours) == ours
        async with piped(urlsplit(url).netloc, unused_tcp_port), asyncio.timeout(20):
            assert [value for _, value in await waiting] == [value for _, value in ours]
    assert set(waits) == {CREATE_RESERVATION.name}


# --- Registries that answer something else -----------------------------------------------------------------------------------


@asynccontextmanager
async def answering(status: str, body: str, asked: list[str]) -> AsyncIterator[RegistrySettings]:
    """A server that says the same to everybody."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield RegistrySettings(url=f"http://127.0.0.1:{port}", username="ann", password="p:w")


@pytest.mark.parametrize(
    ("status", "body", "error", "told"),
    [
        ("401 Unauthorized", "{}", UsageError, "basic.auth.user.info"),
        ("403 Forbidden", "", UsageError, "basic.auth.user.info"),
        ("404 Not Found", "<html>", UsageError, "with its path?"),
        ("404 Not Found", '{"error_code": 404, "message": "HTTP 404"}', UsageError, "with its path?"),
        ("200 OK", "<html>", UsageError, "is no schema registry"),
        ("200 OK", "[]", UsageError, "is no schema registry"),
        ("200 OK", '{"id": "x"}', UsageError, "is no schema registry"),
        ("422 Unprocessable", '{"error_code": 42201, "message": "not\\nAvro"}', UsageError, "not Avro"),
        ("500 Internal", '{"error_code": 50001, "message": "no store"}', Retriable, "no store"),
        ("429 Too Many", "", Retriable, "429"),
        ("503 Unavailable", "x" * 100_000, Retriable, "503"),
    ],
)
async def test_an_answer_that_is_none_is_an_error_that_says_what_to_look_at(
    status: str, body: str, error: type[Exception], told: str
) -> None:
    asked: list[str] = []
    async with answering(status, body, asked) as settings, SchemaRegistry(settings) as registry:
        with pytest.raises(error) as raised:
            await registry.lookup(COMMANDS)

    assert told in str(raised.value)
    assert len(str(raised.value)) < 1_500
    assert f"authorization: Basic {base64.b64encode(b'ann:p:w').decode()}" in asked[0].replace("Authorization", "authorization")
