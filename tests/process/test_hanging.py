"""The end of a process comes in time, whatever hangs: a client, a collector, a registry, a broker, or the process itself."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.process.client import ask
from tests.process.server import Program, Server, environment, wait_until

DRAIN_MS = 500
# In order, on a machine that is busy; what waits for the other side waits for ten seconds at least.
END_S = DRAIN_MS / 1_000 + 8.0


@pytest.fixture
def hole() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        listener.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    stack.enter_context(listener.accept()[0])
                except TimeoutError:
                    continue

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1]
        over.set()
        accepting.join()


@contextmanager
def served(tmp_path: Path, **env: str) -> Iterator[tuple[Server, tuple[str, int]]]:
    server = Server(tmp_path / "data", "--drain-ms", str(DRAIN_MS), env=env)
    try:
        host, _, port = server.wait_ready().rpartition(":")
        yield server, (host, int(port))
    finally:
        server.kill()


def ended(program: Program) -> tuple[int, float]:
    """(the exit code after SIGTERM, how long it took)."""
    asked_s = time.monotonic()
    program.send(signal.SIGTERM)
    return program.wait(60), time.monotonic() - asked_s


HEAD = b"POST /v1/event HTTP/1.1\r\nhost: x\r\n"
CLIENTS: dict[str, bytes] = {
    "says nothing": b"",
    "stops in its head": HEAD,
    "stops in its body": HEAD + b"content-length: 100\r\n\r\n{",
    "stops in a chunk": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{",
    "stops in the preface of HTTP/2": b"PRI * HTTP/2.0\r\n",
    "opens HTTP/2 and says nothing": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    "asks and never reads": b"GET /docs HTTP/1.1\r\nhost: x\r\n\r\n" * 500,
    "waits for a decision": b"GET /v1/reservation/00000000-0000-7000-8000-000000000000 HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("says", CLIENTS.values(), ids=CLIENTS)
def test_a_client_that_hangs_does_not_hold_the_end_up(tmp_path: Path, says: bytes) -> None:
    with served(tmp_path) as (server, address), ExitStack() as stack:
        for _ in range(5):
            client = stack.enter_context(socket.create_connection(address, 5))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.sendall(says)
        time.sleep(0.3)

        code, took_s = ended(server)

        assert (code, server.stderr.read_text()) == (0, "")
        assert took_s < END_S


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_hangs_does_not_hold_the_end_up(tmp_path: Path, hole: int, protocol: str) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{hole}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "OTEL_TRACES_EXPORTER": "otlp",
    }
    with served(tmp_path, **variables) as (server, (host, port)):
        assert asyncio.run(ask(f"{host}:{port}", "GET", "/v1/event")).status == 200
        time.sleep(1)

        code, took_s = ended(server)

        assert code == 0
        assert took_s < END_S


@pytest.mark.parametrize(
    "options", [("ticket", "-p", "0"), ("ticket", "-p", "0", "-a", "2"), ("reservation",), ("event", "--workers", "2")]
)
@pytest.mark.parametrize("hangs", ["bootstrap.servers", "schema.registry.url"])
def test_a_registry_or_broker_that_hangs_while_a_role_starts_does_not_hold_the_end_up(
    tmp_path: Path, hole: int, registry_url: str, options: tuple[str, ...], hangs: str
) -> None:
    registry = f"http://127.0.0.1:{hole}" if hangs == "schema.registry.url" else registry_url
    config = tmp_path / "client.properties"
    config.write_text(f"bootstrap.servers=127.0.0.1:{hole}\nschema.registry.url={registry}\n")
    program = Program(tmp_path / "output", *options, "-c", str(config), "-d", str(tmp_path / "state"), cwd=tmp_path)
    try:
        wait_until(lambda: program.logged("starting") is not None, "it starts")
        time.sleep(1.5)

        code, took_s = ended(program)

        assert (code, program.stderr.read_text()) == (0, "")
        assert took_s < END_S
    finally:
        program.kill()


# What goes on behind a signal, of which the end takes too long.
HANGS = {
    "a job that does not heed its end": """
async def job():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
""",
    "a job that ends by holding up the loop": """
async def job():
    try:
        await asyncio.sleep(60)
    finally:
        time.sleep(60)
""",
    "a thread that goes on": """
async def job():
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
""",
    "a thread that the interpreter waits for": """
async def job():
    threading.Thread(target=time.sleep, args=(60,)).start()
    await asyncio.sleep(60)
""",
}
PROGRAM = """
import asyncio, os, signal, threading, time
from ticketmaster.bootstrap import running
from ticketmaster.telemetry.logs import configure_logs
{job}
async def main():
    signals, ready = running.stop_signals(grace_s=1.0), running.Readiness()
    ready.watch(lambda: True)
    work = running.Work({{"hangs": job()}}, ready, lambda: os.kill(os.getpid(), signal.SIGTERM))
    return await running.run_until_stopped(work, signals)
running._CANCELLED_S = 0.3
configure_logs("info")
raise SystemExit(running.run(main()))
"""


@pytest.mark.parametrize("job", HANGS.values(), ids=HANGS)
def test_a_process_that_hangs_itself_is_ended_by_force_and_says_so(tmp_path: Path, job: str) -> None:
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(job=job)],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, "")
    assert time.monotonic() - began_s < END_S
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["event"], last["reason"]) == ("ended_by_force", "it has not ended within 1 s: something hangs")
