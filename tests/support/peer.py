"""Another ticket process, as one that asks it sees it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes

_PATH = b"/internal/v1/reservation/"


class Side(asyncio.Protocol):
    """The peer's end of one connection."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.http = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.asked: list[tuple[int, bytes]] = []
        # The paths of posts, by their streams.
        self.posts: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's is one by its methods only.
        self.transport = cast("asyncio.Transport", transport)
        self.peer.sides.append(self)
        self.http.initiate_connection()
        self.http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self.peer.streams_max})
        self.transport.write(self.http.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.http.receive_data(data):
            if isinstance(event, RequestReceived):
                headers = dict(event.headers or ())
                path = headers[b":path"]
                assert path.startswith(_PATH)
                if headers[b":method"] == b"POST":
                    name = self.posts[event.stream_id or 0] = path.removeprefix(_PATH)
                    self.peer.traceparents[name] = headers.get(b"traceparent", b"")
                self.asked.append((event.stream_id or 0, path.rpartition(b"/")[2]))
                self.peer.most_at_once = max(self.peer.most_at_once, len(self.asked))
            elif isinstance(event, DataReceived):
                name = self.posts[event.stream_id]
                self.peer.bodies[name] = self.peer.bodies.get(name, b"") + event.data
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamReset):
                self.asked = [(number, key) for number, key in self.asked if number != event.stream_id]
                self.peer.resets += 1
        self.transport.write(self.http.data_to_send())
        if self.peer.answers_at_once:
            self.answer()

    def answer(self, status: int = 200, body: Callable[[bytes], bytes] = bytes.upper) -> None:
        """Answers all that is asked, in any order."""
        asked, self.asked = self.asked, []
        random.Random(7).shuffle(asked)
        for number, key in asked:
            self.http.send_headers(number, [(b":status", b"%d" % status)])
            self.http.send_data(number, body(key), end_stream=True)
        self.transport.write(self.http.data_to_send())


class Peer:
    """Another process, which answers when the test says so."""

    def __init__(self) -> None:
        self.sides: list[Side] = []
        self.streams_max = 20_000
        self.answers_at_once = False
        self.most_at_once = 0
        self.resets = 0
        # Of posts, by their paths.
        self.bodies: dict[bytes, bytes] = {}
        self.traceparents: dict[bytes, bytes] = {}

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self.accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    def accept(self) -> asyncio.BaseProtocol:
        """Who serves one more connection."""
        return Side(self)

    def close(self) -> None:
        self.server.close()
        for side in self.sides:
            side.transport.abort()

    @property
    def asked(self) -> list[bytes]:
        return [key for side in self.sides for _, key in side.asked]


class Told:
    """What the asker was told."""

    def __init__(self) -> None:
        self.answers: dict[bytes, tuple[int, bytes]] = {}
        self.failures: list[bytes] = []

    def on_answer(self, key: bytes, status: int, body: bytes, _traceparent: bytes) -> None:
        assert key not in self.answers
        self.answers[key] = (status, body)
