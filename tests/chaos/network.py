"""A network between a process and the brokers that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

_CHUNK_BYTES = 65_536


class Network:
    """A port of ours for each port of theirs, on 127.0.0.1; what comes in at the one goes out at the other, both ways."""

    def __init__(self, targets: Iterable[int]) -> None:
        self._targets = tuple(targets)
        # By the port that it leads to.
        self.ports: dict[int, int] = {}
        self._whole = asyncio.Event()
        self._whole.set()
        self._refusing = False
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._jobs: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for target in self._targets:
            server = await asyncio.start_server(lambda reader, writer, to=target: self._relay(reader, writer, to), "127.0.0.1", 0)  # type: ignore[misc]
            self._servers.append(server)
            self.ports[target] = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        self._close_all()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    def cut(self, *, silent: bool) -> None:
        """Nothing gets through any more: silently, and what was sent arrives when it is mended, or by breaking every connection."""
        self._whole.clear()
        self._refusing = not silent
        if not silent:
            self._close_all()

    def mend(self) -> None:
        """All gets through again."""
        self._refusing = False
        self._whole.set()

    def _close_all(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        job = asyncio.current_task()
        assert job is not None
        self._jobs.add(job)
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            await self._whole.wait()
            back, onward = await asyncio.open_connection("127.0.0.1", target)
            self._writers.add(onward)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, onward))
                group.create_task(self._pass_on(back, writer))
        except (OSError, asyncio.CancelledError):
            # Python 3.11 calls a connection's end by cancellation an error.
            pass
        finally:
            for end in (writer, onward):
                if end:
                    end.close()
                    self._writers.discard(end)
            self._jobs.discard(job)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one end closes, which closes the other."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
