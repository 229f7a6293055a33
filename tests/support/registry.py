"""A schema registry of the tests' own, with Confluent's interface, which knows what a test gives it and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

# What the original registers, by subject.
ORIGINAL_SCHEMAS: Final[dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "original-schemas.json").read_text(encoding="utf-8")
)


class Answer(NamedTuple):
    """A status and a body, which is JSON unless it is bytes."""

    status: int
    body: object
    headers: Mapping[str, str] = {}


_NO_SUBJECT = Answer(404, {"error_code": 40401, "message": "Subject not found."})
_NO_SCHEMA = Answer(404, {"error_code": 40403, "message": "Schema not found"})


class Registry:
    """Ids count up from ``first_id``. ``asked`` has every request; ``answers`` may say something else than what is right."""

    def __init__(self, first_id: int = 1) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.answers: Callable[[str, str], Answer | None] = lambda _method, _path: None
        self.may_register = True
        self._next_id = first_id
        self._schemas: dict[int, Any] = {}
        self._versions: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def put(self, subject: str, schema: Any) -> int:  # noqa: ANN401 - JSON
        """Registers a schema behind the back of the program; returns its id."""
        with self._lock:
            known = next((number for number, found in self._schemas.items() if found == schema), None)
            if known is None:
                known, self._next_id = self._next_id, self._next_id + 1
                self._schemas[known] = schema
            versions = self._versions.setdefault(subject, [])
            if known not in versions:
                versions.append(known)
            return known

    def put_original(self) -> dict[str, int]:
        """Registers what the original registers, and nothing else; returns the ids by record."""
        return {schema["name"]: self.put(subject, schema) for subject, schema in ORIGINAL_SCHEMAS.items()}

    def forget(self, first_id: int = 1) -> tuple[dict[int, Any], dict[str, list[int]]]:
        """Everything is lost, and ids begin anew; returns what was lost, for :meth:`restore`."""
        with self._lock:
            lost = self._schemas, self._versions
            self._schemas, self._versions, self._next_id = {}, {}, first_id
            return lost

    def restore(self, lost: tuple[dict[int, Any], dict[str, list[int]]]) -> None:
        """As of a backup."""
        with self._lock:
            self._schemas, self._versions = lost

    @property
    def subjects(self) -> dict[str, list[int]]:
        """The ids of each subject's versions."""
        return {name: list(ids) for name, ids in self._versions.items()}

    def answer(self, method: str, path: str, body: Any) -> Answer:  # noqa: ANN401
        """What it says to a request."""
        self.asked.append(f"{method} {path}")
        told = self.answers(method, path)
        if told is not None:
            return told
        match [method, *path.partition("?")[0].strip("/").split("/")]:
            case ["GET", "schemas", "ids", number]:
                schema = self._schemas.get(int(number))
                return _NO_SCHEMA if schema is None else Answer(200, {"schema": json.dumps(schema)})
            case ["POST", "subjects", subject]:
                return self._looked_up(unquote(subject), json.loads(body["schema"]))
            case ["GET", "subjects", subject, "versions", version]:
                return self._version(unquote(subject), version)
            case ["POST", "subjects", subject, "versions"]:
                if not self.may_register:
                    return Answer(403, {"error_code": 40301, "message": "read only"})
                return Answer(200, {"id": self.put(unquote(subject), json.loads(body["schema"]))})
            case ["POST", "compatibility", *_]:
                return Answer(200, {"is_compatible": True})
            case ["PUT", "config", *_]:
                return Answer(200, body) if self.may_register else Answer(403, {"error_code": 40301, "message": "read only"})
            case _:
                pass
        return Answer(404, {"error_code": 404, "message": "HTTP 404 Not Found"})

    def _looked_up(self, subject: str, schema: Any) -> Answer:  # noqa: ANN401
        if subject not in self._versions:
            return _NO_SUBJECT
        found = next((number for number in self._versions[subject] if self._schemas[number] == schema), None)
        return _NO_SCHEMA if found is None else Answer(200, {"subject": subject, "id": found, "schema": json.dumps(schema)})

    def _version(self, subject: str, version: str) -> Answer:
        if subject not in self._versions:
            return _NO_SUBJECT
        ids = self._versions[subject]
        at = len(ids) if version == "latest" else int(version)
        number = ids[at - 1]
        return Answer(200, {"subject": subject, "id": number, "version": at, "schema": json.dumps(self._schemas[number])})


@contextmanager
def registry_of_tests(first_id: int = 1) -> Iterator[Registry]:
    """A registry that serves on a port of its own, from another thread."""
    registry = Registry(first_id)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            size = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            status, answer, headers = registry.answer(self.command, self.path, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the names that the base class looks for

        def log_message(self, *_: object) -> None:
            """The test says what it expects."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.url = f"http://127.0.0.1:{server.server_address[1]}"
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        yield registry
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
