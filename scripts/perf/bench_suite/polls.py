"""Clients that do nothing but wait: long polls over HTTP/2, as many as fit into one process."""

from __future__ import annotations

import socket
import struct
import time
import uuid
from collections.abc import Iterator

from hpack import Encoder, NeverIndexedHeaderTuple

from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.load import HOST

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS = 1, 4
_END_OF_STREAM_AND_HEADERS, _ACKNOWLEDGED = 0x05, 0x01
# As many as one connection may carry, and how many are sent before the server is given time to take them.
STREAMS_EACH = 20_000
_STEP = 2_000
_PAUSE_S = 0.05
_SETTLE_S = 3.0
_SEND_TIMEOUT_S = 60.0


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    # RFC 9113, section 4.1.
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


class Waiters:
    """Connections with many requests each, for reservations that nobody makes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: list[socket.socket] = []
        self._asked = 0
        self._ended = 0

    def ask(self, count: int) -> int:
        """Asks for so many more; returns how many wait in the end, which is less where some were answered."""
        while count > 0:
            here = min(count, STREAMS_EACH)
            self._connect(here)
            count -= here
        time.sleep(_SETTLE_S)
        self._ended += sum(self._answered(connection) for connection in self._connections)
        return self._asked - self._ended

    def _connect(self, count: int) -> None:
        connection = socket.create_connection((HOST, self._port), timeout=_SEND_TIMEOUT_S)
        self._connections.append(connection)
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_SETTINGS, _ACKNOWLEDGED, 0, b""))
        authority = f"{HOST}:{self._port}".encode()
        encoder = Encoder()
        frames = []
        for number in range(count):
            path = b"/v1/reservation/" + str(uuid.uuid4()).encode()
            headers = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", authority), NeverIndexedHeaderTuple(b":path", path)]
            frames.append(_frame(_HEADERS, _END_OF_STREAM_AND_HEADERS, 2 * number + 1, encoder.encode(headers, huffman=False)))
            if len(frames) == _STEP:
                connection.sendall(b"".join(frames))
                frames.clear()
                time.sleep(_PAUSE_S)
        connection.sendall(b"".join(frames))
        self._asked += count

    @staticmethod
    def _answered(connection: socket.socket) -> int:
        connection.settimeout(0)
        received = bytearray()
        try:
            while piece := connection.recv(1 << 20):
                received += piece
            raise BenchError("a connection was closed while its requests waited")
        except BlockingIOError:
            pass
        return sum(kind == _HEADERS for kind in _kinds(bytes(received)))

    def close(self) -> None:
        """Waits no longer."""
        for connection in self._connections:
            connection.close()


def _kinds(data: bytes) -> Iterator[int]:
    """The kind of each whole frame."""
    at = 0
    while at + 9 <= len(data):
        yield data[at + 3]
        at += 9 + int.from_bytes(data[at : at + 3], "big")
