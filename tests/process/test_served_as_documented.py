"""The whole program with a Granian that lacks what is not documented: slower, and right in everything else."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.process.client import ask, connected
from tests.process.sale import Sale
from tests.process.server import ROOT, Server, serving, wait_until

_DRAIN_MS = 1_000
_SLACK_S = 4.0


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """In which every Python finds that a name is missing."""
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "sitecustomize.py").write_text(
        "from ticketmaster.ticket import granian_private\n"
        'granian_private.NAMES = (("granian._granian", "RSGIWorker.serve_as_nobody_knows"),)\n'
    )
    return {"PYTHONPATH": f"{tmp_path / 'lacking'}:{ROOT}"}


def assert_served_as_documented(server: Server) -> None:
    said = server.logged("served_as_documented")
    assert said
    assert said["reason"] == "Granian lacks granian._granian.RSGIWorker.serve_as_nobody_knows"


async def test_under_load_a_signal_ends_it_cleanly_and_loses_nothing(tmp_path: Path, env: dict[str, str]) -> None:
    sale = Sale(1)
    with serving(tmp_path / "data", "--drain-ms", str(_DRAIN_MS), env=env) as (server, address):
        assert_served_as_documented(server)
        await sale.announce(address, "concert")
        load = asyncio.create_task(sale.load(address))
        await asyncio.sleep(0.8)
        asked_s = time.monotonic()
        server.send(signal.SIGTERM)
        code = await asyncio.to_thread(server.wait)
        took_s = time.monotonic() - asked_s
        await load
    assert (code, server.stderr.read_text()) == (0, "")
    assert took_s < _DRAIN_MS / 1_000 + _SLACK_S
    assert [line["event"] for line in server.lines()] == ["served_as_documented", "ready", "stopping", "stopped"]
    assert len(sale.answered) > 100
    with serving(tmp_path / "data") as (_, address):
        await sale.check(address)


async def test_while_it_drains_everybody_is_answered(tmp_path: Path, env: dict[str, str]) -> None:
    with serving(tmp_path / "data", "--drain-ms", str(_DRAIN_MS), env=env) as (server, address):
        async with connected(address) as waiting, connected(address) as asking, connected(address):
            unknown = asyncio.create_task(waiting.request("GET", f"/v1/reservation/{uuid4()}"))
            # It must have arrived before the signal, or there is nothing to drain.
            await asyncio.sleep(0.3)
            assert (await asking.request("GET", "/v1/health_check")).status == 200
            server.send(signal.SIGTERM)
            await asyncio.to_thread(wait_until, lambda: server.logged("stopping") is not None, "stopping")
            announced = await asking.request("POST", "/v1/event", Sale(0).event_body("late"))
            # At first it only says that it will go.
            assert announced.status == 200
            assert (await unknown).json["code"] == "shutting_down"
        assert await asyncio.to_thread(server.wait) == 0
        assert server.stderr.read_text() == ""


async def test_after_a_kill_it_has_all_that_it_has_answered(tmp_path: Path, env: dict[str, str]) -> None:
    sale = Sale(3)
    with serving(tmp_path / "data", env=env) as (server, address):
        await sale.announce(address, "concert")
        load = asyncio.create_task(sale.load(address))
        await asyncio.sleep(0.8)
        server.kill()
        await load
    assert len(sale.answered) > 100
    with serving(tmp_path / "data", env=env) as (_, address):
        await sale.check(address)


async def test_operators_are_answered_too(tmp_path: Path, env: dict[str, str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serving(tmp_path / "data", "--metrics-port", str(port), env=env) as (_, address):
        assert (await ask(address, "GET", "/v1/health_check")).status == 200
        assert (await ask(f"127.0.0.1:{port}", "GET", "/v1/health_check")).status == 200
        read = await ask(f"127.0.0.1:{port}", "GET", "/metrics")
        assert b"ticketmaster_http_requests_total" in read.body
