"""Answers off the connection: read strictly, for whatever a server sends must be HTTP."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [\t\x20-\x7e]*)?")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_READ_BYTES = 1 << 16
# Larger than any answer.
_HEAD_BYTES_MAX = 1 << 16


class BrokenAnswer(Exception):
    """The bytes that came are no HTTP, or fewer than were promised."""


class Answer(NamedTuple):
    """A response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the server says that it will close the connection."""
        return self.headers.get("connection", "").lower() == "close"


def parse_answer(data: bytes | bytearray, method: bytes, *, ended: bool) -> tuple[Answer, int] | None:
    """The first final answer in ``data`` and where it ends; None: more is needed. BrokenAnswer: it is none, or the end came too early."""
    start = 0
    while True:
        if start and start == len(data):
            # Interim answers only, like 100: the final one has yet to come, or never will.
            return None
        head_end = data.find(b"\r\n\r\n", start)
        if head_end < 0:
            if ended or len(data) - start > _HEAD_BYTES_MAX or not b"HTTP/1.".startswith(data[start : start + 7]):
                raise BrokenAnswer("no head of an answer")
            return None
        status, headers = _parse_head(bytes(data[start:head_end]))
        start = head_end + 4
        if status >= 200:
            break
    if method == b"HEAD" or status in (204, 304):
        return Answer(status, headers, b""), start
    if "transfer-encoding" in headers or "content-length" not in headers:
        raise BrokenAnswer("an answer without content-length")
    if not re.fullmatch(r"\d{1,10}", headers["content-length"], re.ASCII):
        raise BrokenAnswer(f"content-length: {headers['content-length']}")
    end = start + int(headers["content-length"])
    if len(data) < end:
        if ended:
            raise BrokenAnswer(f"the body broke off after {len(data) - start} of {end - start} bytes")
        return None
    return Answer(status, headers, bytes(data[start:end])), end


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if not status_line:
        raise BrokenAnswer("no status line")
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if not header:
            raise BrokenAnswer(f"no header: {line[:100]!r}")
        name = header[1].decode().lower()
        if name in headers:
            raise BrokenAnswer(f"{name} came twice")
        headers[name] = header[2].decode("latin-1")
    return int(status_line[1]), headers


class Line:
    """A connection. That a write fails does not hide what the server has said before."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self.received = bytearray()
        self.ended = False
        self.uses = 0
        # Read by a callback: what has arrived can not get lost with whoever stopped waiting for it.
        self._loop.add_reader(connected, self._read)

    @classmethod
    async def open(cls, host: str, port: int) -> Line:
        """Connects. OSError: nobody listens."""
        connected = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connected.setblocking(False)  # noqa: FBT003 - the socket module's own
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(connected, (host, port))
        except BaseException:
            connected.close()
            raise
        return cls(connected)

    async def send(self, data: bytes) -> bool:
        """Whether the server still took it."""
        try:
            await self._loop.sock_sendall(self._socket, data)
        except OSError:
            return False
        return True

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data
        if not data:
            self.ended = True
            self._loop.remove_reader(self._socket)
        self._news.set()

    async def receive(self) -> bool:
        """Waits for more bytes than there are; False: there will be none."""
        if not self.ended:
            self._news.clear()
            await self._news.wait()
        return not self.ended

    async def answer(self, method: bytes) -> Answer | None:
        """The next answer; None: the server has closed the connection instead. BrokenAnswer: it is none."""
        while True:
            if self.received:
                found = parse_answer(self.received, method, ended=self.ended)
                if found:
                    del self.received[: found[1]]
                    return found[0]
                if self.ended:
                    self.received.clear()
            if self.ended:
                return None
            await self.receive()

    def shut(self) -> None:
        """Says that nothing more will come."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Closes as a crash does."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Closes; a second time does nothing."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        self.ended = True
