"""Bodies that have not come to their end when the server does: their clients are told, and nothing is kept of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.e2e.h2client import multiplexed
from tests.e2e.site import TIMEOUT_S, Site, announce, client_of
from tests.e2e.test_connections import ASK, RESERVATION, head, raw, read_reply

LENGTH = head("POST", RESERVATION, f"content-length: {len(ASK)}")
CHUNKED = head("POST", RESERVATION, "transfer-encoding: chunked")
HALVES = {
    "no byte of a length": LENGTH,
    "half of a length": LENGTH + ASK[:7],
    "no chunk": CHUNKED,
    "a chunk": CHUNKED + b"7\r\n" + ASK[:7] + b"\r\n",
    "half a chunk": CHUNKED + b"7\r\n" + ASK[:3],
    "it asks first": head("POST", RESERVATION, f"content-length: {len(ASK)}", "expect: 100-continue"),
}


async def until_reading(one: Site, count: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while len(one._server._dispatcher.unfinished) < count:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("sent", [pytest.param(sent, id=name) for name, sent in HALVES.items()])
async def test_a_body_that_is_unfinished_at_the_end_is_refused_and_its_connection_closed(small_site: Site, sent: bytes) -> None:
    async with raw(small_site.port) as (reader, writer):
        writer.write(sent)
        await until_reading(small_site, 1)
        await small_site._server.retire()
        await small_site._server.refuse_unfinished()
        if b"expect" in sent:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        status, _, body = await read_reply(reader)
        assert (status, json.loads(body)["code"]) == (503, "shutting_down")
        assert await reader.read() == b""
    assert len(small_site._server._dispatcher.unfinished) == 0


@pytest.mark.parametrize("length", [None, len(ASK)])
async def test_over_http2_it_is_refused_and_the_streams_beside_it_are_answered(small_site: Site, length: int | None) -> None:
    async with asyncio.timeout(TIMEOUT_S), multiplexed(small_site.port) as connection:
        unfinished = connection.send("POST", RESERVATION, ASK[:7], ends=False, length=length)
        connection.flush()
        await until_reading(small_site, 1)
        polled = connection.send("GET", "/v1/reservation/01a2124a-fc96-7000-8855-0ce95bc3ca78")
        connection.flush()
        await asyncio.sleep(0.05)
        await small_site._server.refuse_unfinished()
        while not connection.replies[unfinished].body:
            await asyncio.sleep(0.005)
        reply = connection.replies[unfinished]
        assert (reply.status, json.loads(reply.body)["code"]) == (503, "shutting_down")
        assert (await connection.reply(polled)).status == 503


async def test_a_body_that_begins_after_that_is_refused_at_once(small_site: Site) -> None:
    await small_site._server.refuse_unfinished()
    for sent in (LENGTH + ASK[:7], CHUNKED, LENGTH + ASK):
        async with raw(small_site.port) as (reader, writer):
            writer.write(sent)
            status, _, body = await read_reply(reader)
            assert (status, json.loads(body)["code"]) == (503, "shutting_down")
    assert len(small_site._server._dispatcher.unfinished) == 0


async def test_nothing_is_kept_of_bodies_that_came_to_their_end_or_broke_off(small_site: Site) -> None:
    async with client_of(small_site.address, 1) as client:
        await announce(client)
    for sent in (LENGTH + ASK, CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(ASK), ASK), *HALVES.values()):
        async with raw(small_site.port) as (reader, writer):
            writer.write(sent)
            if sent not in HALVES.values():
                assert (await read_reply(reader))[0] == 200
            else:
                await until_reading(small_site, 1)
        async with asyncio.timeout(TIMEOUT_S):
            while len(small_site._server._dispatcher.unfinished):
                await asyncio.sleep(0.005)
