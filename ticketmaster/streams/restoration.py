"""Bringing a store to the end of its changelog."""

from __future__ import annotations

import asyncio

from ticketmaster.broker.port import Broker, TopicPartition
from ticketmaster.errors import TaskCorrupted
from ticketmaster.state.port import StateStore
from ticketmaster.telemetry.observer import Observer
from ticketmaster.telemetry.tracing import Kind

_POLL_MS = 1_000
_PROGRESS_S = 1.0


async def restore(broker: Broker, changelog: TopicPartition, store: StateStore, task: str, observer: Observer) -> int:
    """Reads the changelog from the store's checkpoint to its end as of now; returns how many records that were.

    A store that can't be read, or that is ahead of its changelog, is cleared and restored whole. ``observer`` is told once a second
    how far ``task`` has come.
    """
    with observer.tracer.start_root(f"restore {task}", Kind.INTERNAL) as span:
        restored = await _restore(broker, changelog, store, task, observer)
        span.set({"ticketmaster.records": restored})
    return restored


async def _restore(broker: Broker, changelog: TopicPartition, store: StateStore, task: str, observer: Observer) -> int:
    end = (await broker.end_offsets([changelog]))[changelog]
    # Retention may have removed everything up to the end: then no record ever comes that would move the position there.
    start = (await broker.start_offsets([changelog]))[changelog]
    try:
        position = store.checkpoint()
        if position is not None and position <= end:
            return await _read(broker, changelog, max(position, start), end, store, task, observer)
    except TaskCorrupted:
        pass
    store.clear()
    return await _read(broker, changelog, start, end, store, task, observer)


async def _read(
    broker: Broker, changelog: TopicPartition, position: int, end: int, store: StateStore, task: str, observer: Observer
) -> int:
    loop = asyncio.get_running_loop()
    restored, start, told = 0, position, loop.time()
    reader = broker.reader({changelog: position})
    try:
        while position < end:
            changes: dict[bytes, bytes | None] = {}
            for batch in await reader.poll(_POLL_MS):
                changes.update(batch.records)
                position = batch.next_offset
                restored += len(batch.records)
            store.write(changes, position)
            if loop.time() - told >= _PROGRESS_S:
                told = loop.time()
                observer.task_restoring(task, restored, (position - start) / (end - start))
    finally:
        await reader.stop()
    return restored
