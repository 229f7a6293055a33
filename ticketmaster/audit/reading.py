"""Reading a sale's topics into its books."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ticketmaster.audit.books import Books
from ticketmaster.broker.port import Broker, Pair, TopicPartition, partitions_of
from ticketmaster.wire import topics

_POLL_MS = 200

Progress = Callable[[int], None]


async def read_books(broker: Broker, partitions: int, settle_ms: int, on_progress: Progress) -> Books:
    """The books as of now; what is under way is given up to ``settle_ms`` to come to its decision. ``on_progress``: records so far."""
    books = Books()
    takers: dict[str, Callable[[Iterable[Pair]], None]] = {
        topics.CREATE_RESERVATION.name: books.add_commands,
        topics.USER_RESERVATION.name: books.add_decisions,
        topics.AREA_STATUS.name: books.add_areas,
        topics.AREA_CHANGELOG.name: books.add_area_changelog,
        topics.RESERVATION_CHANGELOG.name: books.add_reservation_changelog,
    }
    positions = {source: 0 for topic in takers for source in partitions_of(topic, partitions)}
    deadline = asyncio.get_running_loop().time() + settle_ms / 1000
    reader = broker.reader(positions)
    records = 0
    try:
        while True:
            for batch in await reader.poll(_POLL_MS):
                takers[batch.source.topic](batch.records)
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
