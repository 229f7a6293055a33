"""A shop: connections over which one request follows the other, as many at a time as there are connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.load import HOST

_TIMEOUT_S = 60.0
_LENGTH = b"content-length: "


class Shop:
    """One connection of HTTP/1.1 that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, method: str, path: str, body: object = None) -> bytes:
        """The body of the answer. BenchError: it is not 200."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                head, answer = await self._exchange(method, path, b"" if body is None else msgspec.json.encode(body))
        except (EOFError, OSError) as error:
            raise BenchError(f"{method} {path} is not answered: {error!r}") from error
        if head.split(b" ", 2)[1] != b"200":
            raise BenchError(f"{method} {path} is answered with {head[:12].decode()} {answer[:200].decode(errors='replace')}")
        return answer

    async def _exchange(self, method: str, path: str, content: bytes) -> tuple[bytes, bytes]:
        head = f"{method} /v1/{path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        at = answered.index(_LENGTH) + len(_LENGTH)
        return answered, await self._reader.readexactly(int(answered[at : answered.index(b"\r\n", at)]))

    async def announce(self, event: str, areas: int, hold_seconds: int, hold_seconds_max: int) -> None:
        """An event of so many areas of 400 seats."""
        each = [{"areaId": str(area), "price": 100, "rowCount": 20, "colCount": 20} for area in range(areas)]
        await self.ask(
            "POST", "event", {"eventName": event, "areas": each, "holdSeconds": hold_seconds, "holdSecondsMax": hold_seconds_max}
        )

    async def reserve(self, event: str, area: int) -> str:
        """The id of a reservation of one seat, which is not decided yet."""
        wanted = {"userId": "bench", "areaId": str(area), "numOfSeats": 1, "type": "RANDOM"}
        return (await self.ask("POST", f"event/{event}/reservation", wanted)).decode()

    async def extend(self, reservation: str, seconds: int) -> None:
        """Waits for the decision, then holds for longer."""
        await self.ask("POST", f"reservation/{reservation}/extension", {"seconds": seconds})

    async def decided(self, reservation: str) -> None:
        """Waits for the decision."""
        answer: dict[str, Any] = msgspec.json.decode(await self.ask("GET", f"reservation/{reservation}"))
        if answer["state"] != "RESERVED":
            raise BenchError(f"a reservation is {answer['state']}: {answer['failedReason']}")

    async def pay(self, reservation: str) -> None:
        """Pays, and waits until it is paid."""
        await self.ask("POST", f"reservation/{reservation}/payment", {"reference": "bench"})

    async def free(self, event: str) -> int:
        """How many seats of an event are free."""
        answer: dict[str, Any] = msgspec.json.decode(await self.ask("GET", f"event/{event}"))
        return sum(area["availableSeats"] for area in answer["areas"])


@asynccontextmanager
async def shops(port: int, count: int) -> AsyncIterator[list[Shop]]:
    """So many connections, closed at the end of the block."""
    opened: list[Shop] = []
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(HOST, port)
            writers.append(writer)
            opened.append(Shop(reader, writer))
        yield opened
    finally:
        for writer in writers:
            writer.close()
