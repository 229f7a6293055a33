"""The seeds of the fuzzer: requests made up from the OpenAPI document by schemathesis, valid ones and broken ones, kept in a file.

Drawing takes up to 0.1 s a case, so it is done once for a number of cases, a seed and a document.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from tests.fuzz.messages import Message
from ticketmaster.ticket.documents import OPENAPI_JSON

MODES = {"valid": GenerationMode.POSITIVE, "broken": GenerationMode.NEGATIVE}
# Made by the client library, not by the document.
_LIBRARYS_OWN = {"user-agent", "accept-encoding", "accept", "connection", "content-length", "x-schemathesis-testcaseid"}
_PROCESSES = 2


class Case(msgspec.Struct, frozen=True):
    """A request that was drawn."""

    operation: str
    mode: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes | None

    def message(self) -> Message:
        """The request, ready to be changed."""
        headers = [(name.encode(), value.encode("latin-1")) for name, value in self.headers]
        host = (b"host", b"localhost")
        return Message(self.operation, self.method.encode(), self.target.encode(), [host, *headers], self.body)


@functools.cache
def operations() -> dict[str, Any]:
    """Schemathesis's operations by their label, `GET /v1/event`."""
    schema = schemathesis.openapi.from_dict(json.loads(OPENAPI_JSON))
    return {one.label: one for one in (result.ok() for result in schema.get_all_operations() if isinstance(result, Ok))}


def _takes_input(operation: Any) -> bool:  # noqa: ANN401 - schemathesis's own
    return bool(operation.body or operation.path_parameters or operation.query or operation.headers)


def _case(label: str, mode: str, drawn: Any) -> Case:  # noqa: ANN401 - schemathesis's own
    arguments = drawn.as_transport_kwargs(base_url="http://localhost")
    known = ("method", "url", "headers", "data", "json", "params", "cookies", "files")
    made = requests.Request(**{name: arguments[name] for name in known if name in arguments}).prepare()
    body = made.body.encode() if isinstance(made.body, str) else made.body
    assert body is None or isinstance(body, bytes)
    headers = [(_text(name), _text(value)) for name, value in made.headers.items() if _text(name).lower() not in _LIBRARYS_OWN]
    return Case(label, mode, str(made.method), made.path_url, headers, body)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass").decode("latin-1")


def draw(label: str, mode: str, cases: int, seed: int) -> list[Case]:
    """Cases of one operation: the same for the same arguments. An operation without parameters has one only."""
    operation = operations()[label]
    if not _takes_input(operation):
        return [_case(label, mode, operation.Case())] if mode == "valid" else []
    found: list[Case] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=cases, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(MODES[mode]))
    def collect(drawn: schemathesis.Case[Any]) -> None:
        found.append(_case(label, mode, drawn))

    collect()
    return found


def corpus(cases: int, seed: int, folder: Path) -> list[Case]:
    """``cases`` of each operation and mode, from a file in ``folder`` if they were drawn before."""
    versions = [version(name) for name in ("schemathesis", "hypothesis")]
    name = hashlib.blake2b(repr((cases, seed, versions)).encode() + OPENAPI_JSON, digest_size=8).hexdigest()
    path = folder / f"corpus-{name}.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=list[Case])
    wanted = [(label, mode, cases, seed) for label in operations() for mode in MODES]
    drawn = [case for cases_of_one in _draw_all(wanted) for case in cases_of_one]
    folder.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(drawn))
    new.replace(path)
    return drawn


def _draw_all(wanted: Sequence[tuple[str, str, int, int]]) -> list[list[Case]]:
    with ProcessPoolExecutor(_PROCESSES, get_context("spawn")) as pool:
        return [job.result() for job in [pool.submit(draw, *one) for one in wanted]]
