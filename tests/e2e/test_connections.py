"""Clients that are slow, break off, send half a request or thousands at once: the others notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from tests.e2e.conftest import BODY_BYTES_MAX
from tests.e2e.h2client import multiplexed
from tests.e2e.site import TIMEOUT_S, Site, announce, client_of, seats, site
from tests.fuzz.http2 import Streams
from tests.fuzz.messages import Message
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.settings import ServerSettings

_STREAMS = 5_200
_IDS = 52
ASK = json.dumps(seats()).encode()
RESERVATION = "/v1/event/concert/reservation"


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: localhost", *headers, "", ""]).encode()


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head and body."""
    start = await reader.readuntil(b"\r\n\r\n")
    lines = start.lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
    return int(start.split()[1]), start, await reader.readexactly(length)


async def until_waiting(one: Site, count: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while len(one.gateway._waiting) < count:
            await asyncio.sleep(0.005)


async def still_sells(one: Site) -> None:
    async with client_of(one.address, 1) as client:
        await announce(client, f"event {uuid4()}")
        asked = await client.post(RESERVATION, json=seats())
        assert (await client.get(f"/v1/reservation/{asked.text}")).status_code == 200


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        pytest.param(head("POST", "/v1/event"), b"malformed_json", id="no body and no length"),
        pytest.param(head("POST", "/v1/event", "content-length: 0"), b"malformed_json", id="no body"),
        pytest.param(head("POST", "/v1/event", "transfer-encoding: chunked") + b"0\r\n\r\n", b"malformed_json", id="no chunk"),
        pytest.param(
            head("POST", "/v1/event", "content-length: 2", "transfer-encoding: chunked") + b"3\r\n[1]\r\n0\r\n\r\n",
            b"invalid_field",
            id="two lengths",
        ),
        pytest.param(head("POST", "/v1/event", "expect: 100-continue", "content-length: 99999999"), b"body_too_large", id="asks first"),
        pytest.param(head("POST", "/v1/event", "content-length: 99999999"), b"body_too_large", id="sends no body"),
        pytest.param(head("GET", "/v1/event/\u6771"), b"no_such_event", id="path in plain UTF-8"),
        pytest.param(head("GET", "/v1/event?limit=%ff"), b"invalid_encoding", id="query that is no UTF-8"),
        pytest.param(head("GET", "*"), b"no_such_path", id="no path"),
        pytest.param(head("CONNECT", "localhost:80"), b"no_such_path", id="a host instead of a path"),
    ],
)
async def test_an_odd_request_gets_its_answer_at_once(small_site: Site, request_bytes: bytes, expected: bytes) -> None:
    async with raw(small_site.port) as (reader, writer):
        writer.write(request_bytes)
        _, _, body = await read_reply(reader)
    assert json.loads(body)["code"].encode() == expected


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        head("GET", "/v1/event/\udc80".encode("utf-8", "surrogateescape").decode("latin-1")).decode().encode("latin-1"),
        head("POST", "/v1/event", "content-length: -1"),
        head("POST", "/v1/event", "content-length: 99999999999999999999"),
        head("POST", "/v1/event", "content-length: 1", "content-length: 2"),
        head("GET", "/v1/event", *[f"x-{number}: 1" for number in range(1_000)]),
    ],
)
async def test_what_is_not_http_is_refused_and_the_connection_closed(small_site: Site, request_bytes: bytes) -> None:
    async with raw(small_site.port) as (reader, writer):
        writer.write(request_bytes)
        answer = await reader.read()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ")), answer
    await still_sells(small_site)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (head("GET", "/v1/event", *["x: 1"] * 98), 200),
        (head("GET", "/v1/event", *["x: 1"] * 101), 431),
        (head("GET", "/v1/event", f"x: {'x' * 300_000}"), 200),
        (head("GET", "/v1/event", f"x: {'x' * 1_000_000}"), 431),
        (head("GET", f"/v1/event?{'x' * 65_000}"), 200),
        (head("GET", f"/v1/event?{'x' * 66_000}"), 414),
        # What others put before a request.
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + head("GET", "/v1/event"), 400),
        (b"\r\n\r\n" + head("GET", "/v1/event"), 200),
        (bytes.fromhex("16030100c8010000c40303") + b"a" * 200, 400),
    ],
)
async def test_a_head_may_have_so_many_lines_and_bytes(small_site: Site, request_bytes: bytes, status: int) -> None:
    async with raw(small_site.port) as (reader, writer):
        writer.write(request_bytes)
        assert (await read_reply(reader))[0] == status
    await still_sells(small_site)


async def test_a_header_that_is_no_text_does_no_harm(small_site: Site) -> None:
    async with raw(small_site.port) as (reader, writer):
        writer.write(b"GET /v1/event HTTP/1.1\r\nhost: localhost\r\nif-none-match: \xff\xfe\r\n\r\n")
        assert (await read_reply(reader))[0] == 200


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """A process that serves collects seldom: what a request has left may not wait for it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
async def test_an_endless_body_in_chunks_is_refused_at_the_limit(small_site: Site) -> None:
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    async with raw(small_site.port) as (reader, writer):
        writer.write(head("POST", "/v1/event", "transfer-encoding: chunked", "content-length: 5"))
        for _ in range(BODY_BYTES_MAX // 0x2000 + 3):
            writer.write(chunk)
        assert (await read_reply(reader))[0] == 413
        # Nothing of the request is kept: the server closes, or sees that its client has gone.
        with contextlib.suppress(ConnectionError):
            writer.write_eof()
            assert await reader.read() == b""


async def test_over_http2_a_large_body_is_refused_before_and_while_it_is_read(small_site: Site) -> None:
    async with asyncio.timeout(TIMEOUT_S), multiplexed(small_site.port) as connection:
        announced = connection.send("POST", "/v1/event", ends=False, length=BODY_BYTES_MAX + 1)
        connection.flush()
        reply = connection.replies[announced]
        while not reply.status:
            await asyncio.sleep(0.005)
        assert reply.status == 413

        unknown = connection.send("POST", "/v1/event", ends=False)
        for _ in range(BODY_BYTES_MAX // 0x1000):
            if not connection.replies[unknown].status:
                connection.send_more(unknown, b"x" * 0x0FFF, ends=False)
                await asyncio.sleep(0)
        connection.send_more(unknown, b"x" * 0x1000, ends=False)
        while not connection.replies[unknown].status:
            await asyncio.sleep(0.005)
        assert connection.replies[unknown].status == 413

        fine = await connection.reply(connection.send("GET", "/v1/event"))
        assert fine.status == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_slow_body_holds_up_nobody_else(small_site: Site, *, chunked: bool) -> None:
    async with raw(small_site.port) as (reader, writer):
        writer.write(head("POST", RESERVATION, "transfer-encoding: chunked" if chunked else f"content-length: {len(ASK)}"))
        for start in range(0, len(ASK), 20):
            piece = ASK[start : start + 20]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await asyncio.sleep(0.03)
            if start == 20:
                await still_sells(small_site)
        if chunked:
            writer.write(b"0\r\n\r\n")
        status, _, body = await read_reply(reader)
    assert (status, len(body)) == (200, 36)


async def test_requests_that_are_sent_without_waiting_are_answered_in_order(small_site: Site) -> None:
    async with raw(small_site.port) as (reader, writer):
        bodies = [f"content-length: {len(ASK)}"]
        writer.write(head("POST", RESERVATION, *bodies) + ASK + head("GET", "/v1/nothing") + head("POST", RESERVATION, *bodies) + ASK)
        assert [(await read_reply(reader))[0] for _ in range(3)] == [200, 404, 200]


async def test_clients_that_break_off_leave_nothing_behind(small_site: Site) -> None:
    poll = f"/v1/reservation/{uuid4()}"
    broken_off = [
        b"POST /v1/ev",
        head("POST", RESERVATION, f"content-length: {len(ASK)}") + ASK[:10],
        head("POST", RESERVATION, "transfer-encoding: chunked") + b"5\r\n{",
        head("GET", poll),
        head("POST", RESERVATION, f"content-length: {len(ASK)}") + ASK,
    ]
    with capture_logs() as logged:
        for request_bytes in broken_off:
            async with raw(small_site.port) as (_, writer):
                writer.write(request_bytes)
                await writer.drain()
                await asyncio.sleep(0.02)
        async with multiplexed(small_site.port) as connection:
            for number in (
                connection.send("GET", poll),
                connection.send("POST", RESERVATION, ASK[:10], ends=False),
                connection.send("POST", RESERVATION, ASK[:10], ends=False, length=len(ASK)),
            ):
                connection.flush()
                await asyncio.sleep(0.02)
                connection.cancel(number)
            connection.send("GET", poll)
            connection.flush()
        await still_sells(small_site)
        async with asyncio.timeout(TIMEOUT_S):
            while len(small_site.gateway._waiting):
                await asyncio.sleep(0.01)
    assert logged == []
    assert small_site.gateway.commands_in_flight == 0


async def test_an_empty_length_over_http2_harms_nobody(small_site: Site) -> None:
    message = Message("", b"POST", RESERVATION.encode(), [(b"content-length", b"")])
    async with asyncio.timeout(TIMEOUT_S):
        streams = await Streams.open("127.0.0.1", small_site.port)
        for _ in range(3):
            answer = await streams.answer(await streams.start(message))
            assert answer
            assert (answer.status, json.loads(answer.body)["code"]) == (400, "malformed_json")
        streams.close()
    await still_sells(small_site)


async def test_a_length_of_thousands_of_digits_is_a_number(small_site: Site) -> None:
    async with raw(small_site.port) as (reader, writer):
        for _ in range(3):
            writer.write(head("POST", RESERVATION, f"content-length: {len(ASK):05000}") + ASK)
            assert (await read_reply(reader))[0] == 200
        writer.write(head("POST", RESERVATION, f"content-length: {10**15:05000}"))
        assert (await read_reply(reader))[0] == 413
    await still_sells(small_site)


async def test_a_defect_in_looking_at_a_head_is_answered_and_harms_nobody_else(small_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a defect")

    with capture_logs() as logged, monkeypatch.context() as patched:
        patched.setattr(small_site._server._dispatcher, "target", fail)
        async with raw(small_site.port) as (reader, writer):
            for _ in range(3):
                writer.write(head("POST", RESERVATION, "content-length: 0"))
                status, _, body = await read_reply(reader)
                assert (status, json.loads(body)["code"]) == (500, "internal_error")
    assert [one["event"] for one in logged] == ["request_failed"] * 3
    await still_sells(small_site)


@pytest.mark.parametrize("framing", [f"content-length: {len(ASK)}", "transfer-encoding: chunked"])
async def test_a_connection_whose_client_ends_in_the_middle_of_a_body_is_closed(small_site: Site, framing: str) -> None:
    async with raw(small_site.port) as (reader, writer):
        writer.write(head("POST", RESERVATION, framing) + (b"7\r\n" if "chunked" in framing else b"") + ASK[:7])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write_eof()
        answer = await reader.read()
    assert b"malformed_json" in answer
    await still_sells(small_site)


@pytest.mark.parametrize("version", [1, 2], ids=["http1", "http2"])
async def test_everybody_who_waits_for_an_id_is_answered(settings: ServerSettings, version: int) -> None:
    async with site(TicketLimits(), settings) as one, client_of(one.address, version) as ann, client_of(one.address, version) as bob:
        await announce(ann)
        one.storage.gate.clear()
        asking = asyncio.create_task(ann.post(RESERVATION, json=seats()))
        async with asyncio.timeout(TIMEOUT_S):
            while not one.gateway._undecided:
                await asyncio.sleep(0.005)
        (minted,) = one.gateway._undecided
        polls = [asyncio.create_task(client.get(f"/v1/reservation/{minted.decode()}")) for client in (ann, bob, bob)]
        await until_waiting(one, 3)
        one.storage.gate.set()
        decisions = [await poll for poll in polls]

        assert (await asking).text == minted.decode()
        assert [decision.json()["state"] for decision in decisions] == ["RESERVED"] * 3


async def test_thousands_of_long_polls_wait_on_one_http2_connection(settings: ServerSettings) -> None:
    async with asyncio.timeout(240), site(TicketLimits(long_poll_ms=40_000), settings) as one, multiplexed(one.port) as connection:
        assert connection.streams_max > _STREAMS
        async with client_of(one.address, 1) as client:
            await announce(client, rows=10, cols=10)
        one.storage.gate.clear()
        posts = [connection.send("POST", RESERVATION, ASK) for _ in range(_IDS)]
        connection.flush()
        while len(one.gateway._undecided) < _IDS:
            await asyncio.sleep(0.005)
        ids = [key.decode() for key in one.gateway._undecided]
        polls = {}
        for number in range(_STREAMS):
            reservation_id = ids[number % _IDS]
            polls[connection.send("GET", f"/v1/reservation/{reservation_id}")] = reservation_id
            if number % 100 == 0:
                connection.flush()
                await asyncio.sleep(0)
        connection.flush()
        await until_waiting(one, _STREAMS)
        assert not any(reply.status for reply in connection.replies.values())
        one.storage.gate.set()

        for post in posts:
            assert (await connection.reply(post)).body.decode() in ids
        for poll, reservation_id in polls.items():
            reply = await connection.reply(poll)
            decided = json.loads(reply.body)
            assert (reply.status, decided["reservationId"], decided["state"]) == (200, reservation_id, "RESERVED")
