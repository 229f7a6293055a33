"""What a broker's log promises: durable before it is acknowledged, in order, read from anywhere."""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise

import pytest

from tests.contract.conftest import Cluster
from tests.support.consuming import headers_of, offsets_of, read_batches, read_records, records_of, take, take_nothing
from ticketmaster.broker.port import Broker, Pair, TopicPartition, TopicSpec, partitions_of
from ticketmaster.clock import SystemClock
from ticketmaster.errors import UsageError


def numbered(count: int, start: int = 0) -> list[Pair]:
    return [(b"k%d" % number, b"v%d" % number) for number in range(start, start + count)]


async def test_what_is_durable_is_not_among_the_failures(broker: Broker, topic: str) -> None:
    sources, producer = partitions_of(topic, 4), broker.producer()

    assert await producer.send({}) == {}
    assert await producer.send({source: [] for source in sources}) == {}
    sent = await asyncio.gather(*(producer.send({source: numbered(3) for source in sources[: number + 1]}) for number in range(4)))

    assert sent == [{}] * 4
    assert [len(await read_records(broker, source)) for source in sources] == [12, 9, 6, 3]


async def test_what_is_acknowledged_is_there_when_the_broker_is_opened_again(
    cluster: Cluster, broker: Broker, source: TopicPartition
) -> None:
    await broker.producer().send({source: numbered(10)})

    assert await read_records(await cluster.reopen(), source) == numbered(10)


async def test_what_is_acknowledged_can_be_read_at_once(broker: Broker, source: TopicPartition) -> None:
    producer = broker.producer()
    for number in range(20):
        await producer.send({source: numbered(1, number)})
        assert await read_records(broker, source) == numbered(number + 1)


async def test_records_keep_the_order_in_which_one_producer_sent_them(broker: Broker, source: TopicPartition) -> None:
    producer = broker.producer()
    # Not awaited one by one: those on their way together keep their order too.
    await asyncio.gather(*(producer.send({source: numbered(7, 7 * number)}) for number in range(30)))

    assert await read_records(broker, source) == numbered(210)


async def test_a_reader_tells_when_each_record_was_written_however_many_come_at_once(broker: Broker, source: TopicPartition) -> None:
    clock, sent = SystemClock(), []
    for number in range(3):
        before_ms = clock.now_ms()
        await broker.producer().send({source: numbered(1, number)})
        sent.append((before_ms, clock.now_ms()))
        await asyncio.sleep(0.02)

    told = [batch.timestamp_ms for batch in await read_batches(broker, source) if batch.records]

    assert len(told) == 3
    for (before_ms, after_ms), timestamp_ms in zip(sent, told, strict=True):
        assert before_ms <= timestamp_ms <= after_ms


async def test_a_tombstone_is_delivered_as_none(broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: [(b"gone", None), (b"empty", b"")]})

    assert await read_records(broker, source) == [(b"gone", None), (b"empty", b"")]


async def test_a_send_reaches_every_partition_it_names_and_no_other(broker: Broker, topic: str) -> None:
    sent = {TopicPartition(topic, number): numbered(3, 10 * number) for number in (0, 3)}
    await broker.producer().send(sent)

    for number in range(4):
        source = TopicPartition(topic, number)
        assert await read_records(broker, source) == sent.get(source, [])


async def test_a_partition_without_records_may_be_named(broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: []})

    assert await broker.end_offsets([source]) == {source: 0}


async def test_offsets_ascend_and_next_offset_is_behind_them(broker: Broker, source: TopicPartition) -> None:
    producer = broker.producer()
    for number in range(5):
        await producer.send({source: numbered(3, 3 * number)})

    batches = await read_batches(broker, source)

    offsets = offsets_of(batches)
    assert offsets == sorted(set(offsets))
    for batch in batches:
        assert batch.source == source
        assert len(batch.records) == len(batch.offsets) > 0
        assert batch.next_offset > batch.offsets[-1]
    for batch, following in pairwise(batches):
        assert batch.next_offset <= following.offsets[0]


async def test_a_record_keeps_its_offset(cluster: Cluster, broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: numbered(10)})
    offsets = offsets_of(await read_batches(broker, source))

    assert offsets_of(await read_batches(await cluster.reopen(), source)) == offsets


async def test_the_log_goes_on_behind_its_end_when_the_broker_is_opened_again(
    cluster: Cluster, broker: Broker, source: TopicPartition
) -> None:
    await broker.producer().send({source: numbered(3)})
    reopened = await cluster.reopen()
    await reopened.producer().send({source: numbered(3, 3)})

    batches = await read_batches(reopened, source)
    assert records_of(batches) == numbered(6)
    assert offsets_of(batches) == sorted(set(offsets_of(batches)))


async def test_a_reader_begins_at_any_record_even_in_the_middle_of_a_batch(
    cluster: Cluster, broker: Broker, source: TopicPartition
) -> None:
    await broker.producer().send({source: numbered(5)})
    await broker.producer().send({source: numbered(5, 5)})
    offsets = offsets_of(await read_batches(broker, source))

    for index, offset in enumerate(offsets):
        assert await read_records(broker, source, offset) == numbered(10 - index, index)
    reopened = await cluster.reopen()
    for index, offset in enumerate(offsets):
        assert await read_records(reopened, source, offset) == numbered(10 - index, index)


async def test_a_reader_at_the_end_waits_for_what_comes(broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: numbered(4)})
    reader = broker.reader(await broker.end_offsets([source]))
    await take_nothing(reader)

    polling = asyncio.create_task(take(reader, 2))
    await asyncio.sleep(0.01)
    await broker.producer().send({source: numbered(2, 4)})

    assert records_of(await polling) == numbered(2, 4)
    await reader.stop()


async def test_a_reader_reads_all_its_partitions(broker: Broker, topic: str) -> None:
    sources = [TopicPartition(topic, number) for number in range(4)]
    await broker.producer().send({source: numbered(5, 5 * source.partition) for source in sources})
    reader = broker.reader(dict.fromkeys(sources, 0))

    batches = await take(reader, 20)

    for source in sources:
        assert records_of([batch for batch in batches if batch.source == source]) == numbered(5, 5 * source.partition)
    await reader.stop()


async def test_two_readers_do_not_disturb_each_other(broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: numbered(5)})
    one, other = broker.reader({source: 0}), broker.reader({source: 0})

    assert records_of(await take(one, 5)) == numbered(5)
    assert records_of(await take(other, 5)) == numbered(5)
    await one.stop()
    await other.stop()


async def test_seek_delivers_again_and_skips(broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: numbered(10)})
    reader = broker.reader({source: 0})
    offsets = offsets_of(await take(reader, 10))

    reader.seek(source, offsets[3])
    assert records_of(await take(reader, 7)) == numbered(7, 3)
    reader.seek(source, offsets[9])
    assert records_of(await take(reader, 1)) == numbered(1, 9)
    await reader.stop()


async def test_a_paused_partition_delivers_nothing_until_it_is_sought(broker: Broker, topic: str) -> None:
    paused, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await broker.producer().send({paused: numbered(5), other: numbered(5)})
    reader = broker.reader({paused: 0, other: 0})
    batches = await take(reader, 10)
    at = next(batch.offsets[-1] for batch in reversed(batches) if batch.source == paused)

    reader.pause(paused)
    await broker.producer().send({paused: numbered(5, 5), other: numbered(5, 5)})
    assert {batch.source for batch in await take(reader, 5)} == {other}
    await take_nothing(reader)

    reader.seek(paused, at)
    assert records_of(await take(reader, 6)) == numbered(6, 4)
    await reader.stop()


async def test_headers_travel_with_the_records_they_were_given_to(broker: Broker, source: TopicPartition) -> None:
    first, last = [("traceparent", b"00-1-1-01")], [("traceparent", b"00-2-2-01"), ("tracestate", b"a=b")]
    await broker.producer().send({source: numbered(5)}, {source: {0: first, 4: last}})
    await broker.producer().send({source: numbered(5, 5)})
    await broker.producer().send({source: numbered(5, 10)}, {source: {1: first}})
    reader = broker.reader({source: 0})

    assert headers_of(await take(reader, 15)) == {b"k0": first, b"k4": last, b"k11": first}

    # From the middle of a batch on, they are still those records'.
    reader.seek(source, offsets_of(await read_batches(broker, source))[3])
    assert headers_of(await take(reader, 12)) == {b"k4": last, b"k11": first}
    await reader.stop()


async def test_a_consumer_knows_how_far_it_is_behind(broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: numbered(5)})
    await broker.producer().send({source: numbered(5, 5)})
    reader = broker.reader({source: 0})
    offsets = offsets_of(await take(reader, 10))

    assert reader.behind(source) == 0
    reader.seek(source, offsets[4])
    assert reader.behind(source) == 6
    reader.pause(source)
    assert reader.behind(source) == 6
    assert reader.behind(TopicPartition(source.topic, 1)) == 0
    await reader.stop()


async def test_end_offsets_are_behind_the_last_record(broker: Broker, topic: str) -> None:
    empty, full = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await broker.producer().send({full: numbered(3)})

    ends = await broker.end_offsets([empty, full])

    assert ends == {empty: 0, full: (await read_batches(broker, full))[-1].next_offset}


async def test_end_offsets_are_kept(cluster: Cluster, broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: numbered(3)})
    ends = await broker.end_offsets([source])

    assert await (await cluster.reopen()).end_offsets([source]) == ends


async def test_start_offsets_are_those_of_the_first_records_that_are_still_there(
    cluster: Cluster, broker: Broker, topic: str, source: TopicPartition
) -> None:
    other = TopicPartition(topic, 0)
    await broker.producer().send({source: numbered(3)})
    await broker.producer().send({source: numbered(4, 3), other: numbered(1)})
    assert await broker.start_offsets([source, other]) == {source: 0, other: 0}

    await cluster.remove_before(source, 3)

    assert await broker.start_offsets([source, other]) == {source: 3, other: 0}
    reopened = await cluster.reopen()
    assert await reopened.start_offsets([source, other]) == {source: 3, other: 0}
    assert await read_records(reopened, source) == numbered(4, 3)


async def test_a_log_may_be_empty_and_end_above_0(cluster: Cluster, broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: numbered(3)})

    await cluster.remove_before(source, 3)

    assert (await broker.start_offsets([source]), await broker.end_offsets([source])) == ({source: 3}, {source: 3})


async def test_a_topic_may_be_created_again(cluster: Cluster, broker: Broker, source: TopicPartition) -> None:
    await broker.producer().send({source: numbered(3)})

    await broker.create_topics([TopicSpec(source.topic, 4)])
    assert await read_records(broker, source) == numbered(3)
    reopened = await cluster.reopen()
    await reopened.create_topics([TopicSpec(source.topic, 4)])
    assert await read_records(reopened, source) == numbered(3)


async def test_a_topic_may_be_created_by_several_at_once(cluster: Cluster, broker: Broker, topic: str) -> None:
    specs = [TopicSpec(f"{topic}-{number}", 2) for number in range(3)]
    await asyncio.gather(*(broker.create_topics(specs) for _ in range(4)))

    source = TopicPartition(specs[1].name, 1)
    await broker.producer().send({source: numbered(1)})
    assert await read_records(await cluster.reopen(), source) == numbered(1)


async def test_a_topic_with_another_number_of_partitions_is_refused(cluster: Cluster, broker: Broker, topic: str) -> None:
    with pytest.raises(UsageError, match=f"{topic}.*4 partitions.*5"):
        await broker.create_topics([TopicSpec(topic, 5)])
    reopened = await cluster.reopen()
    with pytest.raises(UsageError, match=f"{topic}.*4 partitions.*3"):
        await reopened.create_topics([TopicSpec(topic, 3)])


async def test_keys_and_values_are_any_bytes(cluster: Cluster, broker: Broker, source: TopicPartition) -> None:
    records: list[Pair] = [(b"", b"\x00" * 3), (bytes(range(256)), b"\xff"), ("é".encode(), bytes(100_000))]
    await broker.producer().send({source: records})

    assert await read_records(broker, source) == records
    assert await read_records(await cluster.reopen(), source) == records


async def test_others_get_a_turn_at_each_poll_also_while_there_is_something_at_each(broker: Broker, source: TopicPartition) -> None:
    producer = broker.producer()
    for number in range(0, 60, 2):
        # Bytes that can't be compressed: Kafka counts what it sends.
        await producer.send({source: [(b"%d" % key, os.urandom(100_000)) for key in (number, number + 1)]})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    job = asyncio.create_task(others())
    reader = broker.reader({source: 0})
    polls, records = 0, 0
    try:
        while records < 60:
            before = turns
            records += sum(len(batch.records) for batch in await reader.poll(1_000))
            polls += 1
            assert turns > before
    finally:
        job.cancel()
        await reader.stop()
    # What comes at once is bounded: these are 6 MB.
    assert polls >= 2
