"""The client of a registry where it is not alone: schemas of others with the same bytes, registries that refuse, and what proxies say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.registry import ORIGINAL_SCHEMAS, Answer, Registry, registry_of_tests
from ticketmaster.errors import Retriable, UsageError
from ticketmaster.wire.registry import SCHEMA_IDS
from ticketmaster.wire.registry_settings import RegistrySettings
from ticketmaster.wire.schema_registry import SchemaRegistry, register_schemas, subjects

SUBJECT = next(subject for subject in subjects() if subject.record == "AreaStatus")
REQUESTS_MAX = 40


@pytest.fixture
def registry() -> Iterator[Registry]:
    with registry_of_tests(first_id=101) as registry:
        yield registry


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[SchemaRegistry]:
    async with SchemaRegistry(RegistrySettings(url=registry.url)) as client:
        yield client


@pytest.mark.parametrize("path", ["/x?token=s3cr3t", "/x#s3cr3t", "/12/s3cr3t@registry"])
async def test_no_error_tells_what_of_the_url_may_be_a_secret(path: str) -> None:
    # Nobody listens there.
    async with SchemaRegistry(RegistrySettings(url=f"http://127.0.0.1:1{path}")) as client:
        with pytest.raises(Retriable) as raised:
            await client.known_id(SUBJECT)
    assert "http://127.0.0.1:1" in str(raised.value)
    assert "s3cr3t" not in str(raised.value)


async def test_ids_of_others_whose_records_have_our_bytes_are_ours_too(registry: Registry, client: SchemaRegistry) -> None:
    theirs = registry.put_original()
    before = registry.subjects

    # It may be that we are not let register anything.
    registry.may_register = False

    ids = await register_schemas(client, pytest.fail)

    assert ids == theirs
    assert registry.subjects == before


async def test_second_forms_are_registered_behind_those_of_others_which_stay_ours(registry: Registry, client: SchemaRegistry) -> None:
    theirs = registry.put_original()

    first = await register_schemas(client, pytest.fail)
    again = await register_schemas(client, pytest.fail)

    assert first == again
    assert first.keys() == SCHEMA_IDS.keys()
    assert {record: first[record] for record in theirs} == theirs
    assert registry.subjects["state.user.reservation-value"] == [first["Reservation"], first["Reservation.2"]]


async def test_what_is_registered_word_for_word_goes_before_what_has_the_same_bytes(registry: Registry, client: SchemaRegistry) -> None:
    ours = registry.put(SUBJECT.name, json.loads(SUBJECT.schema))
    registry.put(SUBJECT.name, ORIGINAL_SCHEMAS[SUBJECT.name])

    assert await client.known_id(SUBJECT) == await client.register(SUBJECT) == ours


async def test_a_schema_with_other_bytes_is_not_taken_for_ours(registry: Registry, client: SchemaRegistry) -> None:
    schema = ORIGINAL_SCHEMAS[SUBJECT.name]
    theirs = registry.put(SUBJECT.name, schema | {"fields": [*schema["fields"], {"name": "more", "type": "int", "default": 0}]})

    assert await client.known_id(SUBJECT) is None
    assert await client.register(SUBJECT) != theirs
    assert len(registry.subjects[SUBJECT.name]) == 2


async def test_a_subject_with_something_that_is_no_avro_is_not_ours(registry: Registry, client: SchemaRegistry) -> None:
    registry.answers = lambda _method, path: Answer(200, {"id": 7, "schema": "syntax = proto3"}) if path.endswith("/latest") else None

    assert await client.known_id(SUBJECT) is None


async def test_a_registry_that_has_nothing_and_takes_nothing_is_asked_a_few_times_with_pauses(
    registry: Registry, client: SchemaRegistry
) -> None:
    conflict = Answer(409, {"error_code": 409, "message": "there is one already"})
    registry.answers = lambda method, path: conflict if method == "POST" and path.endswith("/versions") else None
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    with pytest.raises(UsageError, match="there is one already"):
        await client.register(SUBJECT)

    assert len(registry.asked) < REQUESTS_MAX
    assert loop.time() - began_s > 1


async def test_who_registers_second_finds_what_the_first_has_registered(registry: Registry, client: SchemaRegistry) -> None:
    refused: list[str] = []

    def first_wins(method: str, path: str) -> Answer | None:
        if method == "POST" and path.endswith("/versions") and not refused:
            refused.append(path)
            registry.put(SUBJECT.name, json.loads(SUBJECT.schema))
            return Answer(409, {"error_code": 409, "message": "at the same time"})
        return None

    registry.answers = first_wins

    assert await client.register(SUBJECT) == 101


PAGE = Answer(404, b"<html>default backend</html>", {"content-type": "text/html"})
LOGIN = Answer(302, b"", {"location": "https://login.example/"})
STRANGE = [PAGE, LOGIN, Answer(200, b"<html>welcome</html>"), Answer(200, [1]), Answer(404, {"error_code": 404, "message": "HTTP 404"})]


@pytest.mark.parametrize("answer", STRANGE, ids=lambda answer: f"{answer.status} {answer.body!r}"[:20])
async def test_a_page_instead_of_a_registry_is_a_mistake_at_first_and_an_outage_later(
    registry: Registry, client: SchemaRegistry, answer: Answer
) -> None:
    registry.put_original()
    registry.answers = lambda _method, _path: answer
    with pytest.raises(UsageError, match=r"schema\.registry\.url"):
        await client.lookup(SUBJECT)

    registry.answers = lambda _method, _path: None
    assert await client.known_id(SUBJECT) is not None
    registry.answers = lambda _method, _path: answer
    with pytest.raises(Retriable):
        await client.lookup(SUBJECT)


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (LOGIN, UsageError, "https://login.example/"),
        (Answer(407, b"<html>"), UsageError, "NO_PROXY"),
        (Answer(502, b"<html>" + b"x" * 10_000), Retriable, "a proxy"),
        (Answer(504, b"<html>"), Retriable, "504"),
        (Answer(425, b""), Retriable, "425"),
    ],
    ids=lambda value: str(getattr(value, "status", value))[:20],
)
async def test_what_a_proxy_says_is_told_in_few_words(
    registry: Registry, client: SchemaRegistry, answer: Answer, error: type[Exception], told: str
) -> None:
    registry.answers = lambda _method, _path: answer

    with pytest.raises(error, match=told) as raised:
        await client.lookup(SUBJECT)

    assert len(str(raised.value)) < 300


async def test_a_proxy_that_comes_between_while_schemas_are_registered_is_waited_for(registry: Registry, client: SchemaRegistry) -> None:
    told: list[str] = []
    registry.answers = lambda _method, _path: PAGE if 3 < len(registry.asked) < 6 else None

    ids = await register_schemas(client, told.append)

    assert sorted(ids) == sorted(SCHEMA_IDS)
    assert told
