"""Ports of real processes: taken once, at the start, and answered from then on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.fleet import free_port
from tests.process.client import ask
from tests.process.server import Program, one_clear_line, run, serving, wait_until


def config(tmp_path: Path) -> Path:
    """Of a Kafka and a registry that nobody runs."""
    file = tmp_path / "client.properties"
    file.write_text("bootstrap.servers=127.0.0.1:1\nschema.registry.url=http://127.0.0.1:1\n")
    return file


@contextmanager
def waiting(tmp_path: Path, *options: str, workers: int = 1) -> Iterator[Program]:
    """A ticket role that waits for its registry."""
    command = ("ticket", "-a", str(workers), "-c", str(config(tmp_path)), "-d", str(tmp_path / "state"), *options)
    program = Program(tmp_path / "output", *command, cwd=tmp_path)
    try:
        wait_until(lambda: [line["event"] for line in program.lines()].count("waiting_for_schema_registry") == workers, "it waits")
        yield program
        program.stop()
    finally:
        program.kill()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_port_that_is_taken_is_said_before_anything_is_waited_for(tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("ticket", "-p", str(port), "-a", str(workers), "-c", str(config(tmp_path)), "-d", str(tmp_path / "state"), cwd=tmp_path)
        one_clear_line(done, [str(port), "in use", "choose another port"])


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_a_port_is_not_shared_with_a_second_run_of_the_program(tmp_path: Path, first: int, second: int) -> None:
    port = str(free_port())
    with waiting(tmp_path, "-p", port, workers=first):
        one_clear_line(
            run("ticket", "-p", port, "-a", str(second), "-c", str(config(tmp_path)), "-d", str(tmp_path / "other"), cwd=tmp_path),
            [port, "in use"],
        )


@pytest.mark.parametrize("workers", [1, 2])
async def test_until_it_serves_every_request_is_refused_with_a_problem_document(tmp_path: Path, workers: int) -> None:
    port, operators = free_port(), free_port()
    with waiting(tmp_path, "-p", str(port), "--metrics-port", str(operators), workers=workers):
        for method, path, body in (
            ("GET", "/v1/event", None),
            ("GET", "/v1/reservation/00000000-0000-7000-8000-000000000000", None),
            ("POST", "/v1/event", {"eventName": "concert"}),
            ("GET", "/v1/health_check", None),
            ("GET", "/v1/health_check/ready", None),
        ):
            reply = await ask(f"127.0.0.1:{port}", method, path, body)
            assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (503, "not_serving", "1")
        for asked in (port, operators):
            assert (await ask(f"127.0.0.1:{asked}", "GET", "/v1/health_check/live")).status == 200
        assert (await ask(f"127.0.0.1:{operators}", "GET", "/v1/health_check")).status == 503


def test_a_second_standalone_on_the_same_port_is_one_clear_line(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (_, address):
        port = address.rpartition(":")[2]
        one_clear_line(run("standalone", "-p", port, "-d", str(tmp_path / "other"), cwd=tmp_path), [port, "in use"])
