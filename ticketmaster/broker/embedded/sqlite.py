"""The embedded broker's log in one SQLite file: a row for each batch of records, one durable transaction for each write."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from sqlite_utils import Database

from ticketmaster.broker.embedded.storage import Contents, Extent, KeyRange, Write, pairs
from ticketmaster.broker.port import Batch, TopicPartition, TopicSpec
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.sqlitefile import open_database

FORMAT_VERSION = 1
_CACHE_KIB = 4_096
# Rows are inserted for so long until the loop's other jobs get a turn.
_STEP_S = 0.005

_encode = msgspec.msgpack.Encoder().encode
_decode_keys = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_values = msgspec.msgpack.Decoder(list[bytes | None]).decode
_decode_offsets = msgspec.msgpack.Decoder(list[int]).decode

_INSERT_BATCH = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BATCH_COLUMNS = "base_offset, next_offset, timestamp_ms, crc, offsets, keys, vals"
# From the batch that holds an offset on: the last one that starts at or before it, and all behind.
READ_BATCHES = f"""
    SELECT {_BATCH_COLUMNS} FROM batch WHERE partition_id = :partition AND base_offset >= coalesce(
        (SELECT max(base_offset) FROM batch WHERE partition_id = :partition AND base_offset <= :offset), 0)
    ORDER BY base_offset"""  # noqa: S608 - a constant
_KEYS = """
    SELECT base_offset, next_offset, offsets, keys FROM batch
    WHERE partition_id = ? AND base_offset >= ? AND base_offset < ? ORDER BY base_offset"""
_SPANS = """
    SELECT base_offset, next_offset FROM batch
    WHERE partition_id = ? AND base_offset < ? AND high_key >= ? AND low_key <= ? ORDER BY base_offset"""


class SqliteStorage:
    """Rows are batches, so a record costs a share of a row. The file belongs to one process at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. UsageError: it is another program's, or can't be read."""
        self._path = path
        database = open_database(path, synchronous="FULL", format_version=FORMAT_VERSION, cache_kib=_CACHE_KIB)
        self._writer: sqlite3.Connection = database.conn
        try:
            _create_tables(database)
        except sqlite3.Error as cause:
            self._writer.close()
            raise UsageError(f"the log {path} can't be set up: {cause}") from cause
        # Reads have a connection of their own: a commit may be under way in the writer's thread.
        self._reader = sqlite3.connect(path, isolation_level=None)
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="log-commit")
        self._ids: dict[TopicPartition, int] = {}
        self._failed: Fatal | None = None

    def load(self) -> Contents:
        try:
            return self._contents()
        except sqlite3.Error as cause:
            raise UsageError(f"the log {self._path} can't be read: {cause}") from cause

    def _contents(self) -> Contents:
        self._ids, contents = read_contents(self._reader)
        return contents

    async def write(self, write: Write) -> None:
        if self._failed:
            raise self._failed
        try:
            # Rows go into the page cache here; only the commit, which waits for the disk, leaves the loop's thread.
            self._writer.execute("BEGIN")
            await self._insert(write)
            await asyncio.get_running_loop().run_in_executor(self._committer, self._writer.execute, "COMMIT")
        except sqlite3.Error as cause:
            self._failed = Fatal(f"the log {self._path} can't be written: {cause}")
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise self._failed from cause

    async def _insert(self, write: Write) -> None:
        execute, executemany = self._writer.execute, self._writer.executemany
        for topic in write.topics:
            for number in range(topic.partitions):
                cursor = execute(
                    "INSERT INTO partition (topic, number, partitions, compacted) VALUES (?, ?, ?, ?)",
                    (topic.name, number, topic.partitions, topic.compacted),
                )
                assert cursor.lastrowid is not None
                self._ids[TopicPartition(topic.name, number)] = cursor.lastrowid
        await self._insert_batches(write.batches)
        for source, start, end, batches in write.replacements:
            execute("DELETE FROM batch WHERE partition_id = ? AND base_offset >= ? AND base_offset < ?", (self._ids[source], start, end))
            await self._insert_batches(batches)
        executemany(
            "INSERT OR REPLACE INTO committed VALUES (?, ?, ?)",
            [(group, self._ids[source], offset) for (group, source), offset in write.offsets.items()],
        )

    async def _insert_batches(self, batches: Sequence[Batch]) -> None:
        """Gives the loop's other jobs a turn whenever it has taken long: a write may be of any size."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _STEP_S
        for batch in batches:
            self._writer.execute(_INSERT_BATCH, self._row(batch))
            if loop.time() > until:
                await asyncio.sleep(0)
                until = loop.time() + _STEP_S

    def _row(self, batch: Batch) -> tuple[object, ...]:
        columns = [key for key, _ in batch.records]
        keys = _encode(columns)
        values = _encode([value for _, value in batch.records])
        offsets = None if isinstance(batch.offsets, range) else _encode(batch.offsets)
        return (
            self._ids[batch.source],
            batch.offsets[0],
            batch.next_offset,
            batch.timestamp_ms,
            len(keys) + len(values),
            zlib.crc32(values, zlib.crc32(keys)),
            min(columns),
            max(columns),
            offsets,
            keys,
            values,
        )

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        rows = self._query(READ_BATCHES, {"partition": self._ids[source], "offset": offset})
        return batches_of(rows, self._path, source, offset, bytes_max)

    def key_ranges(self, source: TopicPartition, start: int, end: int) -> Iterator[KeyRange]:
        for base, next_offset, offsets, keys in self._query(_KEYS, (self._ids[source], start, end)):
            decoded = _decode_keys(keys)
            yield KeyRange(base, next_offset, _offsets_of(base, offsets, len(decoded)), decoded)

    def ranges_with_keys(self, source: TopicPartition, end: int, low: bytes, high: bytes) -> list[tuple[int, int]]:
        return [(base, next_offset) for base, next_offset in self._query(_SPANS, (self._ids[source], end, low, high))]

    def _query(self, statement: str, parameters: dict[str, int] | tuple[int | bytes, ...]) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._reader.execute(statement, parameters)
        except sqlite3.Error as cause:
            raise Fatal(f"the log {self._path} can't be read: {cause}") from cause

    def close(self) -> None:
        self._committer.shutdown()
        self._reader.close()
        self._writer.close()


def read_contents(connection: sqlite3.Connection) -> tuple[dict[TopicPartition, int], Contents]:
    """(the partitions' ids in the file, what it holds)."""
    ids: dict[TopicPartition, int] = {}
    topics: dict[str, TopicSpec] = {}
    for partition_id, topic, number, partitions, compacted in connection.execute("SELECT * FROM partition"):
        ids[TopicPartition(topic, number)] = partition_id
        topics[topic] = TopicSpec(topic, partitions, bool(compacted))
    sources = {partition_id: source for source, partition_id in ids.items()}
    extents = {
        sources[row[0]]: Extent(*row[1:])
        for row in connection.execute(
            "SELECT partition_id, min(base_offset), max(next_offset), sum(size_bytes) FROM batch GROUP BY partition_id"
        )
    }
    offsets = {(group, sources[at]): next_offset for group, at, next_offset in connection.execute("SELECT * FROM committed")}
    return ids, Contents(list(topics.values()), extents, offsets)


def batches_of(rows: Iterable[tuple[Any, ...]], path: Path, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
    """Batches of the rows that :data:`READ_BATCHES` finds, up to about ``bytes_max``. Fatal: one is damaged."""
    found: list[Batch] = []
    size = 0
    for base, next_offset, timestamp_ms, crc, offsets, keys, values in rows:
        if zlib.crc32(values, zlib.crc32(keys)) != crc:
            raise Fatal(f"the log {path} is damaged: {source.topic}[{source.partition}] at offset {base}")
        records = pairs(_decode_keys(keys), _decode_values(values))
        batch = Batch(source, records, _offsets_of(base, offsets, len(records)), next_offset, timestamp_ms)
        if batch.offsets[-1] >= offset:
            found.append(batch)
            size += len(keys) + len(values)
            if size >= bytes_max:
                break
    return found


def _create_tables(database: Database) -> None:
    with database.atomic():
        database["partition"].create(  # type: ignore[union-attr]
            {"id": int, "topic": str, "number": int, "partitions": int, "compacted": int}, pk="id", if_not_exists=True
        )
        columns = ("partition_id", "base_offset", "next_offset", "timestamp_ms", "size_bytes", "crc")
        database["batch"].create(  # type: ignore[union-attr]
            {**dict.fromkeys(columns, int), **dict.fromkeys(("low_key", "high_key", "offsets", "keys", "vals"), bytes)},
            if_not_exists=True,
        )
        database["batch"].create_index(  # type: ignore[union-attr]
            ["partition_id", "base_offset", "next_offset", "size_bytes"], unique=True, if_not_exists=True
        )
        database["committed"].create(  # type: ignore[union-attr]
            {"consumer_group": str, "partition_id": int, "next_offset": int}, pk=("consumer_group", "partition_id"), if_not_exists=True
        )


def _offsets_of(base: int, stored: bytes | None, count: int) -> Sequence[int]:
    return range(base, base + count) if stored is None else _decode_offsets(stored)
