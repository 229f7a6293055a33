"""The log stays small: of compacted topics the last value of each key is kept, of the others what was not consumed."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.consuming import offsets_of, read_batches, read_records, records_of, until
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.cleaner import Cleaner, Retention
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.embedded.storage import MemoryStorage, Storage
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock

SOURCE = TopicPartition("compacted", 0)
CONSUMED = TopicPartition("consumed", 0)
_SMALL = Retention(uncleaned_bytes_max=1 << 40, merged_batch_bytes=40, piece_keys_max=3, step_bytes=30)


class Log:
    """A broker that can be opened again, and the records that went into its compacted partition."""

    def __init__(self, open_storage: Callable[[], Storage], retention: Retention = _SMALL) -> None:
        self._open_storage = open_storage
        self._retention = retention
        self.sent: list[tuple[int, Pair]] = []

    async def open(self) -> None:
        self.storage = self._open_storage()
        # Hardly anything is kept in memory, so that reading is reading what is stored.
        self.broker = EmbeddedBroker(self.storage, SystemClock(), retention=self._retention, tail_bytes_max=0)
        await self.broker.start()
        await self.broker.create_topics([TopicSpec(SOURCE.topic, 1, compacted=True), TopicSpec(CONSUMED.topic, 1)])

    async def reopen(self) -> None:
        await self.broker.close()
        await self.open()

    async def send(self, records: list[Pair]) -> None:
        self.sent += enumerate(records, len(self.sent))
        await self.broker.producer().send({SOURCE: records})

    async def compact(self) -> None:
        (log,) = (log for log in self.broker.logs if log.source == SOURCE)
        await Cleaner(self.broker, self.storage, self._retention).compact(log)

    def last(self, start: int = 0) -> dict[bytes, tuple[int, bytes | None]]:
        """The last (offset, value) of each key, of those from ``start`` on."""
        return {key: (offset, value) for offset, (key, value) in self.sent if offset >= start}


@contextlib.asynccontextmanager
async def opened(kind: str, retention: Retention = _SMALL) -> AsyncIterator[Log]:
    with tempfile.TemporaryDirectory() as folder:
        memory = MemoryStorage()
        log = Log((lambda: memory) if kind == "memory" else (lambda: SqliteStorage(Path(folder) / "log.db")), retention)
        await log.open()
        yield log
        await log.broker.close()


async def check_compacted(log: Log) -> None:
    """Exactly the last record of each key is stored, at its own offset."""
    stored = {
        offset: pair for batch in log.storage.read(SOURCE, 0, 1 << 30) for offset, pair in zip(batch.offsets, batch.records, strict=True)
    }
    assert stored == {offset: (key, value) for key, (offset, value) in log.last().items()}
    ends = await log.broker.end_offsets([SOURCE])
    assert ends == {SOURCE: len(log.sent)}


_ROUND = st.lists(
    st.lists(
        st.tuples(st.integers(0, 9).map(lambda number: b"key-%d" % number), st.none() | st.binary(max_size=4)), min_size=1, max_size=6
    ),
    max_size=6,
)


@pytest.mark.parametrize(("kind", "examples"), [("memory", 100), ("sqlite", 20)])
def test_compaction_keeps_exactly_the_last_value_of_each_key(kind: str, examples: int) -> None:
    @settings(max_examples=examples)
    @given(rounds=st.lists(st.tuples(_ROUND, st.booleans()), min_size=1, max_size=5))
    def check(rounds: list[tuple[list[list[Pair]], bool]]) -> None:
        async def run() -> None:
            async with opened(kind) as log:
                for batches, restart in rounds:
                    for records in batches:
                        await log.send(records)
                    await log.compact()
                    await check_compacted(log)
                    if restart:
                        await log.reopen()
                        await check_compacted(log)

        asyncio.run(run())

    check()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "scattered"])
async def test_keys_in_the_clean_and_in_the_dirty_part_are_compacted_over_restarts(kind: str, *, ordered: bool) -> None:
    async with opened(kind) as log:
        for round_number in range(4):
            for number in range(20):
                # Time-ordered keys meet again only at the edges; scattered ones anywhere.
                key = number + 15 * round_number if ordered else (number * 7919 + round_number * 31) % 40
                await log.send([(b"%06d" % key, b"%d-%d" % (round_number, number))] * (1 + number % 3))
            await log.compact()
            await log.reopen()
            await check_compacted(log)


@given(batches=_ROUND.filter(bool), later=_ROUND)
@settings(max_examples=40)
def test_reading_from_any_offset_of_a_compacted_log_ends_at_the_last_values(batches: list[list[Pair]], later: list[list[Pair]]) -> None:
    async def run() -> None:
        async with opened("memory") as log:
            for records in batches:
                await log.send(records)
            await log.compact()
            for records in later:
                await log.send(records)
            for start in range(len(log.sent)):
                found = await read_batches(log.broker, SOURCE, start)
                offsets = offsets_of(found)
                assert offsets == sorted(set(offsets))
                assert offsets[0] >= start
                assert set(zip(offsets, records_of(found), strict=True)) <= set(log.sent)
                assert dict(records_of(found)) == {key: value for key, (_, value) in log.last(start).items()}

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_reading_and_writing_go_on_while_a_log_is_compacted(kind: str) -> None:
    async with opened(kind) as log:
        for number in range(300):
            log.sent.append((number, (b"%d" % (number % 17), b"%d" % number)))
        await asyncio.gather(*(log.broker.producer().send({SOURCE: [pair]}) for _, pair in log.sent))
        compacting = asyncio.create_task(log.compact())

        async def write() -> None:
            for number in range(300, 350):
                await log.send([(b"%d" % (number % 17), b"%d" % number)])

        writing = asyncio.create_task(write())
        reader = log.broker.reader({SOURCE: 0})
        seen: list[int] = []
        state: dict[bytes, bytes | None] = {}
        while not (writing.done() and compacting.done() and seen[-1:] == [349]):
            for batch in await reader.poll(20):
                seen += batch.offsets
                state.update(batch.records)
        await asyncio.gather(writing, compacting)

        assert seen == sorted(set(seen))
        assert state == {key: value for key, (_, value) in log.last().items()}


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


async def test_a_compacted_file_does_not_grow_however_often_the_same_keys_are_written(tmp_path: Path) -> None:
    retention = Retention(uncleaned_bytes_max=200_000)
    log = Log(lambda: SqliteStorage(tmp_path / "log.db"), retention)
    await log.open()
    keys = [b"key-%03d" % number for number in range(100)]
    sizes: list[int] = []
    for round_number in range(100):
        value = b"%d" % round_number * 50
        # 100 x 10 times all keys: about 11 megabytes.
        await asyncio.gather(*(log.send([(key, value) for key in keys]) for _ in range(10)))
        sizes.append(size_of(tmp_path))
    await log.reopen()

    assert max(sizes) < 6_000_000
    assert max(sizes[50:]) <= max(sizes[:50]) * 1.2
    assert dict(await read_records(log.broker, SOURCE)) == {key: value for key, (_, value) in log.last().items()}
    await log.broker.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_retention_deletes_consumed_records_only(kind: str) -> None:
    retention = Retention(consumed_bytes_max=500, step_bytes=100)
    async with opened(kind, retention) as log:
        producer = log.broker.transactional_producer("id")
        await producer.start()

        async def first() -> int:
            return offsets_of(await read_batches(log.broker, CONSUMED))[0]

        for number in range(40):
            await producer.commit({CONSUMED: [(b"k", b"%050d" % number)]}, {}, "fast")
        await log.broker.producer().send({SOURCE: []})
        # Nobody has consumed anything.
        assert await first() == 0

        await producer.commit({}, {CONSUMED: 30}, "slow")
        await producer.commit({}, {CONSUMED: 40}, "fast")
        (partition,) = (partition for partition in log.broker.logs if partition.source == CONSUMED)
        await until(lambda: partition.start == 30, "what both groups have read is deleted")
        await log.broker.producer().send({CONSUMED: []})
        assert await read_records(log.broker, CONSUMED, 0) == [(b"k", b"%050d" % number) for number in range(30, 40)]

        await producer.commit({}, {CONSUMED: 40}, "slow")
        await until(lambda: partition.start > 30, "what both groups have read is deleted")
        kept = await first()
        # To an eighth below the limit, no further: eight records of 51 bytes.
        assert kept == 32
        await log.reopen()
        assert await log.broker.end_offsets([CONSUMED]) == {CONSUMED: 40}
        assert await first() == kept


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_end_of_a_log_survives_when_all_of_it_was_consumed(kind: str) -> None:
    async with opened(kind, Retention(consumed_bytes_max=0, step_bytes=100)) as log:
        producer = log.broker.transactional_producer("id")
        await producer.start()
        for number in range(10):
            await producer.commit({CONSUMED: [(b"k", b"%d" % number)]}, {CONSUMED: number + 1}, "group")
        (partition,) = (partition for partition in log.broker.logs if partition.source == CONSUMED)
        await until(lambda: partition.start >= 8, "what was consumed is deleted")

        await log.reopen()
        assert await log.broker.end_offsets([CONSUMED]) == {CONSUMED: 10}
        await log.broker.producer().send({CONSUMED: [(b"k", b"next")]})
        assert offsets_of(await read_batches(log.broker, CONSUMED, 10)) == [10]
