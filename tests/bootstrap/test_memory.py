"""What the registry must know of a sample of the state, and what it may have learned since."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.registry import Registry, registry_of_tests
from ticketmaster.bootstrap.memory import Seen, forgotten
from ticketmaster.broker.port import TopicPartition
from ticketmaster.wire import topics
from ticketmaster.wire.registry import load_schema
from ticketmaster.wire.registry_settings import RegistrySettings
from ticketmaster.wire.schema_registry import SchemaRegistry

TOPIC = topics.AREA_STATUS
OURS = load_schema(TOPIC.record)


def with_fields(fields: list[dict[str, Any]]) -> dict[str, Any]:
    return OURS | {"fields": fields}


class Site:
    """A registry, and its client."""

    def __init__(self, registry: Registry, client: SchemaRegistry) -> None:
        self.registry = registry
        self.client = client

    async def told(self, schema: Any) -> str | None:  # noqa: ANN401 - JSON
        """The complaint about a sample that has the id of this schema; of None, one that nobody gave out."""
        number = 7_777 if schema is None else self.registry.put("any", schema)
        return await forgotten(self.client, [Seen(TOPIC, number, TopicPartition(TOPIC.name, 3), 17)])


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    with registry_of_tests() as registry:
        async with SchemaRegistry(RegistrySettings(url=registry.url)) as client:
            yield Site(registry, client)


@pytest.mark.parametrize(
    "schema",
    [
        OURS,
        OURS | {"doc": "another release"},
        OURS | {"name": f"{OURS['namespace']}.{OURS['name']}"},
        with_fields([*OURS["fields"], {"name": "more", "type": "int", "default": 0}]),
        # One that has a default.
        with_fields([field for field in OURS["fields"] if field["name"] != "seats"]),
    ],
    ids=["ours", "other words", "a full name", "a field more", "a field less"],
)
async def test_schemas_of_other_releases_are_known(site: Site, schema: dict[str, Any]) -> None:
    assert await site.told(schema) is None


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (None, "does not know"),
        (load_schema("Reservation"), "has as Reservation"),
        (with_fields([{"name": "id", "type": "string"}]), "has as AreaStatus"),
        ("string", "has as string"),
        ({"type": "record", "name": "AreaStatus"}, "has as AreaStatus"),
        ({"type": "record", "name": "AreaStatus", "fields": [1]}, "has as AreaStatus"),
        (["null", "string"], "has as"),
    ],
)
async def test_what_is_none_of_this_record_is_told_with_its_place_and_a_remedy(site: Site, schema: Any, said: str) -> None:  # noqa: ANN401
    told = await site.told(schema)

    assert told is not None
    assert told.startswith(f"{TOPIC.name}-3 @ 17 is of schema id ")
    assert said in told
    assert "restore its backup" in told
    assert len(told.splitlines()) == 1
