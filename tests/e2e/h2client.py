"""HTTP/2 by frames, on one connection: thousands of streams at once, and requests that are broken off in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

_WINDOW_BYTES = 1 << 24


@dataclass
class Reply:
    """The part of an answer that has come on a stream so far."""

    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    was_reset: bool = False


class Multiplexed(asyncio.Protocol):
    """A connection by prior knowledge."""

    def __init__(self) -> None:
        self.replies: dict[int, Reply] = {}
        self.greeted = asyncio.Event()
        self.streams_max = 0
        self._h2 = H2Connection(H2Configuration(client_side=True))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW_BYTES)
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, RemoteSettingsChanged) and SettingCodes.MAX_CONCURRENT_STREAMS in event.changed_settings:
                self.streams_max = event.changed_settings[SettingCodes.MAX_CONCURRENT_STREAMS].new_value
                self.greeted.set()
            elif isinstance(event, ResponseReceived):
                self.replies[event.stream_id].status = int(dict(event.headers)[b":status"])
            elif isinstance(event, DataReceived):
                self.replies[event.stream_id].body += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded | StreamReset):
                self.replies[event.stream_id].was_reset = isinstance(event, StreamReset)
                self.replies[event.stream_id].done.set()
        self.flush()

    def send(self, method: str, path: str, body: bytes = b"", *, ends: bool = True, length: int | None = None) -> int:
        """Opens a stream; ``ends`` says whether the request is complete. Returns the stream's number."""
        number = self._h2.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
        if length is not None:
            headers.append(("content-length", str(length)))
        self.replies[number] = Reply()
        self._h2.send_headers(number, headers, end_stream=ends and not body)
        if body:
            self._h2.send_data(number, body, end_stream=ends)
        return number

    def send_more(self, number: int, body: bytes, *, ends: bool) -> None:
        """Sends more of a stream's body."""
        self._h2.send_data(number, body, end_stream=ends)
        self.flush()

    def cancel(self, number: int) -> None:
        """Breaks a stream off."""
        self._h2.reset_stream(number)
        self.flush()

    def flush(self) -> None:
        """Sends what is ready."""
        self._transport.write(self._h2.data_to_send())

    async def reply(self, number: int) -> Reply:
        """The whole reply on a stream."""
        self.flush()
        reply = self.replies[number]
        await reply.done.wait()
        return reply

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()


@asynccontextmanager
async def multiplexed(port: int) -> AsyncIterator[Multiplexed]:
    """A connection that knows the server's settings."""
    _, connection = await asyncio.get_running_loop().create_connection(Multiplexed, "127.0.0.1", port)
    try:
        await asyncio.wait_for(connection.greeted.wait(), 5)
        yield connection
    finally:
        connection.close()
