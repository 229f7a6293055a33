"""The embedded broker's file: what is acknowledged is in it, and what is damaged or foreign is told."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.committing import commit_durably
from tests.support.consuming import committed, read_batches, read_records, take, until
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.cleaner import Cleaner, Retention
from ticketmaster.broker.embedded.snapshot import LogSnapshot
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.embedded.storage import batch_bytes
from ticketmaster.broker.port import Batch, Pair, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Fatal, UsageError

SOURCE = TopicPartition("t", 1)
RECORDS: list[Pair] = [(b"a", b"1"), (b"b", None), (b"a", b"3")]


async def opened(path: Path) -> EmbeddedBroker:
    broker = EmbeddedBroker(SqliteStorage(path), SystemClock())
    await broker.start()
    await broker.create_topics([TopicSpec("t", 2), TopicSpec("c", 1, compacted=True)])
    return broker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def broker(path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = await opened(path)
    yield broker
    await broker.close()


async def test_an_acknowledged_record_is_in_the_file_already(broker: EmbeddedBroker, tmp_path: Path) -> None:
    producer = broker.transactional_producer("id")
    await producer.start()
    for number in range(10):
        await commit_durably(broker, producer, {SOURCE: RECORDS}, {SOURCE: number})
        # What a power failure would leave: the files as they are now.
        left = tmp_path / f"left-{number}"
        left.mkdir()
        for file in ("log.db", "log.db-wal"):
            shutil.copy(tmp_path / file, left / file)
        survivor = await opened(left / "log.db")
        assert await read_records(survivor, SOURCE) == RECORDS * (number + 1)
        assert await committed(survivor, "group", SOURCE) == number
        await survivor.close()


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    storage = SqliteStorage(path)
    assert storage._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert storage._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    storage.close()


async def test_a_file_opened_again_is_the_same(path: Path) -> None:
    broker = await opened(path)
    producer = broker.transactional_producer("id")
    await producer.start()
    for number in range(20):
        await commit_durably(broker, producer, {SOURCE: RECORDS, TopicPartition("c", 0): RECORDS}, {SOURCE: number})
    batches = await read_batches(broker, SOURCE)
    await broker.close()

    for _ in range(2):
        again = await opened(path)
        assert [(batch.records, list(batch.offsets), batch.next_offset) for batch in await read_batches(again, SOURCE)] == [
            (batch.records, list(batch.offsets), batch.next_offset) for batch in batches
        ]
        assert await committed(again, "group", SOURCE) == 19
        assert await again.end_offsets([SOURCE, TopicPartition("c", 0)]) == {SOURCE: 60, TopicPartition("c", 0): 60}
        assert [log.compacted for log in again.logs] == [False, False, True]
        await again.close()


@pytest.mark.parametrize("column", ["keys", "vals"])
async def test_a_damaged_batch_is_fatal(path: Path, column: str) -> None:
    broker = await opened(path)
    await broker.producer().send({SOURCE: RECORDS})
    await broker.producer().send({SOURCE: [(b"z", b"26")]})
    await broker.close()
    with sqlite3.connect(path) as database:
        keys, values = database.execute("SELECT keys, vals FROM batch WHERE base_offset = 0").fetchone()
        damaged = [stored[:-1] + bytes([stored[-1] ^ (name == column)]) for name, stored in (("keys", keys), ("vals", values))]
        assert damaged != [keys, values]
        database.execute("UPDATE batch SET keys = ?, vals = ? WHERE base_offset = 0", damaged)
    database.close()

    broker = await opened(path)
    with pytest.raises(Fatal, match=r"damaged: t\[1\] at offset 0"):
        await broker.reader({SOURCE: 0}).poll(0)
    # What lies behind it can be read.
    assert [batch.records for batch in await take(broker.reader({SOURCE: 3}), 1)] == [[(b"z", b"26")]]
    await broker.close()


async def test_a_file_that_cannot_be_written_any_more_is_fatal(path: Path) -> None:
    broker = await opened(path)
    await broker.producer().send({SOURCE: RECORDS})
    thief = sqlite3.connect(path)
    thief.execute("DROP TABLE committed")
    thief.close()
    producer = broker.transactional_producer("id")
    await producer.start()
    with pytest.raises(Fatal, match=r"log\.db can't be written"):
        await commit_durably(broker, producer, {SOURCE: RECORDS}, {SOURCE: 1})
    with pytest.raises(Fatal, match=r"log\.db can't be written"):
        await broker.producer().send({SOURCE: RECORDS})
    await broker.close()

    left = SqliteStorage(path)
    assert left.load().extents[SOURCE].end == 3
    left.close()


def test_another_programs_database_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE addresses (name TEXT)")
    database.close()

    with pytest.raises(UsageError, match=r"log\.db is not a file of ticketmaster"):
        SqliteStorage(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    SqliteStorage(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(UsageError, match=r"log\.db is of format 99, not 1"):
        SqliteStorage(path)


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 100, b"short"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"log\.db can't be used as a database"):
        SqliteStorage(path)
    assert path.read_bytes() == content


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be used as a database"):
        SqliteStorage(tmp_path)
    with pytest.raises(UsageError, match="can't be used as a database"):
        SqliteStorage(tmp_path / "nowhere" / "log.db")


async def test_readers_and_writers_do_not_block_each_other(broker: EmbeddedBroker) -> None:
    reader = broker.reader({SOURCE: 0})

    async def write() -> None:
        for number in range(50):
            await broker.producer().send({SOURCE: [(b"k", b"%d" % number)]})

    writing = asyncio.create_task(write())
    found = await take(reader, 50)
    await writing
    assert [pair for batch in found for pair in batch.records] == [(b"k", b"%d" % number) for number in range(50)]


async def test_opening_a_file_costs_the_same_however_much_it_holds(path: Path) -> None:
    broker = await opened(path)
    steps: list[int] = []
    for batches in (10, 3_000):
        await asyncio.gather(*(broker.producer().send({SOURCE: RECORDS, TopicPartition("c", 0): RECORDS}) for _ in range(batches)))
        await broker.close()
        storage = SqliteStorage(path)
        counted = [0]

        def count(counted: list[int] = counted) -> int:
            counted[0] += 1
            return 0

        for connection in (storage._reader, storage._writer):
            # Called for every instruction of SQLite's machine.
            connection.set_progress_handler(count, 1)
        contents = storage.load()
        steps.append(counted[0])
        assert contents.extents[SOURCE].size_bytes == sum(map(batch_bytes, storage.read(SOURCE, 0, 1 << 30)))
        storage.close()
        broker = await opened(path)
    await broker.close()
    assert steps[1] <= steps[0] * 1.1


async def test_a_file_from_before_sizes_were_kept_is_added_up_once(path: Path) -> None:
    broker = await opened(path)
    await broker.producer().send({SOURCE: RECORDS, TopicPartition("c", 0): RECORDS})
    await broker.close()
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE extent")
        database.execute("DROP TABLE subscription")
    database.close()

    for _ in range(2):
        again = await opened(path)
        assert again.log(SOURCE).size_bytes == again.log(TopicPartition("c", 0)).size_bytes == 5
        await again.close()


async def test_a_log_that_was_cut_and_one_that_was_compacted_are_opened_as_they_were(path: Path) -> None:
    storage = SqliteStorage(path)
    broker = EmbeddedBroker(storage, SystemClock(), retention=Retention(consumed_bytes_max=20), tail_bytes_max=0)
    await broker.start()
    compacted = TopicPartition("c", 0)
    await broker.create_topics([TopicSpec("t", 2), TopicSpec("c", 1, compacted=True)])
    producer = broker.transactional_producer("id")
    await producer.start()
    for number in range(10):
        await commit_durably(broker, producer, {SOURCE: RECORDS, compacted: RECORDS}, {SOURCE: 3 * number + 3})
    await until(lambda: broker.log(SOURCE).size_bytes <= 20, "what was read is deleted")
    await Cleaner(broker, storage, Retention()).compact(broker.log(compacted))
    before = [(log.source, log.start, log.end, log.size_bytes, log.cleaned) for log in broker.logs]
    assert broker.log(SOURCE).start > 0
    assert broker.log(compacted).cleaned.offset == 30
    await broker.close()

    again = await opened(path)
    assert [(log.source, log.start, log.end, log.size_bytes, log.cleaned) for log in again.logs] == before
    await again.close()


async def test_a_large_write_is_put_together_away_from_the_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    row = SqliteStorage._row

    def noted_row(self: SqliteStorage, batch: Batch, size_bytes: int) -> tuple[object, ...]:
        threads.append(threading.current_thread().name)
        return row(self, batch, size_bytes)

    monkeypatch.setattr(SqliteStorage, "_row", noted_row)
    broker = await opened(path)
    for size_bytes in (1_000, 2_000_000):
        await broker.producer().send({SOURCE: [(b"k", b"x" * size_bytes)]})
    await broker.close()

    assert [name.startswith("log-commit") for name in threads] == [False, True]


async def test_a_write_ahead_log_that_grew_under_a_reader_shrinks_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticketmaster.sqlitefile._WAL_BYTES_MAX", 1 << 20)
    broker, wal = await opened(path), path.with_name("log.db-wal")
    with closing(LogSnapshot(path)):
        for _ in range(12):
            await broker.producer().send({SOURCE: [(b"k", b"x" * 1_000_000)]})
        assert wal.stat().st_size > 10_000_000
    for _ in range(3):
        await broker.producer().send({SOURCE: [(b"k", b"x" * 1_000_000)]})
    assert wal.stat().st_size < 6_000_000
    await broker.close()


async def test_others_get_turns_during_a_write_of_any_size(broker: EmbeddedBroker) -> None:
    turns: list[float] = []

    async def others() -> None:
        while True:
            turns.append(time.thread_time())
            await asyncio.sleep(0)

    job = asyncio.create_task(others())
    await asyncio.sleep(0)
    # One write, for all come in the same moment.
    await asyncio.gather(*(broker.append({SOURCE: [(b"%d" % number, bytes(200_000))]}) for number in range(200)))
    job.cancel()

    # Of 40 MB; in one go the longest was nearly all of it.
    held = [after - before for before, after in pairwise(turns)]
    assert max(held) < sum(held) / 2
