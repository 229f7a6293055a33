"""A small HTTP/1.1 client on kept connections: fast enough to load the server, and exact about what was answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

# Longer than the server's long poll: an answer that comes later is a hang.
TIMEOUT_S = 20.0


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - what JSON may hold
        """The body, parsed."""
        return json.loads(self.body)


class Lost(Exception):
    """The connection broke before the response was complete: the request may have been carried out, or not."""


class Connection:
    """One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Sends a request and reads its response. Lost: it broke off; TimeoutError: the server hangs."""
        data = b"" if body is None else json.dumps(body).encode()
        given = {"host": "localhost", "content-type": "application/json", "content-length": str(len(data))} | dict(headers or {})
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items()) + "\r\n"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._writer.write(head.encode() + data)
                return await self._reply()
        except (OSError, asyncio.IncompleteReadError) as cause:
            if isinstance(cause, TimeoutError):
                raise
            raise Lost(f"{method} {path}") from cause

    async def _reply(self) -> Reply:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Reply(int(status.split()[1]), headers, await self._reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    """A connection to ``host:port``. Lost: nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError as cause:
        raise Lost(address) from cause
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ask(address: str, method: str, path: str, body: object = None) -> Reply:
    """One request on a connection of its own."""
    async with connected(address) as connection:
        return await connection.request(method, path, body)
