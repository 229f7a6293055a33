"""A second address of a server, which comes and goes as a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def piped(address: str, port: int) -> AsyncIterator[None]:
    """A port of this machine that leads to ``host:port``, for as long as the block lasts."""
    host, _, target_port = address.rpartition(":")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
        except ConnectionError:
            pass
        finally:
            sink.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(host, int(target_port))
        await asyncio.gather(pump(reader, forth), pump(back, writer))

    async with await asyncio.start_server(connected, "127.0.0.1", port):
        yield
