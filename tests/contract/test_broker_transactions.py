"""What a broker's transactions promise: all or nothing, offsets included, and only to the producer started last."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.contract.conftest import Cluster
from tests.support.consuming import committed, headers_of, read_batches, read_records
from ticketmaster.broker.port import Broker, TopicPartition, TransactionalProducer
from ticketmaster.errors import Retriable, TaskMigrated


@pytest.fixture
def transactional_id() -> str:
    """An id that nobody else uses."""
    return f"task-{uuid.uuid4().hex}"


async def started(broker: Broker, transactional_id: str) -> TransactionalProducer:
    producer = broker.transactional_producer(transactional_id)
    await producer.start()
    return producer


async def settled(broker: Broker, transactional_id: str) -> None:
    """A commit that has returned can be read a moment later; for certain once the next producer of its id has started."""
    await started(broker, transactional_id)


async def test_a_transaction_writes_its_records_and_its_offsets(
    cluster: Cluster, broker: Broker, topic: str, group: str, transactional_id: str
) -> None:
    one, other, read = TopicPartition(topic, 0), TopicPartition(topic, 1), TopicPartition(topic, 3)
    producer = await started(broker, transactional_id)

    await producer.commit({one: [(b"a", b"1"), (b"b", None)], other: [(b"c", b"3")]}, {read: 17}, group)
    await settled(broker, transactional_id)

    for _ in range(2):
        assert await read_records(broker, one) == [(b"a", b"1"), (b"b", None)]
        assert await read_records(broker, other) == [(b"c", b"3")]
        assert await committed(broker, group, read) == 17
        broker = await cluster.reopen()


async def test_a_transactions_records_have_the_headers_they_were_given(
    broker: Broker, topic: str, group: str, transactional_id: str
) -> None:
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    producer = await started(broker, transactional_id)

    headers = {one: {1: [("traceparent", b"00-1-1-01")]}}
    await producer.commit({one: [(b"a", b"1"), (b"b", b"2")], other: [(b"c", b"3")]}, {one: 1}, group, headers)
    await settled(broker, transactional_id)

    assert headers_of(await read_batches(broker, one)) == {b"b": [("traceparent", b"00-1-1-01")]}
    assert headers_of(await read_batches(broker, other)) == {}


async def test_a_commit_says_where_each_output_ends(broker: Broker, topic: str, group: str, transactional_id: str) -> None:
    outputs = {TopicPartition(topic, number): [(b"k", b"v")] * (number + 1) for number in range(3)}
    producer = await started(broker, transactional_id)

    for _ in range(3):
        ends = await producer.commit(outputs, {}, group)
        producer = await started(broker, transactional_id)

        assert ends.keys() == outputs.keys()
        for source, end in ends.items():
            batch = (await read_batches(broker, source))[-1]
            assert batch.offsets[-1] < end <= batch.next_offset
            assert end <= (await broker.end_offsets([source]))[source]


async def test_a_transaction_may_move_offsets_only(broker: Broker, source: TopicPartition, group: str, transactional_id: str) -> None:
    producer = await started(broker, transactional_id)

    assert await producer.commit({}, {source: 3}, group) == {}
    await settled(broker, transactional_id)
    assert await committed(broker, group, source) == 3
    assert await broker.end_offsets([source]) == {source: 0}


async def test_a_transaction_may_write_records_only_and_moves_no_offset(
    cluster: Cluster, broker: Broker, topic: str, group: str, transactional_id: str
) -> None:
    one, other, read = TopicPartition(topic, 0), TopicPartition(topic, 1), TopicPartition(topic, 3)
    producer = await started(broker, transactional_id)
    await producer.commit({one: [(b"k", b"1")]}, {}, group)
    producer = await started(broker, transactional_id)
    assert await producer.committed(group, [read]) == {}
    await producer.commit({one: [(b"k", b"2")]}, {read: 17}, group)
    for number in (3, 4):
        await producer.commit({one: [(b"k", b"%d" % number)], other: [(b"l", b"%d" % number)]}, {}, group)
    await producer.commit({one: [(b"k", b"5")]}, {read: 18}, group)
    await producer.commit({other: [(b"l", b"6")]}, {}, group)
    await settled(broker, transactional_id)

    for _ in range(2):
        assert await read_records(broker, one) == [(b"k", b"%d" % number) for number in (1, 2, 3, 4, 5)]
        assert await read_records(broker, other) == [(b"l", b"3"), (b"l", b"4"), (b"l", b"6")]
        assert await committed(broker, group, read) == 18
        broker = await cluster.reopen()


async def test_a_fenced_producer_commits_no_records_only_either(
    broker: Broker, source: TopicPartition, group: str, transactional_id: str
) -> None:
    earlier = await started(broker, transactional_id)
    await earlier.commit({source: [(b"k", b"earlier")]}, {}, group)
    later = await started(broker, transactional_id)
    with pytest.raises(TaskMigrated):
        await earlier.commit({source: [(b"k", b"too late")]}, {}, group)

    await later.commit({source: [(b"k", b"later")]}, {}, group)
    await settled(broker, transactional_id)
    assert await read_records(broker, source) == [(b"k", b"earlier"), (b"k", b"later")]


async def test_a_transaction_may_be_empty(broker: Broker, source: TopicPartition, group: str, transactional_id: str) -> None:
    producer = await started(broker, transactional_id)

    assert await producer.commit({}, {}, group) == {}
    assert await producer.commit({source: []}, {}, group) == {}
    await producer.commit({source: [(b"k", b"v")]}, {}, group)
    await settled(broker, transactional_id)
    assert await read_records(broker, source) == [(b"k", b"v")]


async def test_a_producer_knows_what_its_predecessors_have_committed(broker: Broker, topic: str, group: str, transactional_id: str) -> None:
    sources = [TopicPartition(topic, number) for number in range(3)]
    earlier = await started(broker, transactional_id)
    assert await earlier.committed(group, sources) == {}
    await earlier.commit({sources[0]: [(b"k", b"1")]}, {sources[0]: 5, sources[1]: 6}, group)

    later = await started(broker, transactional_id)
    for _ in range(2):
        assert await later.committed(group, sources) == {sources[0]: 5, sources[1]: 6}
    await later.commit({sources[0]: [(b"k", b"2")]}, {sources[1]: 7}, group)
    last = await started(broker, transactional_id)

    assert await last.committed(group, sources) == {sources[0]: 5, sources[1]: 7}
    assert await read_records(broker, sources[0]) == [(b"k", b"1"), (b"k", b"2")]


async def test_a_producer_that_may_not_commit_is_not_told_of_offsets(
    broker: Broker, source: TopicPartition, group: str, transactional_id: str
) -> None:
    earlier = broker.transactional_producer(transactional_id)
    with pytest.raises(Retriable):
        await earlier.committed(group, [source])
    await earlier.start()
    await (await started(broker, transactional_id)).commit({}, {source: 3}, group)

    with pytest.raises(TaskMigrated):
        await earlier.committed(group, [source])
    await settled(broker, transactional_id)
    assert await committed(broker, group, source) == 3


async def test_offsets_belong_to_one_group_and_one_partition(broker: Broker, topic: str, group: str, transactional_id: str) -> None:
    producer = await started(broker, transactional_id)
    await producer.commit({}, {TopicPartition(topic, 0): 5, TopicPartition(topic, 1): 6}, group)
    await producer.commit({}, {TopicPartition(topic, 0): 7}, group)
    await producer.commit({}, {TopicPartition(topic, 0): 1}, f"{group}-other")
    await settled(broker, transactional_id)

    assert await committed(broker, group, TopicPartition(topic, 0)) == 7
    assert await committed(broker, group, TopicPartition(topic, 1)) == 6
    assert await committed(broker, group, TopicPartition(topic, 2)) is None
    assert await committed(broker, f"{group}-other", TopicPartition(topic, 0)) == 1


async def test_a_group_that_never_committed_has_no_offset(broker: Broker, source: TopicPartition, group: str) -> None:
    assert await committed(broker, group, source) is None


async def test_of_one_id_only_the_producer_started_last_commits(
    cluster: Cluster, broker: Broker, source: TopicPartition, group: str, transactional_id: str
) -> None:
    earlier = await started(broker, transactional_id)
    await earlier.commit({source: [(b"k", b"earlier")]}, {source: 1}, group)
    later = await started(broker, transactional_id)

    with pytest.raises(TaskMigrated):
        await earlier.commit({source: [(b"k", b"too late")]}, {source: 2}, group)

    assert await committed(broker, group, source) == 1
    await later.commit({source: [(b"k", b"later")]}, {source: 3}, group)
    await settled(broker, transactional_id)
    for _ in range(2):
        assert await read_records(broker, source) == [(b"k", b"earlier"), (b"k", b"later")]
        assert await committed(broker, group, source) == 3
        broker = await cluster.reopen()


async def test_a_fenced_producer_stays_fenced(broker: Broker, source: TopicPartition, group: str, transactional_id: str) -> None:
    earlier = await started(broker, transactional_id)
    await (await started(broker, transactional_id)).stop()

    for _ in range(2):
        with pytest.raises(TaskMigrated):
            await earlier.commit({source: [(b"k", b"v")]}, {source: 2}, group)
    assert await broker.end_offsets([source]) == {source: 0}


async def test_producers_of_other_ids_are_not_fenced(broker: Broker, source: TopicPartition, group: str, transactional_id: str) -> None:
    one = await started(broker, transactional_id)
    await started(broker, f"{transactional_id}-other")

    await one.commit({source: [(b"k", b"v")]}, {}, group)
    await settled(broker, transactional_id)
    assert await read_records(broker, source) == [(b"k", b"v")]


@pytest.mark.parametrize("steps", range(8))
async def test_what_is_read_after_a_start_is_final_as_to_earlier_producers(
    broker: Broker, source: TopicPartition, group: str, transactional_id: str, steps: int
) -> None:
    earlier = await started(broker, transactional_id)
    committing = asyncio.create_task(earlier.commit({source: [(b"k", b"v")]}, {source: 9}, group))
    for _ in range(steps):
        await asyncio.sleep(0)

    await started(broker, transactional_id)
    at, end = await committed(broker, group, source), (await broker.end_offsets([source]))[source]
    (outcome,) = await asyncio.gather(committing, return_exceptions=True)

    if isinstance(outcome, dict):
        assert (at, len(await read_records(broker, source))) == (9, 1)
    else:
        assert isinstance(outcome, TaskMigrated | Retriable), outcome
    assert await committed(broker, group, source) == at
    assert (await broker.end_offsets([source]))[source] == end


async def test_a_producer_that_was_not_started_or_was_stopped_does_not_commit(
    broker: Broker, source: TopicPartition, group: str, transactional_id: str
) -> None:
    producer = broker.transactional_producer(transactional_id)
    with pytest.raises(Retriable):
        await producer.commit({source: [(b"k", b"v")]}, {source: 1}, group)
    await producer.start()
    await producer.stop()
    with pytest.raises(Retriable):
        await producer.commit({source: [(b"k", b"v")]}, {source: 1}, group)

    assert await broker.end_offsets([source]) == {source: 0}
    assert await committed(broker, group, source) is None


async def test_a_producer_may_be_stopped_in_any_state(broker: Broker, transactional_id: str) -> None:
    producer = broker.transactional_producer(transactional_id)
    await producer.stop()
    await producer.start()
    fenced_by = await started(broker, transactional_id)
    await producer.stop()
    await producer.stop()
    await fenced_by.stop()


async def test_a_reader_sees_transactions_whole(broker: Broker, topic: str, group: str, transactional_id: str) -> None:
    sources = [TopicPartition(topic, number) for number in range(4)]
    producer = await started(broker, transactional_id)
    reader = broker.reader(dict.fromkeys(sources, 0))
    seen = dict.fromkeys(sources, 0)

    async def write() -> None:
        for number in range(30):
            await producer.commit({source: [(b"k", b"%d" % number)] * 5 for source in sources}, {sources[0]: number}, group)

    writing = asyncio.create_task(write())
    while any(count < 150 for count in seen.values()):
        for batch in await reader.poll(1_000):
            seen[batch.source] += len(batch.records)
            assert seen[batch.source] % 5 == 0
    await writing
    await reader.stop()
