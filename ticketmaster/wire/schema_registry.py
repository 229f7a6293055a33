"""A schema registry with Confluent's REST interface: ids for our schemas, schemas for the ids of others.

Subjects are named by topic (TopicNameStrategy): ``<topic>-value``. A subject that is new is set to FULL compatibility, as the records
of this system must be readable by those who have the schema before and the one after.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

from ticketmaster.errors import Retriable, UsageError
from ticketmaster.imports import without_rich
from ticketmaster.proxies import by_proxy, proxy_for
from ticketmaster.retry import until_answered
from ticketmaster.urls import told
from ticketmaster.wire import topics
from ticketmaster.wire.registry import ORIGINAL_RECORDS, forms_of, load_schema
from ticketmaster.wire.registry_settings import RegistrySettings
from ticketmaster.wire.translation import canonical_form

with without_rich():
    import httpx

_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
_SUBJECT_TOPICS = (
    topics.CREATE_EVENT,
    topics.CREATE_RESERVATION,
    topics.RESERVE_SEAT,
    topics.RESERVATION_RESULT,
    topics.AREA_STATUS,
    topics.USER_RESERVATION,
    topics.CHANGE_RESERVATION,
    topics.RELEASE_SEATS,
    topics.EVENT,
    topics.CHANGE_EVENT,
    topics.CANCEL_EVENT,
)
_COMPATIBILITY = "FULL"
_ID_MAX = 2**31 - 1
_MESSAGE_CHARS_MAX = 1_000
# Roles that start together register together. After so long they are through, and who is still refused will be.
_REGISTER_TRIES_MAX = 5
_REGISTER_PAUSE_S = 0.1

# A subject has few versions; of these the newest are looked at.
_VERSIONS_SEEN_MAX = 20

_T = TypeVar("_T")


class Subject(NamedTuple):
    """A subject of ours: its name, the record of its schema (or of one of its later forms), and the schema's text."""

    name: str
    record: str
    schema: str


def subjects(folder: Path | None = None) -> list[Subject]:
    """The subjects, with the schemas of this release or those of a folder. UsageError: one can't be read there.

    A subject comes once for each form of its record, the first form first.
    """
    return [
        Subject(f"{topic.name}-value", form, json.dumps(load_schema(form, folder)))
        for topic in _SUBJECT_TOPICS
        for form in forms_of(topic.record)
    ]


class _Found(NamedTuple):
    """What a registry has for a subject: the id that is ours to use, if any; whether the subject has no version at all."""

    known: int | None
    is_new: bool


class _Conflict(UsageError):
    """The registry answers 409: what is asked for does not go with what it has."""


class SchemaRegistry:
    """A client; every request raises Retriable while the registry is away, UsageError where waiting mends nothing."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._url = settings.url.rstrip("/")
        proxy = proxy_for(self._url)
        # For errors and logs.
        self.address = told(self._url)
        self._told = f"{self.address}{by_proxy(proxy)}"
        self._has_answered = False
        auth = httpx.BasicAuth(settings.username, settings.password) if settings.username else None
        try:
            self._client = httpx.AsyncClient(
                auth=auth,
                verify=settings.ssl_context or True,
                proxy=proxy.url if proxy else None,
                trust_env=False,
                timeout=settings.request_timeout_ms / 1000,
                headers={"accept": f"{_CONTENT_TYPE}, application/json", "content-type": _CONTENT_TYPE},
            )
        except (ValueError, OSError) as cause:
            raise UsageError(f"the schema registry {self.address} can't be used: {cause}") from cause

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def lookup(self, subject: Subject) -> int | None:
        """The id of a schema under its subject, None if it is not registered."""
        answer = await self._request("POST", f"/subjects/{quote(subject.name, safe='')}", {"schema": subject.schema})
        return None if answer is None else self._field(answer, "id", int)

    async def incompatibilities(self, subject: Subject) -> list[str]:
        """What makes a schema incompatible with the subject's last one; nothing if it is compatible or the first."""
        path = f"/compatibility/subjects/{quote(subject.name, safe='')}/versions/latest?verbose=true"
        answer = await self._request("POST", path, {"schema": subject.schema})
        if answer is None or self._field(answer, "is_compatible", bool):
            return []
        # Confluent's answer has a list, Apicurio's one text.
        reasons = answer.get("messages") or [answer.get("reason") or "the registry gives no reason"]
        return [" ".join(str(reason).split()) for reason in reasons]

    async def known_id(self, subject: Subject) -> int | None:
        """The id of a schema, or of the subject's latest one whose records have the very same bytes; None if there is neither."""
        return (await self._find(subject)).known

    async def _find(self, subject: Subject) -> _Found:
        known = await self.lookup(subject)
        if known is not None:
            return _Found(known, is_new=False)
        path = f"/subjects/{quote(subject.name, safe='')}/versions"
        latest = await self._request("GET", f"{path}/latest")
        if latest is None:
            return _Found(None, is_new=True)
        # Others may have registered it with another documentation: whatever differs is not in the records. And others, or we ourselves,
        # may have registered another form of the record since.
        seen, version = latest, int(latest.get("version") or 1)
        for _ in range(_VERSIONS_SEEN_MAX):
            if _same_form(self._field(seen, "schema", str), subject.schema):
                return _Found(self._field(seen, "id", int), is_new=False)
            version -= 1
            older = await self._request("GET", f"{path}/{version}") if version > 0 else None
            if older is None:
                break
            seen = older
        return _Found(None, is_new=False)

    async def register(self, subject: Subject) -> int:
        """The id of a schema (as of :meth:`known_id`), registered if it is not yet. UsageError: it is incompatible with what is there."""
        name = quote(subject.name, safe="")
        refusal = ""
        for attempt in range(_REGISTER_TRIES_MAX):
            if attempt:
                await asyncio.sleep(_REGISTER_PAUSE_S * 2 ** (attempt - 1))
            known, is_new = await self._find(subject)
            if known is not None:
                return known
            if is_new:
                # Before the first version: no crash leaves a subject without its rule. Who may register may not be let set rules.
                with contextlib.suppress(UsageError):
                    await self._request("PUT", f"/config/{name}", {"compatibility": _COMPATIBILITY})
            elif reasons := await self.incompatibilities(subject):
                raise _incompatible(subject, reasons)
            try:
                answer = await self._request("POST", f"/subjects/{name}/versions", {"schema": subject.schema})
            except _Conflict as conflict:
                # Of a new subject a registry may refuse all but the first who registers it.
                refusal = str(conflict)
            else:
                return self._field(answer, "id", int)
        raise _incompatible(subject, [refusal or "the registry gives no reason"])

    async def schema(self, schema_id: int) -> Any:  # noqa: ANN401 - a schema is JSON of any type
        """The schema of an id, None if the registry has none that is Avro."""
        # Registries count in 32 bits with a sign. Beyond, they answer as if they had no such path.
        if schema_id > _ID_MAX:
            return None
        answer = await self._request("GET", f"/schemas/ids/{schema_id}")
        if answer is None:
            return None
        return _json(self._field(answer, "schema", str))

    async def _request(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The answer's JSON object; None: the registry says that it has no such thing."""
        try:
            response = await self._client.request(method, self._url + path, content=None if body is None else json.dumps(body))
        except httpx.InvalidURL as cause:
            raise UsageError(f"schema.registry.url is no address: {self.address}: {cause}") from cause
        except httpx.UnsupportedProtocol as cause:
            raise UsageError(f"schema.registry.url must begin with http:// or https://, not {self.address}") from cause
        except httpx.HTTPError as cause:
            reason = str(cause) or type(cause).__name__
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                remedy = "name the authority that signed it in schema.registry.ssl.truststore.location"
                raise UsageError(f"the certificate of the schema registry {self.address} is not trusted: {reason}; {remedy}") from cause
            raise Retriable(f"the schema registry {self._told} does not answer: {reason}") from cause
        return self._answer(response, f"{method} {path.partition('?')[0]}")

    def _answer(self, response: httpx.Response, asked: str) -> Any:  # noqa: ANN401 - JSON
        status = response.status_code
        if 200 <= status < 300:
            return self._object(response)
        where = f"the schema registry {self._told} answers {status}"
        if status == 404:
            # Its own 404s have a code of five digits (40403: no such schema); any other comes from whatever else answers there.
            if _error_code(response) // 100 == 404:
                self._has_answered = True
                return None
            raise self._strange(f"{where} to {asked}: it is not there; is schema.registry.url right, with its path?")
        if 300 <= status < 400:
            target = response.headers.get("location", "nowhere")[:_MESSAGE_CHARS_MAX]
            raise self._strange(f"{where} to {asked}: it sends us to {target}; is schema.registry.url right?")
        if status in (401, 403):
            raise UsageError(f"{where}: see basic.auth.user.info, and whether this user may read and register schemas")
        if status == 407:
            raise UsageError(f"{where}: a proxy in between wants credentials; see HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
        if status == 409:
            raise _Conflict(_message(response))
        if status >= 500 or status in (408, 425, 429):
            raise Retriable(f"{where}: {_message(response)}")
        raise UsageError(f"{where} to {asked}: {_message(response)}")

    def _strange(self, text: str) -> UsageError | Retriable:
        """Something else than a registry answers. Where one has answered before, a proxy speaks for it until it is back."""
        return Retriable(text) if self._has_answered else UsageError(text)

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        answer = _json(response.content)
        if not isinstance(answer, dict):
            raise self._strange(f"{self.address} is no schema registry: it answers with something else; is schema.registry.url right?")
        return answer

    def _field(self, answer: dict[str, Any] | None, name: str, kind: type[_T]) -> _T:
        value = answer.get(name) if answer is not None else None
        if not isinstance(value, kind):
            raise self._strange(f"{self.address} is no schema registry: its answer has no {name}; is schema.registry.url right?")
        self._has_answered = True
        return value


def _same_form(text: str, ours: str) -> bool:
    try:
        return canonical_form(json.loads(text)) == canonical_form(json.loads(ours))
    # A registry keeps what it is given, and fastavro has many ways to say that it is no schema.
    except Exception:  # noqa: BLE001
        return False


def _json(text: str | bytes) -> Any:  # noqa: ANN401 - JSON
    """None for what is none, or nested so deeply that nobody can read it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _error_code(response: httpx.Response) -> int:
    try:
        return int(_json(response.content)["error_code"])
    except (ValueError, KeyError, TypeError):
        return 0


def _message(response: httpx.Response) -> str:
    try:
        text = str(_json(response.content)["message"])
    except (ValueError, KeyError, TypeError):
        text = response.text
        if text.lstrip().startswith("<"):
            return "a web page; does a proxy answer in its place?"
    return " ".join(text.split())[:_MESSAGE_CHARS_MAX]


def _incompatible(subject: Subject, reasons: list[str]) -> UsageError:
    return UsageError(
        f"the schema of {subject.record} is incompatible with what is registered as {subject.name}: {'; '.join(reasons)}. "
        "Run the release of this program that fits, or register a schema there that both can read"
    )


async def known_schemas(registry: SchemaRegistry, on_waiting: Callable[[str], None]) -> dict[str, int]:
    """As :func:`register_schemas`, but registers nothing: without those that are not there."""

    async def known() -> dict[str, int]:
        found = {subject.record: await registry.known_id(subject) for subject in subjects()}
        return {record: schema_id for record, schema_id in found.items() if schema_id is not None}

    return await until_answered(known, on_waiting)


async def register_schemas(registry: SchemaRegistry, on_waiting: Callable[[str], None]) -> dict[str, int]:
    """The ids of our schemas by record. Waits for ever for a registry that is away; ``on_waiting`` is told each time why.

    UsageError: the registry refuses one of those without which nothing works. Others that it refuses, to a process that may only read, say,
    are left out.
    """

    async def registered() -> dict[str, int]:
        ids = {}
        for subject in subjects():
            try:
                ids[subject.record] = await registry.register(subject)
            except UsageError:
                if subject.record in ORIGINAL_RECORDS:
                    raise
        return ids

    return await until_answered(registered, on_waiting)
