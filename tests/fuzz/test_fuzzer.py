"""The fuzzer finds what is planted in a toy server, and nothing in one that answers well; what it sends can be sent again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from tests.fuzz.answers import Answer, BrokenAnswer, parse_answer
from tests.fuzz.command import main
from tests.fuzz.corpus import Case, draw
from tests.fuzz.delivery import Courier, Finding, pick_known
from tests.fuzz.messages import KNOWN_ID, Expect, Message
from tests.fuzz.oracle import Oracle
from tests.fuzz.plans import End, Plan, Planner
from tests.fuzz.run import Fuzzer, check_sale, connections_left

DEADLINE_S = 20.0
# Where a hang is what is looked for.
HANG_S = 0.3
ORDER = b'{"userId":"ann","areaId":"A","numOfSeats":1,"type":"RANDOM"}'
CASES = [
    Case("GET /v1/health_check", "valid", "GET", "/v1/health_check", [], None),
    *(Case("GET /v1/event/{eventId}", "valid", "GET", f"/v1/event/{name}", [], None) for name in ("a", "b")),
    *(Case("POST /v1/event/{eventId}/reservation", "valid", "POST", f"/v1/event/{name}/reservation", [], ORDER) for name in ("a", "b")),
    *(Case("GET /v1/reservation/{reservationId}", "valid", "GET", f"/v1/reservation/{KNOWN_ID.decode()}", [], None) for _ in range(2)),
]
HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-store\r\ncontent-length: 0\r\n\r\n"
PROBLEM = {"type": "/docs#no_such_event", "title": "Not Found", "status": 404, "code": "no_such_event", "detail": "No such event."}


def refusal(http_status: int = 404, content_type: str = "application/problem+json", **changes: object) -> bytes:
    body = json.dumps({**PROBLEM, **changes}).encode()
    head = f"HTTP/1.1 {http_status} X\r\ncontent-type: {content_type}\r\ncache-control: no-store\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def listening(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A server on a free port; nothing of it is left."""
    jobs: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        job = asyncio.current_task()
        assert job
        jobs.add(job)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.sleep(0)


@asynccontextmanager
async def toy(answer: bytes | None, *, ends: bool = False) -> AsyncIterator[int]:
    """A server that says the same to everybody: None is nothing at all. It ends the connection then, or when its client does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        if answer is None:
            await asyncio.sleep(60)
        writer.write(answer or b"")
        await writer.drain()
        if not ends:
            await reader.read()

    async with listening(serve) as port:
        yield port


def plan(target: bytes = b"/v1/health_check", expect: Expect = Expect.ANSWER, end: End = End.READ) -> Plan:
    message = Message("GET /v1/health_check", b"GET", target, [(b"host", b"localhost")], expect=expect)
    return Plan(0, [message], data=message.rendered(), end=end)


async def deliver(port: int, one: Plan, deadline_s: float = DEADLINE_S) -> list[Answer]:
    courier = Courier("127.0.0.1", port, Oracle(), lambda _message, _answer: None, deadline_s=deadline_s)
    try:
        return await courier.deliver(one, KNOWN_ID)
    finally:
        courier.close()


EVENT = b"/v1/event/a"


@pytest.mark.parametrize(
    ("target", "answer", "what"),
    [
        (EVENT, b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", "status 500"),
        (EVENT, refusal(500, status=500, code="internal_error", title="Internal Server Error"), "status 500"),
        (EVENT, b"HTTP/1.1 502 X\r\ncontent-length: 0\r\n\r\n", "status 502"),
        (EVENT, None, "a hang: no answer"),
        (EVENT, b"", "closed without an answer"),
        (EVENT, b"HTTP/1.1 400 X\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno", "400 with content-type 'text/plain'"),
        (EVENT, b"HTTP/1.1 400 X\r\ncontent-length: 0\r\n\r\n", "400 with content-type None"),
        (EVENT, refusal(content_type="application/json"), "content-type 'application/json'"),
        (EVENT, refusal(status=400), "says otherwise"),
        (EVENT, refusal(type="/docs#else"), "says otherwise"),
        (EVENT, refusal(detail=7), "without a sentence"),
        (EVENT, refusal(extra=1), "no problem document"),
        (EVENT, refusal(code="no_such_code", type="/docs#no_such_code"), "breaks its schema"),
        (EVENT, refusal(403), "says otherwise"),
        (EVENT, refusal(503, status=503, title="Service Unavailable"), "retry-after: None"),
        (EVENT, b"HTTP/1.1 204 X\r\n\r\n", "status 204 is not documented"),
        (EVENT, HEALTHY, "header etag is missing"),
        (EVENT, HEALTHY + b"x", "header etag is missing"),
        (b"/v1/health_check", HEALTHY + b"x", "1 bytes more"),
        (b"/v1/nowhere", HEALTHY, "the document has no GET here"),
        (b"/v1/nowhere", refusal(), "no_such_event on a path that is not documented"),
        (b"/v1/health_check", refusal(), "status 404 is not documented"),
        (b"/v1/health_check", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}", "a hang: no answer"),
        (b"/v1/health_check", b"hello\r\n\r\n", "a broken answer"),
        (b"/v1/health_check", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "a broken answer"),
    ],
)
async def test_what_a_server_must_not_answer_is_found(target: bytes, answer: bytes | None, what: str) -> None:
    async with toy(answer, ends=answer == b"") as port:
        with pytest.raises(Finding) as found:
            await deliver(port, plan(target), HANG_S if "hang" in what else DEADLINE_S)
    assert what in str(found.value)


async def test_what_a_server_may_answer_is_no_finding() -> None:
    async with toy(HEALTHY) as port:
        (answer,) = await deliver(port, plan())
    assert (answer.status, answer.body) == (200, b"")
    async with toy(refusal()) as port:
        (answer,) = await deliver(port, plan(EVENT))
    assert answer.status == 404


async def test_a_bare_refusal_is_fine_for_what_is_no_http_only() -> None:
    bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    async with toy(bare, ends=True) as port:
        assert [one.status for one in await deliver(port, plan(EVENT, Expect.REFUSAL))] == [400]
        assert [one.status for one in await deliver(port, plan(EVENT, Expect.ANYTHING))] == [400]
        with pytest.raises(Finding):
            await deliver(port, plan(EVENT))
    async with toy(b"", ends=True) as port:
        assert await deliver(port, plan(EVENT, Expect.REFUSAL)) == []


async def test_a_connection_that_is_not_closed_after_its_client_is_found() -> None:
    async with toy(None) as port:
        with pytest.raises(Finding, match="not closed after its client's end"):
            await deliver(port, plan(EVENT, Expect.ANYTHING, End.SHUT), HANG_S)
        assert await deliver(port, plan(EVENT, Expect.ANYTHING, End.RESET)) == []


async def test_the_run_goes_on_after_a_finding_and_keeps_what_repeats_it() -> None:
    planner = Planner(CASES, 3)
    async with toy(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", ends=True) as port:
        fuzzer = Fuzzer(f"127.0.0.1:{port}", planner, 3, connections=4, deadline_s=DEADLINE_S)
        await fuzzer.send(range(60))
    tally = fuzzer.tally
    assert tally.sent == 60
    found = next(one for one in tally.findings if "status 500" in one["what"] and one["delivery"] == "whole")
    assert found["sent"].encode("latin-1").decode("unicode_escape").encode("latin-1").startswith(planner.plan(found["number"]).data[:20])


async def test_a_server_that_answers_nothing_is_a_hang_of_each_kind_of_delivery() -> None:
    async with toy(None) as port:
        fuzzer = Fuzzer(f"127.0.0.1:{port}", Planner(CASES, 5), 5, connections=30, deadline_s=HANG_S)
        await fuzzer.send(range(150))
    hangs = Counter(one["delivery"] for one in fuzzer.tally.findings if one["what"].startswith("a hang"))
    assert {"whole", "pieces", "http2", "pipelined", "garbage"} <= hangs.keys()


def test_a_number_always_is_the_same_plan() -> None:
    one, same, other = Planner(CASES, 7), Planner(CASES, 7), Planner(CASES, 8)
    assert [one.plan(number) for number in range(300)] == [same.plan(number) for number in range(300)]
    assert one.plan(5) == one.plan(5)
    assert [one.plan(number).data for number in range(50)] != [other.plan(number).data for number in range(50)]


def test_every_mutation_and_delivery_is_used() -> None:
    planner = Planner(CASES, 1)
    used = Counter(name for number in range(4_000) for name in planner.plan(number).mutations)
    assert {"none", "method", "path", "target", "query", "version", "headers", "content type", "expect", "upgrade", "length"} <= used.keys()
    assert {"chunked", "body: json", "body: flipped", "body: truncated", "body: spliced", "body: encoded", "body: large"} <= used.keys()
    ways = {"pieces", "pipelined", "cut", "flipped", "garbage", "http2", "http2 cut", "http2 frames"}
    assert {f"connection: {way}" for way in ways} <= used.keys()


def test_the_same_cases_are_drawn_again() -> None:
    label = "GET /v1/reservation/{reservationId}"
    drawn = draw(label, "broken", 5, 4)
    assert drawn == draw(label, "broken", 5, 4)
    assert {case.operation for case in drawn} == {label}
    assert draw("GET /docs", "broken", 5, 4) == []


@pytest.mark.parametrize(
    ("data", "ended"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", True),
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/2 200\r\n\r\n", False),
        (b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\na: 1\r\na: 2\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nno header\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", False),
        (b"nonsense", False),
    ],
)
def test_an_answer_that_is_no_http_is_found(data: bytes, *, ended: bool) -> None:
    with pytest.raises(BrokenAnswer):
        parse_answer(data, b"GET", ended=ended)


def test_an_answer_is_read_up_to_its_end() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    whole = interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert parse_answer(whole + b"HTTP", b"GET", ended=False) == (Answer(200, {"content-length": "2"}, b"ok"), len(whole))
    assert all(parse_answer(whole[:size], b"GET", ended=False) is None for size in range(1, len(whole)))
    assert parse_answer(interim, b"POST", ended=True) is None
    assert parse_answer(b"HTTP/1.1 405 X\r\ncontent-length: 9\r\n\r\n", b"HEAD", ended=False) is not None


@pytest.mark.parametrize(
    ("method", "target", "allow", "fine"),
    [
        (b"PUT", b"/v1/event", "GET, POST", True),
        (b"POST", b"/v1/event", "GET, POST", False),
        (b"POST", b"/v1/event/a/reservation", "POST", False),
        (b"GET", b"/v1/event/a/reservation", "POST", True),
        (b"GET", b"http://localhost/v1/event?limit=1#x", "GET, POST", False),
        (b"DELETE", b"/v1/nowhere", "GET", False),
    ],
)
def test_the_oracle_knows_which_methods_a_path_takes(method: bytes, target: bytes, allow: str, *, fine: bool) -> None:
    document = {"type": "/docs#wrong_method", "title": "Method Not Allowed", "status": 405, "code": "wrong_method", "detail": "No."}
    headers = {"content-type": "application/problem+json", "cache-control": "no-store", "allow": allow}
    fault = Oracle().fault(method, target, Answer(405, headers, json.dumps(document).encode()))
    assert (fault is None) == fine, fault


@pytest.mark.parametrize(
    ("method", "status", "code", "allow", "fine"),
    [
        (b"OPTIONS", 204, "", "GET, HEAD, OPTIONS", True),
        (b"OPTIONS", 204, "", "GET", False),
        (b"GET", 204, "", "GET, HEAD, OPTIONS", False),
        (b"GET", 400, "invalid_host", "", True),
        (b"PUT", 400, "invalid_encoding", "", True),
        (b"PUT", 400, "malformed_json", "", False),
    ],
)
def test_the_oracle_knows_what_every_path_may_answer(method: bytes, status: int, code: str, allow: str, *, fine: bool) -> None:
    document = {"type": f"/docs#{code}", "title": "Bad Request", "status": status, "code": code, "detail": "No."}
    headers = {"allow": allow} if allow else {"content-type": "application/problem+json", "cache-control": "no-store"}
    fault = Oracle().fault(method, b"/v1/event", Answer(status, headers, json.dumps(document).encode() if code else b""))
    assert (fault is None) == fine, fault


def test_a_connection_that_is_left_open_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not connections_left(os.getpid(), 0.0)
        socket.create_connection(listener.getsockname()).close()
        accepted, _ = listener.accept()
        with accepted:
            assert connections_left(os.getpid(), 0.0) == {"CLOSE_WAIT": 1}


async def sale(decide: Callable[[str], dict[str, Any]], *, shown: str = "##..") -> list[str]:
    """The findings of a sale of two acknowledged reservations of four seats."""
    ids = [f"0190000{number}-0000-7000-8000-000000000000" for number in range(2)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
            known: dict[str, Any] = decide(path.rpartition("/")[2]) if path.startswith("/v1/reservation/") else {"rows": [shown]}
            body = json.dumps(known).encode()
            writer.write(f"HTTP/1.1 {known.get('http', 200)} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)

    async with listening(serve) as port:
        sold = await check_sale(f"127.0.0.1:{port}", ids)
    return sold.faults


def decision(reservation_id: str, col: int, state: str = "RESERVED") -> dict[str, Any]:
    seats = [{"row": 0, "col": col}]
    return {"reservationId": reservation_id, "eventId": "a", "areaId": "A", "state": state, "seats": seats}


@pytest.mark.parametrize(
    ("decide", "shown", "what"),
    [
        (lambda one: decision(one, 0), "##..", "was sold twice"),
        (lambda one: decision(one, int(one[7])), "#...", "shows 1 sold seats as free"),
        (lambda one: decision(one, int(one[7:8] or 0), "PROCESSING"), "##..", "is {"),
        (lambda one: decision("another", int(one[7:8] or 0)), "##..", "is {"),
        (lambda _one: {"http": 404, "state": ""}, "##..", "is not decided: 404"),
        (lambda one: decision(one, int(one[7:8] or 0)), "##..", "two of three pairs fit"),
    ],
)
async def test_a_sale_that_is_not_sound_is_found(decide: Callable[[str], dict[str, Any]], shown: str, what: str) -> None:
    faults = await sale(lambda one: decide(one) if one.startswith("0190000") else {"state": "RESERVED"}, shown=shown)
    assert any(what in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--requests", "0"], "--requests"),
        (["--requests", "many"], "many"),
        (["--seed", "-1"], "--seed"),
        (["--only", "x"], "--only"),
        (["--json", "/nowhere/at/all.json"], "no file can be written there"),
        (["--deadline-s", "0"], "--deadline-s"),
        (["--prot"], "--prot"),
    ],
)
def test_a_bad_option_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], part: str) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fuzz: ")
    assert captured.err.count("\n") == 1
    assert part in captured.err


def test_known_ids_are_drawn_among_those_of_the_run() -> None:
    ids = [KNOWN_ID.decode()]
    assert pick_known(Random(1), ids) == KNOWN_ID
    assert len(pick_known(Random(1), [])) == len(KNOWN_ID)
