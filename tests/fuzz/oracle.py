"""What the OpenAPI document says about an answer: paths, statuses, headers and schemas are the document's, not the code's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

import jsonschema_rs

from tests.fuzz.answers import Answer
from ticketmaster.ticket.documents import OPENAPI_JSON
from ticketmaster.ticket.problems import TITLES

PROBLEM = "application/problem+json"
# What the HTTP layer answers by itself to what is no HTTP.
BARE_STATUSES = {400, 408, 413, 414, 431, 501, 505}
_HEALTHY_5XX = 503
# Codes of what no path takes.
_ANYWHERE = ("invalid_host", "invalid_encoding")
Node = dict[str, Any]


@dataclass(slots=True)
class _Response:
    """A status of an operation: its required headers and what its content must be, by media type."""

    headers: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)

    def fault(self, answer: Answer) -> str | None:
        for name, validator in self.headers.items():
            value = answer.headers.get(name)
            if value is None:
                return f"header {name} is missing"
            if not validator.is_valid(int(value) if value.isascii() and value.isdigit() else value):
                return f"header {name}: {value}"
        if not self.content:
            return f"{len(answer.body)} bytes of body where none is documented" if answer.body else None
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        if media_type not in self.content:
            return f"content-type {media_type!r}"
        return self._body_fault(media_type, answer.body)

    def _body_fault(self, media_type: str, body: bytes) -> str | None:
        try:
            text = body.decode()
            document = json.loads(text) if media_type.endswith("json") else text
        except ValueError as cause:
            return f"the body is no {media_type}: {cause}"
        wrong = next(self.content[media_type].iter_errors(document), None)
        return f"the body breaks its schema: {wrong.message[:200]}" if wrong else None


class Oracle:
    """Judges answers."""

    def __init__(self, document: Node | None = None) -> None:
        self._document: Node = document or json.loads(OPENAPI_JSON)
        # Each holds all components: headers and bodies of one schema share one.
        self._validators: dict[str, Any] = {}
        self._paths: list[tuple[re.Pattern[str], dict[str, dict[int, _Response]]]] = []
        for template, item in self._document["paths"].items():
            # A name may hold a slash, an id has none.
            plain = re.escape(template).replace(r"\{reservationId\}", "[^/]*")
            pattern = re.compile(re.sub(r"\\{\w+\\}", ".*", plain), re.DOTALL)
            operations = {method.upper(): self._responses(operation) for method, operation in item.items() if method != "parameters"}
            self._paths.append((pattern, operations))

    def _resolved(self, node: Node) -> Node:
        while "$ref" in node:
            found: Any = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node

    def _validator(self, schema: Node) -> Any:  # noqa: ANN401 - a validator of jsonschema_rs
        text = json.dumps(schema, sort_keys=True)
        if text not in self._validators:
            self._validators[text] = jsonschema_rs.Draft202012Validator({**schema, "components": self._document["components"]})
        return self._validators[text]

    def _responses(self, operation: Node) -> dict[int, _Response]:
        found = {}
        for status, reference in operation["responses"].items():
            response = self._resolved(reference)
            headers = {name.lower(): self._resolved(one) for name, one in response.get("headers", {}).items()}
            found[int(status)] = _Response(
                {name: self._validator(one["schema"]) for name, one in headers.items() if one.get("required")},
                {name: self._validator(one.get("schema", {})) for name, one in response.get("content", {}).items()},
            )
        return found

    def fault(self, method: bytes, target: bytes | None, answer: Answer) -> str | None:
        """The fault of an answer to a request; None: it is documented. ``target`` None: nobody can tell which path was asked for."""
        general = _general_fault(answer, bodiless=method == b"HEAD")
        if general or method == b"HEAD":
            return general
        if answer.status == 204:
            told = method == b"OPTIONS" and "OPTIONS" in answer.headers.get("allow", "").split(", ")
            return None if told else "status 204 is not documented but of OPTIONS, with Allow"
        if target is None:
            return self._documented([responses for _, operations in self._paths for responses in operations.values()], answer)
        path, asked = _path(target), method.decode("latin-1")
        operations = [one for pattern, one in self._paths if pattern.fullmatch(path)]
        if answer.status == 400 and _code(answer) in _ANYWHERE:
            return None
        by_method = [one[asked] for one in operations if asked in one]
        if by_method:
            return self._documented(by_method, answer) or _allow_fault(asked, answer)
        # A parameter that is empty makes it another path, or none.
        statuses = {405 if operations else 404} | ({404} if "//" in path or path.endswith("/") else set())
        if answer.status not in statuses:
            return f"status {answer.status}, though the document has no {asked[:20]} here"
        if answer.status == 404:
            return None if _code(answer) == "no_such_path" else f"code {_code(answer)} on a path that is not documented"
        return self._documented([responses for one in operations for responses in one.values()], answer) or _allow_fault(asked, answer)

    @staticmethod
    def _documented(candidates: list[dict[int, _Response]], answer: Answer) -> str | None:
        faults = [responses[answer.status].fault(answer) for responses in candidates if answer.status in responses]
        if not faults:
            return f"status {answer.status} is not documented"
        return None if None in faults else faults[0]


def _path(target: bytes) -> str:
    without_host = re.sub(rb"^[A-Za-z]+://[^/?#]*", b"", target)
    return unquote_to_bytes(re.split(rb"[?#]", without_host, maxsplit=1)[0]).decode("utf-8", "replace") or "/"


def _code(answer: Answer) -> str:
    code: str = json.loads(answer.body)["code"]
    return code


def _allow_fault(asked: str, answer: Answer) -> str | None:
    return f"405, though {asked} is allowed" if asked in answer.headers.get("allow", "").split(", ") else None


def is_bare(answer: Answer) -> bool:
    """Whether the HTTP layer refuses without having asked anybody."""
    return answer.status in BARE_STATUSES and not answer.body and "content-type" not in answer.headers


def _general_fault(answer: Answer, *, bodiless: bool) -> str | None:
    if answer.status >= 500 and answer.status != _HEALTHY_5XX:
        return f"status {answer.status}"
    if answer.status < 400:
        return None
    if answer.headers.get("content-type") != PROBLEM:
        return f"{answer.status} with content-type {answer.headers.get('content-type')!r}"
    if answer.headers.get("cache-control") != "no-store":
        return f"{answer.status} without cache-control: no-store"
    if ("retry-after" in answer.headers) != (answer.status in {429, 503}):
        return f"{answer.status} and retry-after: {answer.headers.get('retry-after')}"
    if (answer.status == 405) != ("allow" in answer.headers):
        return f"{answer.status} and allow: {answer.headers.get('allow')}"
    return None if bodiless else _problem_fault(answer)


def _problem_fault(answer: Answer) -> str | None:
    try:
        document = json.loads(answer.body)
    except ValueError:
        return f"{answer.status} with a body that is no JSON"
    if not isinstance(document, dict) or list(document) != ["type", "title", "status", "code", "detail"]:
        return f"{answer.status} with a body that is no problem document"
    expected = (f"/docs#{document['code']}", TITLES.get(answer.status), answer.status)
    if (document["type"], document["title"], document["status"]) != expected:
        return f"{answer.status} with a problem document that says otherwise: {document}"
    if not isinstance(document["detail"], str) or not document["detail"].endswith("."):
        return f"{answer.status} without a sentence: {document['detail']!r}"
    return None
