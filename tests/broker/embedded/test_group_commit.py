"""Appends become durable in groups, one write for all that came since the last. Before it only those see them who read ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from tests.support.committing import commit_durably
from tests.support.consuming import committed, read_records, take, take_nothing
from tests.support.storages import GatedStorage
from ticketmaster.broker.embedded.broker import EmbeddedBroker, Pace
from ticketmaster.broker.embedded.cleaner import Retention
from ticketmaster.broker.embedded.storage import MemoryStorage
from ticketmaster.broker.port import Assignment, Batch, Consumer, Pair, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Fatal

SOURCE = TopicPartition("t", 0)
OTHER = TopicPartition("t", 1)


def record(number: int) -> list[Pair]:
    return [(b"k", b"%d" % number)]


async def steps(count: int = 10) -> None:
    """Lets every job go as far as it can."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def storage() -> GatedStorage:
    return GatedStorage()


@pytest.fixture
async def broker(storage: GatedStorage) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(storage, SystemClock())
    await broker.start()
    await broker.create_topics([TopicSpec("t", 2)])
    storage.writes.clear()
    yield broker
    storage.gate.set()
    if not storage.closed:
        await broker.close()


async def test_what_comes_while_a_write_is_under_way_is_one_write(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    storage.gate.clear()
    sending = [asyncio.create_task(broker.producer().send({SOURCE: record(0)}))]
    await steps()
    sending += [asyncio.create_task(broker.producer().send({SOURCE: record(number)})) for number in range(1, 100)]
    await steps()
    assert len(storage.writes) == 1

    storage.gate.set()
    await asyncio.gather(*sending)

    assert [len(write.batches) for write in storage.writes] == [1, 99]


async def test_a_transaction_to_a_topic_that_does_not_exist_writes_nothing(broker: EmbeddedBroker) -> None:
    producer = broker.transactional_producer("id")
    await producer.start()
    with pytest.raises(KeyError):
        await producer.commit({SOURCE: record(0), TopicPartition("none", 0): record(0)}, {}, "group")
    await broker.producer().send({OTHER: record(1)})

    assert (await read_records(broker, SOURCE), await read_records(broker, OTHER)) == ([], record(1))


async def test_writes_are_in_the_order_of_the_appends(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    sending = []
    for number in range(200):
        sending.append(asyncio.create_task(broker.producer().send({SOURCE: record(number)})))
        if number % 7 == 0:
            await steps(number % 5)
    await asyncio.gather(*sending)

    batches = [batch for write in storage.writes for batch in write.batches]
    assert [batch.offsets[0] for batch in batches] == list(range(200))
    assert await read_records(broker, SOURCE) == [pair for number in range(200) for pair in record(number)]


async def test_nothing_is_acknowledged_or_seen_before_the_write_returns(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    producer = broker.transactional_producer("id")
    await producer.start()
    reader = broker.reader({SOURCE: 0})
    storage.gate.clear()
    sending = asyncio.create_task(broker.producer().send({OTHER: record(0)}))
    assert await producer.commit({SOURCE: record(1)}, {OTHER: 5}, "group") == {SOURCE: 1}
    waiting = asyncio.create_task(broker.until_durable({SOURCE: 1}))
    await steps(100)

    assert not sending.done()
    assert not waiting.done()
    assert await broker.end_offsets([SOURCE]) == {SOURCE: 0}
    assert await committed(broker, "group", OTHER) is None
    await take_nothing(reader)

    storage.gate.set()
    await asyncio.gather(sending, waiting)
    assert await committed(broker, "group", OTHER) == 5
    assert [batch.records for batch in await take(reader, 1)] == [record(1)]


async def member_ahead(broker: EmbeddedBroker, at: int = 0) -> Consumer:
    """A member that reads ahead, of the one partition."""
    member = broker.group_consumer("ahead", ["t"], _Listener(), ahead=True)
    await member.poll(0)
    member.seek(SOURCE, at)
    return member


async def test_who_reads_ahead_is_given_records_before_they_are_durable(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    await broker.append({SOURCE: record(0)})
    member = await member_ahead(broker)
    storage.gate.clear()
    sending = [asyncio.create_task(broker.producer().send({SOURCE: record(number)})) for number in (1, 2)]

    batches = await take(member, 3)

    assert [batch.records for batch in batches] == [record(0), record(1), record(2)]
    assert [(batch.follows, batch.next_offset) for batch in batches] == [(0, 1), (1, 2), (2, 3)]
    assert member.behind(SOURCE) == 0
    assert not any(job.done() for job in sending)
    storage.gate.set()
    await asyncio.gather(*sending)
    # Nothing comes twice when it is durable.
    await take_nothing(member)


class _StopsEarly(GatedStorage):
    """Counts more bytes than a broker does, as SQLite's rows have more."""

    def read(self, source: TopicPartition, offset: int, bytes_max: int) -> list[Batch]:
        return super().read(source, offset, bytes_max)[:3]


async def test_who_reads_ahead_is_given_all_that_is_durable_first() -> None:
    storage = _StopsEarly()
    broker = EmbeddedBroker(storage, SystemClock(), tail_bytes_max=0)
    await broker.start()
    await broker.create_topics([TopicSpec("t", 2)])
    for number in range(10):
        await broker.append({SOURCE: record(number)})
    member = await member_ahead(broker)
    storage.gate.clear()
    sending = asyncio.create_task(broker.producer().send({SOURCE: record(10)}))
    await steps()

    batches = await take(member, 11)

    assert [pair for batch in batches for pair in batch.records] == [pair for number in range(11) for pair in record(number)]
    storage.gate.set()
    await sending
    await broker.close()


async def test_reading_ahead_may_begin_in_the_middle_of_what_is_not_durable(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    storage.gate.clear()
    sending = asyncio.create_task(broker.producer().send({SOURCE: [*record(0), *record(1), *record(2)]}))
    await steps()
    member = await member_ahead(broker, at=1)

    (batch,) = await take(member, 2)

    assert (batch.records, list(batch.offsets), batch.follows) == ([*record(1), *record(2)], [1, 2], 1)
    storage.gate.set()
    await sending


async def test_what_follows_from_a_record_is_written_with_it(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    member, producer = await member_ahead(broker), broker.transactional_producer("id")
    await producer.start()
    storage.writes.clear()

    async def work() -> None:
        (batch,) = await take(member, 1)
        await producer.commit({OTHER: batch.records}, {SOURCE: batch.next_offset}, "ahead")

    await asyncio.gather(work(), broker.producer().send({SOURCE: record(1)}))

    assert [[batch.source for batch in write.batches] for write in storage.writes] == [[SOURCE, OTHER]]


async def test_a_commit_waits_for_the_disk_where_much_is_not_durable(storage: GatedStorage) -> None:
    broker = EmbeddedBroker(storage, SystemClock(), ahead_bytes_max=1_000)
    await broker.start()
    await broker.create_topics([TopicSpec("t", 2)])
    producer = broker.transactional_producer("id")
    await producer.start()
    storage.gate.clear()
    await producer.commit({SOURCE: [(b"k", bytes(900))]}, {}, "group")
    committing = asyncio.create_task(producer.commit({SOURCE: [(b"k", bytes(2_000))]}, {}, "group"))
    await steps(100)
    assert not committing.done()

    storage.gate.set()
    assert await committing == {SOURCE: 2}
    await broker.close()


async def test_a_log_that_failed_never_becomes_durable(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    producer = broker.transactional_producer("id")
    await producer.start()
    storage.failure = Fatal("the disk is full")
    ends = await producer.commit({SOURCE: record(1)}, {}, "group")

    with pytest.raises(Fatal, match="the disk is full"):
        await broker.until_durable(ends)
    with pytest.raises(Fatal, match="the disk is full"):
        await producer.commit({SOURCE: record(2)}, {}, "group")


async def test_a_start_waits_for_the_write_under_way(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    earlier, later = broker.transactional_producer("id"), broker.transactional_producer("id")
    await earlier.start()
    storage.gate.clear()
    committing = asyncio.create_task(earlier.commit({SOURCE: record(1)}, {OTHER: 5}, "group"))
    await steps()
    starting = asyncio.create_task(later.start())
    await steps()
    assert not starting.done()

    storage.gate.set()
    await starting
    assert await committed(broker, "group", OTHER) == 5
    await committing


async def test_a_waiter_that_is_cancelled_disturbs_no_other(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    storage.gate.clear()
    sending = [asyncio.create_task(broker.producer().send({SOURCE: record(number)})) for number in range(3)]
    await steps()
    sending[1].cancel()
    await steps()
    storage.gate.set()

    results = await asyncio.gather(*sending, return_exceptions=True)
    assert [type(result) for result in results] == [dict, asyncio.CancelledError, dict]
    assert len(await read_records(broker, SOURCE)) == 3


async def test_after_a_large_write_the_next_one_waits(storage: GatedStorage) -> None:
    broker = EmbeddedBroker(storage, SystemClock(), pace=Pace(us_per_record=1_000, interval_max_ms=50))
    await broker.start()
    await broker.create_topics([TopicSpec("t", 2)])
    loop = asyncio.get_running_loop()
    started = loop.time()
    await broker.producer().send({SOURCE: record(0) * 40})
    await broker.producer().send({SOURCE: record(0)})

    assert loop.time() - started > 0.03
    await broker.close()


class Waiting:
    """Everything that can wait for a broker."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.reader: Consumer = broker.reader({SOURCE: 0})
        self._broker = broker
        self.tasks: list[asyncio.Task[object]] = []

    async def begin(self) -> None:
        broker = self._broker
        producer = broker.transactional_producer("id")
        await producer.start()
        self.storage_gate.clear()
        self.tasks = [
            asyncio.create_task(broker.producer().send({SOURCE: record(1)})),
            asyncio.create_task(commit_durably(broker, producer, {SOURCE: record(2)}, {OTHER: 1})),
        ]
        await steps()
        # These come too late for the write that is under way.
        self.tasks += [
            asyncio.create_task(broker.producer().send({SOURCE: record(3)})),
            asyncio.create_task(broker.create_topics([TopicSpec("another", 1)])),
            asyncio.create_task(self.reader.poll(60_000)),
        ]
        await steps()

    storage_gate: asyncio.Event


@pytest.mark.parametrize("failure", [Fatal("the disk is full"), OSError("the disk is full")], ids=["Fatal", "OSError"])
async def test_a_failed_write_is_fatal_for_all_who_wait_and_all_who_come(
    broker: EmbeddedBroker, storage: GatedStorage, failure: Exception
) -> None:
    waiting = Waiting(broker)
    waiting.storage_gate = storage.gate
    await waiting.begin()
    storage.failure = failure
    storage.gate.set()

    for result in await asyncio.gather(*waiting.tasks, return_exceptions=True):
        assert isinstance(result, Fatal), result
        assert "the disk is full" in str(result)
    with pytest.raises(Fatal, match="the disk is full"):
        await broker.producer().send({SOURCE: record(4)})
    with pytest.raises(Fatal, match="the disk is full"):
        await broker.transactional_producer("id").start()
    with pytest.raises(Fatal, match="the disk is full"):
        await broker.create_topics([TopicSpec("more", 1)])
    for reader in (waiting.reader, broker.reader({SOURCE: 0})):
        with pytest.raises(Fatal, match="the disk is full"):
            await reader.poll(0)
    with pytest.raises(Fatal, match="the disk is full"):
        await broker.end_offsets([SOURCE])
    with pytest.raises(Fatal, match="the disk is full"):
        await committed(broker, "group", OTHER)
    assert storage.load().offsets == {}
    assert storage.read(SOURCE, 0, 1_000) == []


async def test_close_writes_what_waits(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    sending = asyncio.create_task(broker.producer().send({SOURCE: record(1)}))
    await asyncio.sleep(0)
    await broker.close()

    assert sending.done()
    assert [batch.records for batch in storage.read(SOURCE, 0, 1_000)] == [record(1)]


async def test_close_releases_the_storage_even_if_it_cannot_be_written(broker: EmbeddedBroker, storage: GatedStorage) -> None:
    storage.failure = Fatal("the disk is full")
    with pytest.raises(Fatal, match="the disk is full"):
        await broker.close()

    assert storage.closed


async def test_a_closed_broker_refuses_instead_of_waiting_for_ever(broker: EmbeddedBroker) -> None:
    await broker.close()

    async with asyncio.timeout(5):
        with pytest.raises(Fatal, match="closed"):
            await broker.producer().send({SOURCE: record(1)})


class _Listener:
    """Owns whatever it is given."""

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Nothing is under way."""

    def on_assigned(self, assignment: Assignment) -> None:
        """Nothing to open."""


async def test_close_refuses_whatever_waits_by_then(storage: GatedStorage, broker: EmbeddedBroker) -> None:
    producer = broker.transactional_producer("id")
    await producer.start()

    async def send_again_and_again() -> None:
        while True:
            await broker.producer().send({SOURCE: record(0)})

    async def send_late() -> None:
        while not closing.done():
            await asyncio.sleep(0)
            if broker._writing and not broker._writing.done():
                await commit_durably(broker, producer, {SOURCE: record(1)}, {OTHER: 1})

    first, second = (broker.group_consumer("group", ["t"], _Listener()) for _ in range(2))
    await first.poll(0)
    # The second one waits for the first to rejoin, which it never does.
    waiting = [asyncio.create_task(job) for job in (send_again_and_again(), second.poll(60_000), broker.reader({OTHER: 0}).poll(60_000))]
    await steps()
    storage.delay_s = 0.01
    closing = asyncio.create_task(broker.close())
    waiting.append(asyncio.create_task(send_late()))
    async with asyncio.timeout(5):
        results = await asyncio.gather(closing, *waiting, return_exceptions=True)

    assert results[0] is None
    assert [type(result) for result in results[1:]] == [Fatal] * 4
    for call in (
        broker.committed("group", [SOURCE]),
        producer.committed("group", [SOURCE]),
        broker.end_offsets([SOURCE]),
        first.poll(0),
        second.poll(0),
    ):
        with pytest.raises(Fatal, match="closed"):
            await call


async def test_nothing_is_cleaned_after_close() -> None:
    storage = MemoryStorage()
    broker = EmbeddedBroker(storage, SystemClock(), retention=Retention(uncleaned_bytes_max=1))
    await broker.start()
    await broker.create_topics([TopicSpec("c", 1, compacted=True)])
    sending = [asyncio.create_task(broker.producer().send({TopicPartition("c", 0): record(number)})) for number in range(10)]
    await asyncio.sleep(0)
    await broker.close()
    await asyncio.gather(*sending)

    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("broker")] == []


async def test_a_poll_delivers_no_more_than_about_a_mebibyte_and_every_partition_has_its_turn(broker: EmbeddedBroker) -> None:
    for _ in range(30):
        await broker.append({SOURCE: [(b"k", bytes(300_000))]})
    await broker.append({OTHER: record(1)})
    reader = broker.reader({SOURCE: 0, OTHER: 0})

    polls = [await reader.poll(1_000) for _ in range(9)]

    assert [sum(len(batch.records) for batch in batches if batch.source == SOURCE) for batches in polls[:3]] == [4, 4, 4]
    assert any(batch.source == OTHER for batches in polls[:2] for batch in batches)
    assert sum(len(batch.records) for batches in polls for batch in batches) == 31
    await reader.stop()
