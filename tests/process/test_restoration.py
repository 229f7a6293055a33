"""A long restoration is no reason to be deaf: a process that restores 300,000 reservations answers probes and signals meanwhile."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.kafka.clusters import free_ports
from tests.process.client import Lost, ask
from tests.process.server import Server, forget_state, serving
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.datadir import LOG_FILE
from ticketmaster.domain.reservation import ReservationType
from ticketmaster.wire import topics
from ticketmaster.wire.reservations import decided, encode_create, encode_run, encode_seats, encode_who_and_where, processing, succeeded

RECORDS = 300_000
BATCH = 500
# How much of a restoration the slowest probe may take: the machine may have other things to do, and then both take long.
PART = 0.34
READY = "/v1/health_check/ready"
LIVE = "/v1/health_check/live"


def reservation(number: int) -> Pair:
    """A decided one."""
    key = b"01890000-0000-7000-8000-%012d" % number
    create = encode_create(encode_who_and_where("ann", "show", "A"), 2, ReservationType.RANDOM, encode_seats([]))
    decision = decided(processing(key, create), succeeded(key, encode_run(number % 100, 0, 2)))
    assert decision
    return key, decision.reservation


async def fill(directory: Path) -> None:
    """Writes so many decided reservations straight into the log of a directory."""
    broker = EmbeddedBroker(SqliteStorage(directory / LOG_FILE), SystemClock())
    await broker.start()
    sources = [TopicPartition(topic.name, 0) for topic in (topics.RESERVATION_CHANGELOG, topics.USER_RESERVATION)]
    for start in range(0, RECORDS, 20 * BATCH):
        batches = [[reservation(number) for number in range(at, at + BATCH)] for at in range(start, start + 20 * BATCH, BATCH)]
        await asyncio.gather(*(broker.append(dict.fromkeys(sources, batch)) for batch in batches))
    await broker.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with many reservations in its log."""
    directory = tmp_path_factory.mktemp("restoration") / "data"
    with serving(directory):
        pass
    asyncio.run(fill(directory))
    return directory


@pytest.fixture
def restoring(filled: Path) -> Iterator[tuple[Server, str]]:
    """A server that has everything to restore, and its port for operators."""
    forget_state(filled)
    (port,) = free_ports(1)
    server = Server(filled, "--metrics-port", str(port))
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        server.kill()


async def probed(address: str) -> int:
    """The status of a probe; 0 while nobody listens."""
    try:
        live, ready = (await ask(address, "GET", LIVE)).status, (await ask(address, "GET", READY)).status
    except (OSError, Lost):
        return 0
    assert live == 200
    return ready


async def until_listening(address: str) -> int:
    while not (status := await probed(address)):
        await asyncio.sleep(0.005)
    return status


async def test_probes_are_answered_while_it_restores(restoring: tuple[Server, str]) -> None:
    server, operators = restoring
    took_s: list[float] = []
    status = await until_listening(operators)
    while status != 200:
        assert status == 503
        began = time.monotonic()
        status = await probed(operators)
        took_s.append(time.monotonic() - began)

    # Two connections each. A process that is deaf while it restores answers one, at the end.
    assert len(took_s) >= 5
    assert max(took_s) < PART * sum(took_s)
    server.wait_ready()
    assert "ticketmaster_loop_lag_seconds{" in (await ask(operators, "GET", "/metrics")).body.decode()
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_while_it_restores(restoring: tuple[Server, str], number: signal.Signals) -> None:
    server, operators = restoring
    assert await until_listening(operators) == 503
    assert await probed(operators) == 503

    server.send(number)

    assert (server.wait(), server.stderr.read_text()) == (0, "")
    # It has not come to the end before it looked.
    assert server.logged("ready") is None
    events = [line["event"] for line in server.lines()]
    assert "stopping" in events
    assert events[-1] == "stopped"
