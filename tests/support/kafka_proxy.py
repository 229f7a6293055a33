"""A TCP proxy before a Kafka broker that understands requests just enough to hold one up, or to lose its answer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest
from aiokafka import client

END_TXN = 26
TXN_OFFSET_COMMIT = 28

# What may befall a request: its answer never comes; the connection breaks instead of it; the request itself is kept until released,
# while its connection stays silent, or breaks.
DROP_ANSWER, CUT, HOLD, HOLD_AND_CUT = "drop answer", "cut", "hold", "hold and cut"


class _Held(NamedTuple):
    frame: bytes
    broker: asyncio.StreamWriter


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(struct.unpack(">i", size)[0])


class KafkaProxy:
    """All connections that aiokafka opens while it is installed go through it, to whichever broker they are meant for."""

    def __init__(self) -> None:
        # What befalls the next request of a kind, once.
        self.next: dict[int, str] = {}
        # The kinds of requests that have passed, in order.
        self.seen: list[int] = []
        self._held: list[_Held] = []
        self._jobs: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._is_closed = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Until the test ends."""
        connect: Callable[..., object] = client.create_conn

        async def through(host: str, port: int, **options: object) -> object:
            if self._is_closed:
                raise OSError("the proxy is gone")
            server = await asyncio.start_server(lambda reader, writer: self._relay(reader, writer, host, port), "127.0.0.1", 0)
            try:
                return await connect("127.0.0.1", server.sockets[0].getsockname()[1], **options)  # type: ignore[misc]
            finally:
                # Whoever wanted the connection may have given up meanwhile.
                server.close()

        monkeypatch.setattr(client, "create_conn", through)

    def release(self) -> None:
        """Passes all held requests on to the broker."""
        for held in self._held:
            held.broker.write(held.frame)
        self._held.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        self._writers.append(writer)
        from_broker, to_broker = await asyncio.open_connection(host, port)
        self._writers.append(to_broker)
        if self._is_closed:
            writer.close()
            to_broker.close()
            return
        lost: set[int] = set()
        self._jobs.append(asyncio.create_task(self._answers(from_broker, writer, lost)))
        try:
            while True:
                frame = await _frame(reader)
                kind, _, correlation = struct.unpack(">hhi", frame[4:12])
                self.seen.append(kind)
                fate = self.next.pop(kind, None)
                if fate in {HOLD, HOLD_AND_CUT}:
                    # The connection to the broker stays, for the late request.
                    self._held.append(_Held(frame, to_broker))
                    if fate == HOLD_AND_CUT:
                        writer.close()
                    return
                if fate == DROP_ANSWER:
                    lost.add(correlation)
                to_broker.write(frame)
                if fate == CUT:
                    await to_broker.drain()
                    writer.close()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            to_broker.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: set[int]) -> None:
        try:
            while True:
                frame = await _frame(reader)
                if struct.unpack(">i", frame[4:8])[0] not in lost and not writer.is_closing():
                    writer.write(frame)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def close(self) -> None:
        """Ends what still relays: both ends of a connection see it break, and who then connects again is refused."""
        self._is_closed = True
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._jobs, *(writer.wait_closed() for writer in self._writers), return_exceptions=True)
