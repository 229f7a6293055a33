"""Local state against the log it is a copy of."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from ticketmaster.audit.reading import Log, Progress, batches_up_to
from ticketmaster.audit.report import At, Example, Finding
from ticketmaster.audit.rules import text_of
from ticketmaster.broker.port import TopicPartition
from ticketmaster.errors import TaskCorrupted
from ticketmaster.state.sqlite import reading_store

_EXAMPLES_MAX = 10


class Stored(NamedTuple):
    """A store as it was when it was read: values by their hashes, for a sale has millions."""

    file: Path
    name: str
    checkpoint: int
    hashes: dict[bytes, int]


def read_stored(file: Path, number: int, name: str, *, in_use: bool) -> Stored:
    """Reads a store of a task, which may be in use, and changes nothing. TaskCorrupted: it can't be read."""
    with reading_store(file, number, name, in_use=in_use) as (checkpoint, items):
        return Stored(file, name, checkpoint, {key: hash(value) for key, value in items})


def damaged(reason: TaskCorrupted) -> Finding:
    """What is to be said of a store that can't be read."""
    return Finding("a store can't be read; its role will build it anew", 1, [Example(str(reason), ())])


async def store_finding(log: Log, stored: Stored, source: TopicPartition, on_progress: Progress) -> Finding | None:
    """What differs between a store and its log up to the store's checkpoint; None if nothing does. The log was read after the store."""
    found = stored.hashes
    expected, changed_since = await _read(log, source, stored.checkpoint, on_progress)
    # Of a key that has changed since, compaction may have removed what the store stands for.
    wrong = []
    for key in sorted((expected.keys() | found.keys()) - changed_since):
        value, offset = expected.get(key, (None, None))
        if value != found.get(key):
            places = () if offset is None else (At(source.topic, source.partition, offset),)
            wrong.append(Example(text_of(key), places))
    rule = f"the store {stored.file} ({stored.name}) is not what {source.topic}-{source.partition} holds"
    return Finding(rule, len(wrong), wrong[:_EXAMPLES_MAX]) if wrong else None


async def _read(
    log: Log, source: TopicPartition, checkpoint: int, on_progress: Progress
) -> tuple[dict[bytes, tuple[int, int]], set[bytes]]:
    """({key: (hash of its value before the checkpoint, its offset)}, the keys of those behind it)."""
    table, changed_since = dict[bytes, tuple[int, int]](), set[bytes]()
    start, end = (await log.start_offsets([source]))[source], (await log.end_offsets([source]))[source]
    positions, records = {source: start}, 0
    async with aclosing(batches_up_to(log, positions, {source: end})) as polls:
        async for batches in polls:
            for batch in batches:
                for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
                    if offset >= checkpoint:
                        changed_since.add(key)
                    elif value is None:
                        table.pop(key, None)
                    else:
                        table[key] = hash(value), offset
                records += len(batch.records)
            on_progress(f"comparing a store with {source.topic}-{source.partition}", records, end - start, positions[source] - start)
    return table, changed_since
