"""The embedded broker's log in one SQLite file: a row for each batch of records, one durable transaction for each write."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import zlib
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
from sqlite_utils import Database

from ticketmaster.broker.embedded.storage import Cleaned, Contents, Extent, KeyRange, Span, Write, batch_bytes, pairs
from ticketmaster.broker.port import Batch, TopicPartition, TopicSpec
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.sqlitefile import open_database

FORMAT_VERSION = 1
_CACHE_KIB = 4_096
# Larger writes are put together in the committing thread, which then asks for the interpreter's lock only a few times for much work.
_WRITE_ON_LOOP_BYTES_MAX = 1 << 20

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
# From the index alone.
_SPANS = """
    SELECT base_offset, next_offset, size_bytes FROM batch
    WHERE partition_id = ? AND base_offset >= ? AND base_offset < ? ORDER BY base_offset LIMIT ?"""
_SPANS_AND_KEYS = """
    SELECT base_offset, next_offset, size_bytes, low_key, high_key FROM batch
    WHERE partition_id = ? AND base_offset >= ? AND base_offset < ? ORDER BY base_offset LIMIT ?"""
_FIRST = "SELECT base_offset FROM batch WHERE partition_id = ? ORDER BY base_offset LIMIT 1"
_LAST = "SELECT next_offset FROM batch WHERE partition_id = ? ORDER BY base_offset DESC LIMIT 1"
_SIZE_BETWEEN = """
    SELECT coalesce(sum(size_bytes), 0) FROM batch WHERE partition_id = ? AND base_offset >= ? AND base_offset < ?"""
_ADD_SIZE = """
    INSERT INTO extent VALUES (?, ?, 0, 0)
    ON CONFLICT (partition_id) DO UPDATE SET size_bytes = size_bytes + excluded.size_bytes"""


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
            self._add_missing_extents()
            self._ids, bounds = read_bounds(self._reader)
            rows = self._reader.execute("SELECT * FROM extent").fetchall()
            subscriptions = self._reader.execute("SELECT * FROM subscription").fetchall()
        except sqlite3.Error as cause:
            raise UsageError(f"the log {self._path} can't be read: {cause}") from cause
        sources = {partition_id: source for source, partition_id in self._ids.items()}
        sizes = {sources[partition_id]: size_bytes for partition_id, size_bytes, _, _ in rows}
        return Contents(
            bounds.topics,
            {source: Extent(start, end, sizes[source]) for source, (start, end) in bounds.bounds.items()},
            bounds.offsets,
            {sources[partition_id]: Cleaned(offset, size_bytes) for partition_id, _, offset, size_bytes in rows},
            [(group, sources[partition_id]) for group, partition_id in subscriptions],
        )

    def _add_missing_extents(self) -> None:
        """Adds up the batches of a file that was written before sizes were kept: once."""
        self._writer.execute(
            """INSERT INTO extent SELECT id, (SELECT coalesce(sum(size_bytes), 0) FROM batch WHERE partition_id = id), 0, 0
            FROM partition WHERE id NOT IN (SELECT partition_id FROM extent)"""
        )

    async def write(self, write: Write) -> None:
        if self._failed:
            raise self._failed
        run_in_executor = asyncio.get_running_loop().run_in_executor
        try:
            if write.replacements or sum(write.sizes) > _WRITE_ON_LOOP_BYTES_MAX:
                await run_in_executor(self._committer, self._apply, write)
            else:
                # Rows go into the page cache here; only the commit, which waits for the disk, leaves the loop's thread.
                self._begin(write)
                await run_in_executor(self._committer, self._writer.execute, "COMMIT")
        except sqlite3.Error as cause:
            self._failed = Fatal(f"the log {self._path} can't be written: {cause}")
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise self._failed from cause

    def _apply(self, write: Write) -> None:
        self._begin(write)
        self._writer.execute("COMMIT")

    def _begin(self, write: Write) -> None:
        execute, executemany, ids = self._writer.execute, self._writer.executemany, self._ids
        execute("BEGIN")
        grown = Counter[TopicPartition]()
        for topic in write.topics:
            for number in range(topic.partitions):
                cursor = execute(
                    "INSERT INTO partition (topic, number, partitions, compacted) VALUES (?, ?, ?, ?)",
                    (topic.name, number, topic.partitions, topic.compacted),
                )
                assert cursor.lastrowid is not None
                ids[TopicPartition(topic.name, number)] = cursor.lastrowid
                grown[TopicPartition(topic.name, number)] = 0
        executemany(_INSERT_BATCH, map(self._row, write.batches, write.sizes))
        for batch, size in zip(write.batches, write.sizes, strict=True):
            grown[batch.source] += size
        for source, start, end, batches in write.replacements:
            between, sizes = (ids[source], start, end), list(map(batch_bytes, batches))
            grown[source] += sum(sizes) - execute(_SIZE_BETWEEN, between).fetchone()[0]
            execute("DELETE FROM batch WHERE partition_id = ? AND base_offset >= ? AND base_offset < ?", between)
            executemany(_INSERT_BATCH, map(self._row, batches, sizes))
        executemany(_ADD_SIZE, [(ids[source], size_bytes) for source, size_bytes in grown.items()])
        executemany(
            "INSERT OR REPLACE INTO committed VALUES (?, ?, ?)",
            [(group, ids[source], offset) for (group, source), offset in write.offsets.items()],
        )
        executemany(
            "UPDATE extent SET cleaned_to = ?, cleaned_bytes = ? WHERE partition_id = ?",
            [(*cleaned, ids[source]) for source, cleaned in write.cleaned.items()],
        )
        executemany("INSERT OR IGNORE INTO subscription VALUES (?, ?)", [(group, ids[source]) for group, source in write.subscriptions])

    def _row(self, batch: Batch, size_bytes: int) -> tuple[object, ...]:
        columns = [key for key, _ in batch.records]
        keys = _encode(columns)
        values = _encode([value for _, value in batch.records])
        offsets = None if isinstance(batch.offsets, range) else _encode(batch.offsets)
        return (
            self._ids[batch.source],
            batch.offsets[0],
            batch.next_offset,
            batch.timestamp_ms,
            size_bytes,
            zlib.crc32(values, zlib.crc32(keys)),
            min(columns),
            max(columns),
            offsets,
            keys,
            values,
        )

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        with closing(self._query(READ_BATCHES, {"partition": self._ids[source], "offset": offset})) as rows:
            return batches_of(rows, self._path, source, offset, bytes_max)

    def spans(self, source: TopicPartition, start: int, end: int, count_max: int) -> list[Span]:
        return [Span(*row) for row in self._query(_SPANS, (self._ids[source], start, end, count_max))]

    def keys(self, source: TopicPartition, start: int, end: int, records_max: int) -> list[KeyRange]:
        found: list[KeyRange] = []
        records = 0
        with closing(self._query(_KEYS, (self._ids[source], start, end))) as rows:
            for base, next_offset, offsets, keys in rows:
                decoded = _decode_keys(keys)
                found.append(KeyRange(base, next_offset, _offsets_of(base, offsets, len(decoded)), decoded))
                records += len(decoded)
                if records >= records_max:
                    break
        return found

    def spans_with_keys(
        self, source: TopicPartition, start: int, end: int, low: bytes, high: bytes, count_max: int
    ) -> tuple[list[Span], int]:
        rows = list(self._query(_SPANS_AND_KEYS, (self._ids[source], start, end, count_max)))
        return [Span(*row[:3]) for row in rows if low <= row[4] and row[3] <= high], rows[-1][1] if rows else end

    def scratch(self) -> IO[bytes]:
        # Beside the log: the system's folder for such files may lie in memory.
        return tempfile.TemporaryFile(dir=self._path.parent)

    def _query(self, statement: str, parameters: dict[str, int] | tuple[int, ...]) -> Generator[tuple[Any, ...]]:
        try:
            yield from self._reader.execute(statement, parameters)
        except sqlite3.Error as cause:
            raise Fatal(f"the log {self._path} can't be read: {cause}") from cause

    def close(self) -> None:
        self._committer.shutdown()
        self._reader.close()
        self._writer.close()


class Bounds(NamedTuple):
    """What can be said of a log without reading it: (first offset, offset behind the last) of each partition that has records."""

    topics: list[TopicSpec]
    bounds: dict[TopicPartition, tuple[int, int]]
    offsets: dict[tuple[str, TopicPartition], int]


def read_bounds(connection: sqlite3.Connection) -> tuple[dict[TopicPartition, int], Bounds]:
    """(the partitions' ids in the file, what it holds). It costs the same however much that is."""
    ids: dict[TopicPartition, int] = {}
    topics: dict[str, TopicSpec] = {}
    bounds: dict[TopicPartition, tuple[int, int]] = {}
    for partition_id, topic, number, partitions, compacted in connection.execute("SELECT * FROM partition"):
        source = TopicPartition(topic, number)
        ids[source] = partition_id
        topics[topic] = TopicSpec(topic, partitions, bool(compacted))
        # Both ends of the index, one after the other: asked for in one statement they are a scan.
        first, last = (connection.execute(statement, (partition_id,)).fetchone() for statement in (_FIRST, _LAST))
        if first:
            bounds[source] = 0 if compacted else first[0], last[0]
    sources = {partition_id: source for source, partition_id in ids.items()}
    offsets = {(group, sources[at]): next_offset for group, at, next_offset in connection.execute("SELECT * FROM committed")}
    return ids, Bounds(list(topics.values()), bounds, offsets)


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
        # The sizes of whole partitions, so that opening the file adds nothing up; and how far compaction has come.
        database["extent"].create(  # type: ignore[union-attr]
            dict.fromkeys(("partition_id", "size_bytes", "cleaned_to", "cleaned_bytes"), int), pk="partition_id", if_not_exists=True
        )
        database["subscription"].create(  # type: ignore[union-attr]
            {"consumer_group": str, "partition_id": int}, pk=("consumer_group", "partition_id"), if_not_exists=True
        )


def _offsets_of(base: int, stored: bytes | None, count: int) -> Sequence[int]:
    return range(base, base + count) if stored is None else _decode_offsets(stored)
