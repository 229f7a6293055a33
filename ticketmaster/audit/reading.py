"""Reading a sale's topics into its books."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ticketmaster.audit.books import Books
from ticketmaster.broker.port import Broker, TopicPartition, partitions_of
from ticketmaster.wire import topics

_POLL_MS = 200

Progress = Callable[[int], None]


async def read_books(broker: Broker, partitions: int, settle_ms: int, on_progress: Progress) -> Books:
    """The books as of now; what is under way is given up to ``settle_ms`` to come to its decision. ``on_progress``: records so far."""
    books = Books()
    positions = {source: 0 for topic in topics.ALL_TOPICS for source in partitions_of(topic.name, partitions)}
    deadline = asyncio.get_running_loop().time() + settle_ms / 1000
    reader = broker.reader(positions)
    records = 0
    try:
        while True:
            for batch in await reader.poll(_POLL_MS):
                books.take(batch)
                positions[batch.source] = batch.next_offset
                records += len(batch.records)
            on_progress(records)
            if await _is_behind(broker, positions):
                continue
            if not books.undecided() or asyncio.get_running_loop().time() > deadline:
                return books
    finally:
        await reader.stop()


async def _is_behind(broker: Broker, positions: dict[TopicPartition, int]) -> bool:
    ends = await broker.end_offsets(list(positions))
    return any(positions[source] < end for source, end in ends.items())
