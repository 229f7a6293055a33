"""A log's file read by somebody else while its broker writes: one moment of it, whole transactions, and nothing is changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.committing import commit_durably
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.snapshot import LogSnapshot
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Fatal, UsageError

A, B = TopicPartition("a", 0), TopicPartition("b", 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    # A name that means something in a URI.
    (tmp_path / "50% #1?").mkdir()
    return tmp_path / "50% #1?" / "log.db"


async def opened(file: Path) -> EmbeddedBroker:
    broker = EmbeddedBroker(SqliteStorage(file), SystemClock())
    await broker.start()
    await broker.create_topics([TopicSpec("a", 1), TopicSpec("b", 2)])
    return broker


def content(file: Path) -> bytes:
    return file.read_bytes()


async def records_in(log: LogSnapshot, source: TopicPartition) -> list[Pair]:
    reader, found = log.reader({source: 0}), list[Pair]()
    while batches := await reader.poll(0):
        for batch in batches:
            found += batch.records
    return found


async def test_it_is_what_was_committed_when_it_was_opened(file: Path) -> None:
    broker = await opened(file)
    producer = broker.transactional_producer("p")
    await producer.start()
    await commit_durably(broker, producer, {A: [(b"1", b"x"), (b"2", None)], B: [(b"3", b"y")]}, {A: 1})
    with closing(LogSnapshot(file)) as log:
        await commit_durably(broker, producer, {A: [(b"4", b"z")], B: [(b"5", b"z")]}, {A: 2})

        assert await records_in(log, A) == [(b"1", b"x"), (b"2", None)]
        assert await records_in(log, B) == [(b"3", b"y")]
        assert await log.end_offsets([A, B]) == {A: 2, B: 1}
        assert await log.start_offsets([A, B]) == {A: 0, B: 0}
        assert await log.committed("group", [A, B]) == {A: 1}
    with closing(LogSnapshot(file)) as log:
        assert await records_in(log, A) == [(b"1", b"x"), (b"2", None), (b"4", b"z")]
        assert await log.committed("group", [A]) == {A: 2}
    await broker.close()


async def test_a_closed_log_stays_as_it_is(file: Path) -> None:
    broker = await opened(file)
    await broker.producer().send({A: [(b"1", b"x")]})
    await broker.close()
    before = content(file)

    with closing(LogSnapshot(file)) as log:
        assert await records_in(log, A) == [(b"1", b"x")]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            log._reading.connection.execute("DELETE FROM batch")

    assert content(file) == before


async def test_a_partition_that_is_not_there_is_empty(file: Path) -> None:
    await (await opened(file)).close()
    nowhere = TopicPartition("nowhere", 0)

    with closing(LogSnapshot(file)) as log:
        assert await records_in(log, nowhere) == []
        assert await log.end_offsets([nowhere]) == {nowhere: 0}


async def test_a_damaged_batch_is_fatal(file: Path) -> None:
    broker = await opened(file)
    await broker.producer().send({A: [(b"1", b"x")]})
    await broker.close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE batch SET vals = x'91a179'")

    with closing(LogSnapshot(file)) as log, pytest.raises(Fatal, match=r"damaged: a\[0\] at offset 0"):
        await records_in(log, A)


def test_what_is_no_log_is_the_operators_mistake(file: Path) -> None:
    with pytest.raises(UsageError, match=r"log\.db"):
        LogSnapshot(file)
    assert not file.exists()
    file.touch()
    with pytest.raises(UsageError, match="no such table"):
        LogSnapshot(file)
