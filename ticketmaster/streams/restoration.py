"""Bringing a store to the end of its changelog."""

from __future__ import annotations

from ticketmaster.broker.port import Broker, TopicPartition
from ticketmaster.errors import TaskCorrupted
from ticketmaster.state.port import StateStore

_POLL_MS = 1_000


async def restore(broker: Broker, changelog: TopicPartition, store: StateStore) -> int:
    """Reads the changelog from the store's checkpoint to its end as of now; returns how many records that were.

    A store that can't be read, or that is ahead of its changelog, is cleared and restored whole.
    """
    end = (await broker.end_offsets([changelog]))[changelog]
    try:
        position = store.checkpoint()
        if position is not None and position <= end:
            return await _read(broker, changelog, position, end, store)
    except TaskCorrupted:
        pass
    store.clear()
    return await _read(broker, changelog, 0, end, store)


async def _read(broker: Broker, changelog: TopicPartition, position: int, end: int, store: StateStore) -> int:
    restored = 0
    reader = broker.reader({changelog: position})
    try:
        while position < end:
            changes: dict[bytes, bytes | None] = {}
            for batch in await reader.poll(_POLL_MS):
                changes.update(batch.records)
                position = batch.next_offset
                restored += len(batch.records)
            store.write(changes, position)
    finally:
        await reader.stop()
    return restored
