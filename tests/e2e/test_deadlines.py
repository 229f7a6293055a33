"""Connections have deadlines, those that hold nothing give way, and the end of a server cuts nobody off."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from tests.e2e.site import TIMEOUT_S, Site, announce, client_of, seats, site
from tests.e2e.test_connections import ASK, RESERVATION, head, raw, read_reply, until_waiting
from tests.support.consuming import until
from ticketmaster.ticket import watching
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.settings import ServerSettings

EVENTS = head("GET", "/v1/event")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_UNFINISHED = {
    "nothing": b"",
    "half a preface of HTTP/2": PREFACE[:10],
    "a preface and no request": PREFACE + bytes.fromhex("000000040000000000"),
    "half a head": b"GET /v1/event HTTP/1.1\r\nhost: local",
    "half a body": head("POST", RESERVATION, f"content-length: {len(ASK)}") + ASK[:7],
    "half a body in chunks": head("POST", RESERVATION, "transfer-encoding: chunked") + b"7\r\n{",
    "a request and half a head": EVENTS + b"GET /v1/event HTTP/1.1\r\nhost: local",
}
_LIMIT = 20
_FEW = 15


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LOOK_S", 0.05)


@pytest.fixture
def settings() -> ServerSettings:
    """Both ways to serve have the same connections: one is enough."""
    return ServerSettings(port=0)


@asynccontextmanager
async def open_connections(port: int, count: int, first: bytes) -> AsyncIterator[list[asyncio.StreamReader]]:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(raw(port)) for _ in range(count)]
        for _, writer in opened:
            writer.write(first)
        yield [reader for reader, _ in opened]


async def ended(reader: asyncio.StreamReader, within_s: float) -> bool:
    """Whether a connection is closed by then."""
    try:
        async with asyncio.timeout(within_s):
            await reader.read()
    except TimeoutError:
        return False
    return True


def closed(one: Site) -> dict[str, int]:
    assert one._server.connections
    return {reason: count for reason, count in one._server.connections.closed.items() if count}


def spare(one: Site) -> int:
    """How many connections hold nothing, as of the last look."""
    assert one._server.connections
    return len(one._server.connections._table.spare())


@pytest.mark.parametrize("first", [pytest.param(sent, id=name) for name, sent in _UNFINISHED.items()])
async def test_a_connection_without_a_whole_request_is_closed_in_time_and_counted(settings: ServerSettings, first: bytes) -> None:
    async with site(TicketLimits(), replace(settings, request_ms=600, answer_ms=1_200)) as one, raw(one.port) as (reader, writer):
        writer.write(first[:-9])
        await asyncio.sleep(0.3)
        # What comes in drops gains nothing.
        writer.write(first[-9:])
        # Long before what holds without these options.
        assert await ended(reader, 20)
        assert sum(closed(one).values()) == 1
        assert set(closed(one)) <= {"no_request", "slow_request", "stalled"}


@pytest.mark.parametrize("version", [1, 2], ids=["http1", "http2"])
async def test_an_idle_connection_is_kept_as_long_as_the_option_says(settings: ServerSettings, version: int) -> None:
    # The two pauses together are longer than the idle time, each of them is half of it, and longer than all others: a machine may be slow.
    brief = replace(settings, request_ms=1_500, answer_ms=1_500, idle_ms=3_000)
    async with site(TicketLimits(), brief) as one, client_of(one.address, version) as client:
        await announce(client)
        ports = {(await client.get("/v1/event")).extensions["network_stream"].get_extra_info("client_addr")}
        for _ in range(2):
            await asyncio.sleep(1.6)
            response = await client.get("/v1/event")
            ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(ports) == 1
        assert closed(one) == {}
        async with asyncio.timeout(TIMEOUT_S):
            while not closed(one):
                await asyncio.sleep(0.05)
        assert closed(one) == {"idle": 1}


async def test_a_long_poll_is_not_idle(settings: ServerSettings) -> None:
    brief = replace(settings, request_ms=300, answer_ms=5_000, idle_ms=300)
    async with site(TicketLimits(long_poll_ms=1_500), brief) as one, raw(one.port) as (reader, writer):
        writer.write(head("GET", f"/v1/reservation/{uuid4()}"))
        assert (await read_reply(reader))[0] == 503


async def test_a_client_that_takes_no_answer_is_closed(settings: ServerSettings) -> None:
    async with site(TicketLimits(), replace(settings, request_ms=600)) as one:
        async with client_of(one.address, 1) as client:
            await announce(client, rows=300, cols=300)
        async with raw(one.port) as (_, writer):
            writer.write(head("GET", "/v1/event/concert/area/A") * 40)
            async with asyncio.timeout(TIMEOUT_S):
                while closed(one) != {"stalled": 1}:
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize("first", [pytest.param(sent, id=name) for name, sent in {**_UNFINISHED, "an idle connection": EVENTS}.items()])
async def test_connections_that_hold_nothing_keep_no_request_out(settings: ServerSettings, first: bytes) -> None:
    async with site(TicketLimits(), replace(settings, connections_max=_LIMIT)) as one:
        async with client_of(one.address, 1) as client:
            await announce(client)
        with capture_logs() as logged:
            async with open_connections(one.port, _FEW, first):
                # Until then they may hold something, and an answer that is given while there are too many would close its connection.
                await until(lambda: spare(one) == _FEW, "it is known that they hold nothing")
                async with open_connections(one.port, _LIMIT, first), client_of(one.address, 1) as client:
                    started_s = time.monotonic()
                    assert (await client.get("/v1/health_check")).status_code == 200
                    assert (await client.post(RESERVATION, json=seats())).status_code == 200
                    assert time.monotonic() - started_s < TIMEOUT_S
        assert closed(one).keys() == {"crowded"}
        (said,) = logged
        assert (said["event"], said["most"]) == ("connections_at_limit", _LIMIT)


async def test_long_polls_on_all_connections_keep_no_request_out(settings: ServerSettings) -> None:
    async with site(TicketLimits(long_poll_ms=30_000), replace(settings, connections_max=_LIMIT)) as one:
        async with client_of(one.address, 1) as client:
            await announce(client)
        one.gateway.is_crowded = lambda: one._server.is_crowded
        async with open_connections(one.port, _LIMIT + 4, head("GET", f"/v1/reservation/{uuid4()}")), client_of(one.address, 1) as client:
            started_s = time.monotonic()
            assert (await client.get("/v1/health_check")).status_code == 200
            assert (await client.post(RESERVATION, json=seats())).status_code == 200
            # The client's own time-out has not come, either.
            assert time.monotonic() - started_s < TIMEOUT_S


async def test_without_a_free_descriptor_nothing_is_accepted_at_no_cost_and_it_is_said_once(settings: ServerSettings) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with site(TicketLimits(), settings) as one:
        async with client_of(one.address, 1) as client:
            await announce(client)
        with capture_logs() as logged:
            async with open_connections(one.port, 5, EVENTS):
                await asyncio.sleep(0.2)
                waiting = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(3)]
                try:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))  # noqa: PTH208
                    # Ours have a descriptor already; theirs find none.
                    await asyncio.sleep(0.5)
                    before_s = time.process_time()
                    await asyncio.sleep(1)
                    assert time.process_time() - before_s < 0.5
                    # A look may come late on a busy machine.
                    await until(lambda: bool(logged), "it is said")
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                async with client_of(one.address, 1) as client:
                    assert (await client.get("/v1/event")).status_code == 200
                for _, writer in waiting:
                    writer.close()
    assert [line["event"] for line in logged] == ["no_descriptors"]


async def test_a_server_that_retires_answers_what_is_open_and_each_answer_closes_its_connection(settings: ServerSettings) -> None:
    async with site(TicketLimits(), replace(settings, lame_duck_ms=400)) as one:
        async with client_of(one.address, 1) as client:
            await announce(client)
        one.storage.gate.clear()
        async with raw(one.port) as (kept, asks), raw(one.port) as (posted, posts), raw(one.port) as (polled, polls):
            asks.write(EVENTS)
            assert (await read_reply(kept))[0] == 200
            posts.write(head("POST", RESERVATION, f"content-length: {len(ASK)}") + ASK)
            polls.write(head("GET", f"/v1/reservation/{uuid4()}"))
            await until_waiting(one, 1)
            retiring = asyncio.create_task(one._server.retire())
            await asyncio.sleep(0.1)
            asks.write(EVENTS)
            status, answered, _ = await read_reply(kept)
            assert (status, await kept.read()) == (200, b"")
            assert b"\r\nconnection: close\r\n" in answered.lower()
            async with raw(one.port) as (late, asks_late):
                asks_late.write(EVENTS)
                assert (await read_reply(late))[0] == 200
            await retiring
            await asyncio.sleep(0.2)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", one.port)
            one.storage.gate.set()
            assert (await read_reply(posted))[0] == 200
            draining = asyncio.create_task(one.gateway.fail())
            assert (await read_reply(polled))[0] == 503
            await draining


async def test_a_server_that_retires_tells_its_clients_of_http2_to_go_away(settings: ServerSettings) -> None:
    async with site(TicketLimits(), replace(settings, lame_duck_ms=100)) as one, raw(one.port) as (reader, writer):
        writer.write(PREFACE + bytes.fromhex("000000040000000000"))
        await asyncio.sleep(0.1)
        await one._server.retire()
        seen = b""
        # Its first promise: any stream up to the highest number is still answered.
        while bytes.fromhex("0000080700000000007fffffff00000000") not in seen:
            seen += await reader.readexactly(1)
