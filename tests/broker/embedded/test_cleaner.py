"""The log stays small: of compacted topics the last value of each key is kept, of the others what was not consumed."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.committing import commit_durably
from tests.support.consuming import offsets_of, read_batches, read_records, records_of, until
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.cleaner import Cleaner, Retention
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.embedded.storage import KeyRange, MemoryStorage, Span, Storage, Write, batch_bytes
from ticketmaster.broker.port import Assignment, Batch, Pair, TopicPartition, TopicSpec
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
        # A machine on which cleaning takes longer than writing would show nothing else.
        await until(lambda: not log.broker._cleaner._jobs, "what it is time to clean is cleaned")
        sizes.append(size_of(tmp_path))
    await log.reopen()

    assert max(sizes) < 5_000_000
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


class _Counting(MemoryStorage):
    """Counts what is read and rewritten, and the most of it between two turns of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = self.keys_read = self.replaced_bytes = self.batches_looked_at = 0
        self.step_keys_max = self.step_bytes_max = 0
        self.delay_s = 0.0

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        found = super().read(source, offset, bytes_max)
        size_bytes = sum(map(batch_bytes, found))
        self.read_bytes += size_bytes
        self.step_bytes_max = max(self.step_bytes_max, size_bytes)
        return found

    def spans(self, source: TopicPartition, start: int, end: int, count_max: int) -> list[Span]:
        found = super().spans(source, start, end, count_max)
        self.batches_looked_at += len(found)
        return found

    def keys(self, source: TopicPartition, start: int, end: int, records_max: int) -> list[KeyRange]:
        found = super().keys(source, start, end, records_max)
        keys = sum(len(batch.keys) for batch in found)
        self.keys_read += keys
        self.step_keys_max = max(self.step_keys_max, keys)
        return found

    async def write(self, write: Write) -> None:
        self.replaced_bytes += sum(batch_bytes(batch) for replacement in write.replacements for batch in replacement.batches)
        await asyncio.sleep(self.delay_s)
        await super().write(write)


async def _compacted(keys: int, order: str, retention: Retention) -> _Counting:
    """Compacts a log of two records for each key, of which a half lies in the part that has been compacted before."""
    storage = _Counting()
    broker = EmbeddedBroker(storage, SystemClock(), retention=retention)
    await broker.start()
    await broker.create_topics([TopicSpec(SOURCE.topic, 1, compacted=True)])
    numbers = list(range(keys))
    for round_number in range(2):
        if order == "random":
            Random(round_number).shuffle(numbers)
        batches = [[(b"%036d" % number, b"%d" % round_number * 130) for number in numbers[at : at + 100]] for at in range(0, keys, 100)]
        await asyncio.gather(*(broker.producer().send({SOURCE: records}) for records in batches))
        if round_number == 0:
            await Cleaner(broker, storage, retention).compact(broker.log(SOURCE))
    storage.__dict__.update(read_bytes=0, keys_read=0, replaced_bytes=0, batches_looked_at=0, step_keys_max=0, step_bytes_max=0)
    await Cleaner(broker, storage, retention).compact(broker.log(SOURCE))
    kept = [key for batch in storage.read(SOURCE, 0, 1 << 40) for key, _ in batch.records]
    assert sorted(kept) == sorted(b"%036d" % number for number in range(keys))
    await broker.close()
    return storage


@pytest.mark.parametrize("order", ["random", "ordered"])
async def test_compaction_reads_each_record_once_whatever_the_order_of_keys_and_however_many(order: str) -> None:
    retention = Retention(uncleaned_bytes_max=1 << 40, piece_keys_max=500)
    for keys in (2_000, 8_000):
        storage = await _compacted(keys, order, retention)

        assert storage.keys_read == 2 * keys
        assert storage.batches_looked_at <= 2 * keys / 100
        assert storage.replaced_bytes <= 2 * keys * 170
        assert storage.step_keys_max <= 5_000 + 100


async def test_a_step_of_compaction_reads_no_more_than_it_may() -> None:
    # Of each batch some records stay, so all must be read.
    storage = _Counting()
    retention = Retention(uncleaned_bytes_max=1 << 40, merged_batch_bytes=4_000, step_bytes=50_000)
    broker = EmbeddedBroker(storage, SystemClock(), retention=retention)
    await broker.start()
    await broker.create_topics([TopicSpec(SOURCE.topic, 1, compacted=True)])
    for number in range(200):
        await broker.producer().send({SOURCE: [(b"%d-%d" % (number, at % 7), b"x" * 200) for at in range(10)]})
    size_bytes = broker.log(SOURCE).size_bytes
    await Cleaner(broker, storage, retention).compact(broker.log(SOURCE))

    assert size_bytes * 0.99 < storage.read_bytes <= size_bytes * 1.05
    assert 25_000 < storage.step_bytes_max <= 52_500
    assert broker.log(SOURCE).size_bytes == sum(map(batch_bytes, storage.read(SOURCE, 0, 1 << 40)))
    await broker.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_size_of_a_log_is_kept_right_whatever_is_done_to_it(kind: str) -> None:
    async with opened(kind, Retention(consumed_bytes_max=2_000, uncleaned_bytes_max=1_000, merged_batch_bytes=300, step_bytes=400)) as log:
        producer = log.broker.transactional_producer("id")
        await producer.start()
        for round_number in range(4):
            for number in range(60):
                records: list[Pair] = [(b"%d" % (number % 13), b"x" * (number % 29)), (b"tombstone", None)]
                log.sent += enumerate(records, len(log.sent))
                await commit_durably(log.broker, producer, {SOURCE: records, CONSUMED: records}, {CONSUMED: len(log.sent)})
            await log.compact()
            for source in (SOURCE, CONSUMED):
                stored = [Span(*span) for span in log.storage.spans(source, 0, 1 << 40, 10_000)]
                partition = log.broker.log(source)
                assert partition.size_bytes == sum(span.size_bytes for span in stored), (round_number, source)
            await until(lambda: log.broker.log(CONSUMED).size_bytes <= 2_000, "what was read is deleted")
            await log.reopen()
            producer = log.broker.transactional_producer("id")
            await producer.start()


async def test_at_its_size_limit_a_write_costs_a_log_nothing_extra() -> None:
    storage = _Counting()
    retention = Retention(consumed_bytes_max=100_000, step_bytes=10_000)
    broker = EmbeddedBroker(storage, SystemClock(), retention=retention)
    await broker.start()
    await broker.create_topics([TopicSpec(CONSUMED.topic, 1)])
    producer = broker.transactional_producer("id")
    await producer.start()
    log, sizes = broker.log(CONSUMED), list[int]()
    # As a disk's, for cleaning has its share of the time and not of the writes.
    storage.delay_s = 0.001
    for _ in range(500):
        await commit_durably(broker, producer, {CONSUMED: [(b"k", b"x" * 999)]}, {CONSUMED: log.end + 1})
        sizes.append(log.size_bytes)

    # It is looked at after each eighth of its limit, and then at no more than must go.
    assert storage.read_bytes == storage.keys_read == 0
    assert storage.batches_looked_at <= 500 * 12
    assert max(sizes) <= 100_000 + 13_000
    assert min(sizes[200:]) >= 85_000
    await broker.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_nothing_is_deleted_that_a_group_which_never_committed_has_yet_to_read(kind: str) -> None:
    async with opened(kind, Retention(consumed_bytes_max=500, step_bytes=100)) as log:
        log.broker.group_consumer("slow", [CONSUMED.topic], OwnsNothing())
        for _ in range(2):
            producer = log.broker.transactional_producer("id")
            await producer.start()
            for _ in range(20):
                await producer.commit({CONSUMED: [(b"k", b"x" * 99)]}, {CONSUMED: log.broker.log(CONSUMED).end + 1}, "fast")
            await asyncio.sleep(0.02)
            assert log.broker.log(CONSUMED).start == 0
            assert await log.broker.committed("slow", [CONSUMED]) == {}
            # In its next life, too, and before its member is back.
            await log.reopen()

        producer = log.broker.transactional_producer("id")
        await producer.start()
        await producer.commit({}, {CONSUMED: 35}, "slow")
        await until(lambda: log.broker.log(CONSUMED).start == 35, "what both have read is deleted")


class OwnsNothing:
    """A listener of a member that never polls."""

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """It has nothing."""

    def on_assigned(self, assignment: Assignment) -> None:
        """It is never assigned anything."""


async def test_a_piece_is_sifted_soon_and_all_of_a_log_only_when_it_has_doubled() -> None:
    storage = _Counting()
    broker = EmbeddedBroker(storage, SystemClock(), retention=Retention(uncleaned_bytes_max=10_000, step_bytes=5_000))
    await broker.start()
    await broker.create_topics([TopicSpec(SOURCE.topic, 1, compacted=True)])
    log, sizes = broker.log(SOURCE), list[int]()
    # As a disk's, for cleaning has its share of the time and not of the writes.
    storage.delay_s = 0.0005
    for number in range(2_000):
        # Each key comes twice, and again much later, in no order.
        for _ in range(2):
            await broker.producer().send({SOURCE: [(b"%06d" % (number * 7_919 % 700), b"x" * 94)]})
        sizes.append(log.size_bytes)

    # Without cleaning it would be 400,000.
    assert max(sizes) <= 2 * 70_000 + 4 * 10_000
    # Sifting looks at each record once, compaction at those that were left and at as many older ones.
    assert storage.keys_read <= 2 * 2_000 * 3
    await broker.close()
