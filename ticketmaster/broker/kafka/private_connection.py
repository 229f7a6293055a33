"""Connections of ours differ from aiokafka's in these points: the names of aiokafka that this takes are in ``private.py``, with all others.

A request costs the most when little else goes on: each step of Python is cold then. aiokafka takes an answer apart by a task of each
connection, which is woken for its length and again for the rest, waits for it by a coroutine with a timer of its own, and encodes field by
field. Here an answer is handed to whoever asked when its last byte comes, a connection has one timer, and what is asked all the time is
encoded by hand. Connecting, authentication and finding brokers stay aiokafka's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from io import BytesIO
from struct import Struct
from typing import Any, Final, TypeAlias

from aiokafka.errors import CorrelationIdError, KafkaConnectionError, RequestTimedOutError

from ticketmaster.broker.kafka import private
from ticketmaster.broker.kafka.fetching import Fetch
from ticketmaster.broker.kafka.private import Client

_SIZE: Final = 4
# Key and version of the request, its number, and how many bytes the client's name has.
_HEADER: Final = Struct(">hhih")

Connection: TypeAlias = Any
GetConnection: TypeAlias = Callable[..., Awaitable[Any]]


class _Frames(asyncio.Protocol):
    """Hands answers to a connection that aiokafka has made, each as soon as all of it is there, and closes it when one is late."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        # aiokafka's own knows whether the connection stands, and holds back who writes more than the socket takes.
        self._before = connection._protocol  # noqa: SLF001
        self._timeout_s: float = connection._request_timeout  # noqa: SLF001
        self._received = bytearray()
        # When each of the connection's requests will have waited too long, in order.
        self._deadlines_s: deque[float] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def take_over(self) -> None:
        """From now on bytes come here. Nothing is under way on the connection."""
        connection = self._connection
        connection._read_task.cancel()  # noqa: SLF001
        connection._writer.transport.set_protocol(self)  # noqa: SLF001

    def ask(self, request: Any) -> asyncio.Future[Any]:
        """Sends a request, in the order of the calls; the answer comes in the future. KafkaConnectionError: it is closed."""
        connection = self._connection
        writer, versions, name = connection._writer, connection._versions, connection._client_id.encode()  # noqa: SLF001
        if writer is None:
            raise KafkaConnectionError(f"the connection to {connection.host}:{connection.port} is closed")
        asked = _prepared(request, versions)
        number: int = connection._next_correlation_id()  # noqa: SLF001
        head = _HEADER.pack(asked.API_KEY, asked.API_VERSION, number, len(name)) + name
        message: bytes = head + (b"\x00" if asked.FLEXIBLE_VERSION else b"") + asked.encode()
        writer.write(len(message).to_bytes(_SIZE, "big") + message)
        answer = self._loop.create_future()
        connection._requests.append((number, asked, answer))  # noqa: SLF001
        deadline_s = self._loop.time() + self._timeout_s
        self._deadlines_s.append(deadline_s)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline_s, self._look)
        return answer

    def _look(self) -> None:
        """Answers come in the order of requests: where the oldest is late, the connection is dead."""
        self._timer = None
        if not self._deadlines_s:
            return
        if self._loop.time() < self._deadlines_s[0]:
            self._timer = self._loop.call_at(self._deadlines_s[0], self._look)
            return
        connection = self._connection
        if connection._requests:  # noqa: SLF001
            answer = connection._requests[0][2]  # noqa: SLF001
            if not answer.done():
                answer.set_exception(RequestTimedOutError())
        connection.close(reason=private.CONNECTION_TIMEOUT)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= _SIZE:
            end = _SIZE + int.from_bytes(received[:_SIZE], "big")
            if len(received) < end:
                break
            frame = bytes(memoryview(received)[_SIZE:end])
            del received[:end]
            try:
                self._answer(frame)
            except Exception as cause:  # noqa: BLE001 - whatever it is, nothing that follows can be read
                self._connection.close(reason=private.CONNECTION_BROKEN, exc=cause)

    def _answer(self, frame: bytes) -> None:
        connection = self._connection
        if not connection._requests:  # noqa: SLF001
            # It was closed meanwhile, or nobody has asked.
            connection.close(reason=private.OUT_OF_SYNC)
            return
        number, asked, answer = connection._requests[0]  # noqa: SLF001
        if int.from_bytes(frame[:_SIZE], "big") != number:
            if not answer.done():
                answer.set_exception(CorrelationIdError(f"an answer to another request than {number}"))
            connection.close(reason=private.OUT_OF_SYNC)
            return
        # The asker may have given up.
        if not answer.done():
            answer.set_result(_read(asked, frame))
        connection._last_action = self._loop.time()  # noqa: SLF001
        connection._requests.popleft()  # noqa: SLF001
        self._deadlines_s.popleft()

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()

    def eof_received(self) -> None:
        self._before.eof_received()
        self._connection.close(reason=private.CONNECTION_BROKEN)

    def connection_lost(self, exc: Exception | None) -> None:
        self._before.connection_lost(exc)
        if self._timer:
            self._timer.cancel()
        # The connection and this know each other, so they stay for a while.
        self._received.clear()
        self._connection.close(reason=private.CONNECTION_BROKEN, exc=exc)


def _prepared(request: Any, versions: Any) -> Any:
    """A request in the newest version that the broker knows."""
    if type(request) is Fetch:
        return request
    if type(request) is private.MetadataRequest:
        # Where ``auto.create.topics.enable`` is on, as it is by default, aiokafka's requests create each topic that they name.
        request._allow_auto_topic_creation = False  # noqa: SLF001
    return request.prepare(versions)


def _read(asked: Any, frame: bytes) -> Any:
    # Our own requests know how.
    answer = getattr(asked, "answer", None)
    if answer:
        return answer(frame)
    data = BytesIO(frame)
    asked.parse_response_header(data)
    return asked.RESPONSE_TYPE.decode(data)


def is_connected(client: Client, node: Any, group: Any) -> bool:
    """Whether a client has a connection to a node that works."""
    known = client._conns.get((node, group))  # noqa: SLF001
    return known is not None and known.connected()


def connection_to(client: Client, node: Any, group: Any) -> Connection | None:
    """A client's connection to a node, if it has one that works and behaves."""
    connection = client._conns.get((node, group))  # noqa: SLF001
    return connection if connection is not None and connection.connected() and "send" in vars(connection) else None


def leave_fetches(client: Client) -> None:
    """Closes the connections on which fetches are under way.

    Nobody wants their answers, but a broker takes one request of a connection after the other.
    """
    for (_, group), connection in list(client._conns.items()):  # noqa: SLF001
        if group != private.CONNECTION_OF_FETCHES:
            continue
        answers = [answer for _, _, answer in connection._requests]  # noqa: SLF001
        for answer in answers:
            # Else a fetch that is not told yet that it was left would say that it has failed.
            answer.cancel()
        if answers:
            connection.close()


def behave(connection: Connection) -> None:
    """Makes a connection that aiokafka has made behave as :class:`_Frames` has it, whoever it is that sends over it."""
    # Several may have waited for it to be made; one that was closed at once asks nothing any more.
    if "send" in vars(connection) or not connection.connected() or connection._requests:  # noqa: SLF001 - one by which a cluster was found
        return
    send, frames = connection.send, _Frames(connection)
    frames.take_over()

    def send_well(request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: FBT001, FBT002 - as aiokafka's
        # Where no answer is asked for there is nothing to wait for but the socket.
        return frames.ask(request) if expect_response else send(request, expect_response=False)

    connection.send = send_well


def connect_by(client: Client, wrapped: Callable[[GetConnection], GetConnection]) -> None:
    """Wraps how this client finds its connection to a node, if it has none: every request goes through there."""
    client._get_conn = wrapped(client._get_conn)  # noqa: SLF001
    connect_and_send = client.send

    async def send(node: Any, request: Any, *, group: Any = private.CONNECTION_DEFAULT) -> Any:
        connection = connection_to(client, node, group)
        # Requests without an answer aiokafka sends in a way of its own.
        if connection is None or not getattr(request, "required_acks", 1):
            return await connect_and_send(node, request, group=group)
        return await connection.send(request)

    client.send = send
