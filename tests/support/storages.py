"""Storages that tests can hold up and break: each is the memory storage with a gate before its writes."""

from __future__ import annotations

import asyncio

from ticketmaster.broker.embedded.storage import MemoryStorage, Write


class GatedStorage(MemoryStorage):
    """Notes every write, lets it pass while the gate is open, and fails it if told so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.writes: list[Write] = []
        self.failure: Exception | None = None
        self.closed = False
        self.delay_s = 0.0

    async def write(self, write: Write) -> None:
        self.writes.append(write)
        await self.gate.wait()
        await asyncio.sleep(self.delay_s)
        if self.failure:
            raise self.failure
        await super().write(write)

    def close(self) -> None:
        self.closed = True
