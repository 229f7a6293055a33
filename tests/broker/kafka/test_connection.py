"""A connection that aiokafka has made, and what is done with it then: answers are handed on whole, in order, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import CorrelationIdError, KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.coordination import FindCoordinatorRequest, FindCoordinatorRequest_v1
from aiokafka.protocol.fetch import FetchRequest_v11

from ticketmaster.broker.kafka.fetching import Fetch
from ticketmaster.broker.kafka.private_connection import behave

SIZE = 4
HEADER_BYTES = 10
VERSIONS = [(18, 0, 0), (10, 0, 1), (1, 4, 11)]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def asked(reader: asyncio.StreamReader) -> tuple[bytes, Any]:
    """(the number of the next request, its body)."""
    frame = await reader.readexactly(int.from_bytes(await reader.readexactly(SIZE), "big"))
    return frame[SIZE : 2 * SIZE], BytesIO(frame[HEADER_BYTES + int.from_bytes(frame[8:10], "big") :])


def answer(number: bytes, body: bytes) -> bytes:
    return (SIZE + len(body)).to_bytes(SIZE, "big") + number + body


@asynccontextmanager
async def connection_to(serve: Serve, timeout_ms: int = 10_000) -> AsyncIterator[AIOKafkaConnection]:
    """A connection to a broker that tells its versions, and then does as told."""

    async def serves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            number, _ = await asked(reader)
            writer.write(answer(number, ApiVersionResponse_v0(0, VERSIONS).encode()))
            await serve(reader, writer)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serves, "127.0.0.1", 0)
    connection = await create_conn("127.0.0.1", server.sockets[0].getsockname()[1], client_id="me", request_timeout_ms=timeout_ms)
    behave(connection)
    try:
        yield connection
    finally:
        closed = connection.close()
        if closed:
            await closed
        server.close()
        await server.wait_closed()


def lookup(key: str) -> FindCoordinatorRequest:
    return FindCoordinatorRequest(key, 0)


def found(number: bytes, node: int) -> bytes:
    return answer(number, FindCoordinatorRequest_v1.RESPONSE_TYPE(0, 0, None, node, "host", 1).encode())


async def test_answers_come_to_whoever_asked_however_their_bytes_come() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        numbers = [(await asked(reader))[0] for _ in range(3)]
        data = b"".join(found(number, node) for node, number in enumerate(numbers))
        # Byte by byte, then two in one.
        for at in range(50):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(data[50:])

    async with connection_to(serve) as connection, asyncio.timeout(10):
        answers = await asyncio.gather(*[connection.send(lookup(key)) for key in "abc"])

    assert [one.coordinator_id for one in answers] == [0, 1, 2]


async def test_a_fetch_is_asked_and_answered_by_hand() -> None:
    topics = [("t", [(0, 5, 1 << 20)])]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, body = await asked(reader)
        request = FetchRequest_v11.decode(body)
        assert request.topics == [("t", [(0, -1, 5, -1, 1 << 20)])]
        writer.write(answer(number, FetchRequest_v11.RESPONSE_TYPE(0, 0, 0, [("t", [(0, 0, 9, 8, 1, [], -1, b"data")])]).encode()))

    async with connection_to(serve) as connection, asyncio.timeout(10):
        got = await connection.send(Fetch(500, 1, 1 << 20, 1, topics, ""))

    assert got == [("t", [(0, 0, 9, 8, 1, [], -1, b"data")])]


async def test_a_connection_with_a_late_answer_is_closed_and_all_who_wait_hear_of_it() -> None:
    async with connection_to(lambda _, __: asyncio.sleep(0), timeout_ms=50) as connection, asyncio.timeout(10):
        first, second = connection.send(lookup("a")), connection.send(lookup("b"))
        await asyncio.wait({first, second})

        assert isinstance(first.exception(), RequestTimedOutError)
        assert isinstance(second.exception(), KafkaConnectionError)
        assert not connection.connected()
        with pytest.raises(KafkaConnectionError):
            await connection.send(lookup("c"))


async def test_an_answer_nobody_waits_for_any_more_is_in_nobodys_way() -> None:
    given_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, _ = await asked(reader)
        await given_up.wait()
        writer.write(found(number, 1))
        writer.write(found((await asked(reader))[0], 2))

    async with connection_to(serve) as connection, asyncio.timeout(10):
        first = connection.send(lookup("a"))
        first.cancel()
        given_up.set()
        second = await connection.send(lookup("b"))

    assert second.coordinator_id == 2


@pytest.mark.parametrize("ends", ["close", "abort"])
async def test_a_connection_that_its_broker_ends_fails_whoever_waits(ends: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        getattr(writer.transport, ends)()

    async with connection_to(serve) as connection, asyncio.timeout(10):
        with pytest.raises(KafkaConnectionError):
            await connection.send(lookup("a"))
        assert not connection.connected()


async def test_an_answer_to_something_else_ends_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(found(b"\x00\x00\x70\x00", 1))

    async with connection_to(serve) as connection, asyncio.timeout(10):
        with pytest.raises(CorrelationIdError):
            await connection.send(lookup("a"))
        assert not connection.connected()


@pytest.mark.parametrize("body", [b"", b"\x00"])
async def test_an_answer_that_can_t_be_read_ends_the_connection(body: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, _ = await asked(reader)
        writer.write(answer(number, body))

    async with connection_to(serve) as connection, asyncio.timeout(10):
        with pytest.raises(KafkaConnectionError):
            await connection.send(lookup("a"))
        assert not connection.connected()


async def test_a_connection_in_use_is_left_as_it_is_until_it_is_free() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for node in range(2):
            number, body = await asked(reader)
            assert isinstance(FindCoordinatorRequest_v1.decode(body), FindCoordinatorRequest_v1)
            writer.write(found(number, node))

    async with connection_to(serve) as connection, asyncio.timeout(10):
        assert "send" in vars(connection)
        del connection.send
        # By aiokafka's own, as a client does that looks for its cluster.
        connection._read_task = connection._create_reader_task()
        connection._writer.transport.set_protocol(connection._protocol)
        answered = asyncio.ensure_future(connection.send(lookup("a")))
        behave(connection)
        assert "send" not in vars(connection)
        assert (await answered).coordinator_id == 0
        behave(connection)
        assert (await connection.send(lookup("b"))).coordinator_id == 1
