"""Each exchange of the table in docs/http.md, byte by byte over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import chain

import pytest
import pytest_asyncio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset

from scripts.docs.exchanges import EXCHANGES, Exchange
from tests.e2e.conftest import LIMITS
from tests.e2e.site import TIMEOUT_S, announce, client_of, site
from tests.fuzz.answers import Answer, parse_answer
from ticketmaster.ticket.operations import OperationRoutes
from ticketmaster.ticket.responding import TEXT
from ticketmaster.ticket.server import HttpServer
from ticketmaster.ticket.settings import ServerSettings

RUNS = [
    pytest.param(exchange, version, id=f"{exchange.what}: {exchange.request} over {version}")
    for exchange in chain.from_iterable(EXCHANGES.values())
    for version in exchange.over
]
RESET = Answer(0, {}, b"")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=[True, False], ids=["notes", "rsgi"])
async def ports(request: pytest.FixtureRequest) -> AsyncIterator[tuple[int, int]]:
    """The port of the service, and the one of its operators: of one site for all exchanges, as a site has many clients."""
    settings = ServerSettings(port=0, notes=request.param)
    operators = HttpServer(OperationRoutes(lambda: True, lambda responder: responder.response_bytes(200, TEXT, b"up 1\n")), settings)
    async with site(LIMITS, settings) as one:
        async with client_of(one.address, 1) as client:
            await announce(client)
        try:
            yield one.port, await operators.start()
        finally:
            await operators.stop()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("exchange", "version"), RUNS)
async def test_an_exchange_is_as_the_document_says(ports: tuple[int, int], exchange: Exchange, version: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        answer = await (over_http2 if version == "2" else over_http1)(ports[exchange.operators], exchange, version)

    status, _, code = exchange.answer.partition(" ")
    assert answer.status == (0 if status == "reset" else int(status)), answer
    if exchange.request.startswith("HEAD "):
        assert answer.body == b""
    elif code:
        assert f'"code":"{code}"'.encode() in answer.body
    for line in exchange.told:
        name, _, value = line.partition(": ")
        assert answer.headers.get(name) == value or (value == "*" and answer.headers.get(name)), answer.headers


def parts_of(exchange: Exchange) -> tuple[str, str, list[tuple[str, str]], bytes]:
    """Method, target, headers but Host, and body."""
    method, _, target = exchange.request.partition(" ")
    body = exchange.body if isinstance(exchange.body, bytes) else exchange.body.encode()
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in exchange.sent)]
    frames = {name for name, _ in headers} & {"content-length", "transfer-encoding"}
    return method, target, headers + ([("content-length", str(len(body)))] if body and not frames else []), body


async def over_http1(port: int, exchange: Exchange, version: str) -> Answer:
    """The answer, behind which nothing comes."""
    method, target, headers, body = parts_of(exchange)
    lines = [
        f"{method} {target} HTTP/{version}",
        *(f"Host: {host}" for host in exchange.hosts),
        *(f"{name}: {value}" for name, value in headers),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        # The second request is answered behind the first answer: what that had too much would be in the way.
        following = (
            b"GET /v1/health_check HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" if version == "1.1" and method != "CONNECT" else b""
        )
        writer.write("\r\n".join([*lines, *([] if following else ["connection: close"]), "", ""]).encode() + body + following)
        data = await reader.read()
    finally:
        writer.close()
    parsed = parse_answer(data, method.encode(), ended=True)
    assert parsed
    answer, end = parsed
    behind = parse_answer(data[end:], b"GET", ended=True) if following and not answer.closes else None
    assert behind[0].status == 200 if behind else end == len(data)
    return answer


async def over_http2(port: int, exchange: Exchange, _version: str) -> Answer:
    """The answer on a stream; RESET if it was given up."""
    method, target, headers, body = parts_of(exchange)
    hosts = [("host", host) for host in exchange.hosts] if exchange.over == ("2",) else []
    authority = [] if exchange.authority is None else [(":authority", exchange.authority)]
    # Told apart from what the library would mend or refuse.
    connection = H2Connection(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
    connection.initiate_connection()
    pseudo = [(":method", method), (":scheme", "http"), *authority, (":path", target)]
    connection.send_headers(1, [*pseudo, *hosts, *headers], end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    events: list[Event] = []
    try:
        while not any(isinstance(event, StreamEnded | StreamReset) for event in events):
            writer.write(connection.data_to_send())
            received = await reader.read(1 << 16)
            assert received
            events += connection.receive_data(received)
    finally:
        writer.close()
    if any(isinstance(event, StreamReset) for event in events):
        return RESET
    (head,) = (event for event in events if isinstance(event, ResponseReceived))
    told = {name.decode(): value.decode() for name, value in head.headers}
    content = b"".join(event.data for event in events if isinstance(event, DataReceived))
    return Answer(int(told.pop(":status")), told, content)
