"""A schema registry with Confluent's REST interface: ids for our schemas, schemas for the ids of others.

Subjects are named by topic (TopicNameStrategy): ``<topic>-value``. A subject that is new is set to FULL compatibility, as the records
of this system must be readable by those who have the schema before and the one after.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import httpx

from ticketmaster.errors import Retriable, UsageError
from ticketmaster.wire import topics
from ticketmaster.wire.registry import load_schema

_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
_SUBJECT_TOPICS = (
    topics.CREATE_EVENT,
    topics.CREATE_RESERVATION,
    topics.RESERVE_SEAT,
    topics.RESERVATION_RESULT,
    topics.AREA_STATUS,
    topics.USER_RESERVATION,
)
_COMPATIBILITY = "FULL"
_BACKOFF_MIN_S = 0.5
_BACKOFF_MAX_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Where the registry is, and how it is spoken to."""

    url: str = "http://localhost:8081"
    username: str = ""
    password: str = field(default="", repr=False)
    ssl_context: ssl.SSLContext | None = None
    request_timeout_ms: int = 5_000


class Subject(NamedTuple):
    """A subject of ours: its name, the record of its schema, and the schema's text."""

    name: str
    record: str
    schema: str


def subjects() -> list[Subject]:
    """The subjects of the six topics."""
    return [Subject(f"{topic.name}-value", topic.record, json.dumps(load_schema(topic.record))) for topic in _SUBJECT_TOPICS]


class SchemaRegistry:
    """A client; requests raise Retriable while the registry is away, UsageError where it refuses for good."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._url = settings.url.rstrip("/")
        auth = httpx.BasicAuth(settings.username, settings.password) if settings.username else None
        try:
            self._client = httpx.AsyncClient(
                auth=auth,
                verify=settings.ssl_context or True,
                timeout=settings.request_timeout_ms / 1000,
                headers={"accept": f"{_CONTENT_TYPE}, application/json", "content-type": _CONTENT_TYPE},
            )
        except (ValueError, OSError) as cause:
            raise UsageError(f"the schema registry {self._url} can't be used: {cause}") from cause
        # A schema never changes under its id; None: the registry has said that there is none.
        self._by_id: dict[int, dict[str, Any]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def lookup(self, subject: Subject) -> int | None:
        """The id of a schema under its subject, None if it is not registered."""
        answer = await self._request("POST", f"/subjects/{quote(subject.name, safe='')}", {"schema": subject.schema})
        return None if answer is None else int(answer["id"])

    async def incompatibilities(self, subject: Subject) -> list[str]:
        """What makes a schema incompatible with the subject's last one; nothing if it is compatible or the first."""
        path = f"/compatibility/subjects/{quote(subject.name, safe='')}/versions/latest?verbose=true"
        answer = await self._request("POST", path, {"schema": subject.schema})
        if answer is None or answer["is_compatible"]:
            return []
        return [str(message) for message in answer.get("messages") or ["the registry gives no reason"]]

    async def register(self, subject: Subject) -> int:
        """The id of a schema, registered if it is not yet. UsageError: it is incompatible with what is registered."""
        known = await self.lookup(subject)
        if known is not None:
            return known
        path = f"/subjects/{quote(subject.name, safe='')}/versions"
        is_new = await self._request("GET", path) is None
        if not is_new and (reasons := await self.incompatibilities(subject)):
            raise _incompatible(subject, reasons)
        answer = await self._request("POST", path, {"schema": subject.schema}, refusals={409: subject})
        if answer is None:
            raise UsageError(f"{self._url} does not take schemas at {path}; is schema.registry.url right?")
        if is_new:
            await self._request("PUT", f"/config/{quote(subject.name, safe='')}", {"compatibility": _COMPATIBILITY})
        return int(answer["id"])

    async def schema(self, schema_id: int) -> dict[str, Any] | None:
        """The schema of an id, None if the registry has none."""
        if schema_id not in self._by_id:
            answer = await self._request("GET", f"/schemas/ids/{schema_id}")
            if answer is None:
                return None
            try:
                self._by_id[schema_id] = json.loads(answer["schema"])
            except (KeyError, ValueError):
                return None
        return self._by_id[schema_id]

    async def _request(self, method: str, path: str, body: object = None, refusals: dict[int, Subject] | None = None) -> Any:  # noqa: ANN401
        """The answer as JSON; None for 404."""
        try:
            response = await self._client.request(method, self._url + path, content=None if body is None else json.dumps(body))
        except httpx.InvalidURL as cause:
            raise UsageError(f"schema.registry.url is no address: {self._url}: {cause}") from cause
        except httpx.UnsupportedProtocol as cause:
            raise UsageError(f"schema.registry.url must begin with http:// or https://, not {self._url}") from cause
        except httpx.HTTPError as cause:
            raise Retriable(f"the schema registry {self._url} does not answer: {str(cause) or type(cause).__name__}") from cause
        status = response.status_code
        if status == 404:
            return None
        if status in (refusals or {}):
            raise _incompatible((refusals or {})[status], [_message(response)])
        if status in (401, 403):
            raise UsageError(f"the schema registry {self._url} lets us in no further ({status}); see basic.auth.user.info")
        if status >= 500 or status in (408, 429):
            raise Retriable(f"the schema registry {self._url} answers {status}: {_message(response)}")
        if status >= 300:
            raise UsageError(f"the schema registry {self._url} answers {status} to {method} {path}: {_message(response)}")
        try:
            return response.json()
        except ValueError as cause:
            raise UsageError(f"{self._url} is no schema registry: it answers {method} {path} with no JSON") from cause


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def _incompatible(subject: Subject, reasons: list[str]) -> UsageError:
    shown = "; ".join(" ".join(reason.split()) for reason in reasons)
    return UsageError(
        f"the schema of {subject.record} is incompatible with the one registered as {subject.name}: {shown}. "
        "Run the release of this program that fits, or evolve the registered schema"
    )


async def register_schemas(registry: SchemaRegistry, on_waiting: Callable[[str], None]) -> dict[str, int]:
    """The ids of our schemas by record. Waits for ever for a registry that is away; ``on_waiting`` is told once why."""
    backoff_s = _BACKOFF_MIN_S
    while True:
        try:
            return {subject.record: await registry.register(subject) for subject in subjects()}
        except Retriable as reason:
            if backoff_s == _BACKOFF_MIN_S:
                on_waiting(str(reason))
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)
