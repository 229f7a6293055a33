"""Local state against the log it is a copy of."""

from __future__ import annotations

from pathlib import Path

from ticketmaster.audit.report import Example, Finding
from ticketmaster.broker.port import Broker, TopicPartition
from ticketmaster.state.sqlite import SqliteStore

_EXAMPLES_MAX = 10
_POLL_MS = 200


async def store_finding(broker: Broker, file: Path, log: TopicPartition) -> Finding | None:
    """What differs between a store and its log up to the store's checkpoint; None if nothing does. The store must not be in use."""
    store = SqliteStore(file)
    try:
        checkpoint, found = store.checkpoint() or 0, dict(store.items())
    finally:
        store.close()
    expected, changed_since = await _read(broker, log, checkpoint)
    # Of a key that has changed since, compaction may have removed what the store stands for.
    keys = (expected.keys() | found.keys()) - changed_since
    wrong = [Example(key.decode(errors="backslashreplace"), ()) for key in keys if expected.get(key) != found.get(key)]
    return Finding(f"the store {file} is not what {log.topic}-{log.partition} holds", len(wrong), wrong[:_EXAMPLES_MAX]) if wrong else None


async def _read(broker: Broker, log: TopicPartition, checkpoint: int) -> tuple[dict[bytes, bytes], set[bytes]]:
    """(the values before the checkpoint, the keys of those behind it)."""
    table, changed_since, position = dict[bytes, bytes](), set[bytes](), 0
    end = (await broker.end_offsets([log]))[log]
    reader = broker.reader({log: 0})
    try:
        while position < end:
            for batch in await reader.poll(_POLL_MS):
                for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
                    if offset >= checkpoint:
                        changed_since.add(key)
                    elif value is None:
                        table.pop(key, None)
                    else:
                        table[key] = value
                position = batch.next_offset
    finally:
        await reader.stop()
    return table, changed_since
