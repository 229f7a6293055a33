"""What a real broker refuses, for now or for good: the records that are meant, and no others."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import NewTopic

from tests.support.consuming import committed, read_records
from ticketmaster.broker.kafka import protocol
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.protocol import Written
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Refused, Retriable

PAIR: Pair = (b"key", b"value")
NOT_ENOUGH_REPLICAS_AFTER = 20
CHANCE = random.Random(1)


def pairs(count: int, size: int) -> list[Pair]:
    """Records that nothing compresses."""
    return [(b"%d" % number, CHANCE.randbytes(size)) for number in range(count)]


@pytest.fixture
async def broker(kafka_bootstrap_servers: str) -> AsyncIterator[KafkaBroker]:
    settings = KafkaSettings(bootstrap_servers=kafka_bootstrap_servers, delivery_timeout_ms=2_000)
    broker = KafkaBroker(settings, SystemClock())
    await broker.start()
    yield broker
    await broker.close()


async def topic(broker: KafkaBroker, **configs: str) -> TopicPartition:
    name = f"refusing-{uuid.uuid4().hex}"
    await broker.admin.create_topics([NewTopic(name, 1, 1, topic_configs={key.replace("_", "."): value for key, value in configs.items()})])
    return TopicPartition(name, 0)


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> set[TopicPartition]:
    """Of these partitions the broker says that they have too few replicas, after it has written (one broker never has too few)."""
    read, sick = protocol.written, set[TopicPartition]()

    def written(answer: object) -> dict[TopicPartition, Written]:
        return {source: Written(NOT_ENOUGH_REPLICAS_AFTER, -1) if source in sick else found for source, found in read(answer).items()}

    monkeypatch.setattr(protocol, "written", written)
    return sick


async def test_a_partition_with_too_few_replicas_holds_up_nobody_else_and_is_written_once_when_it_has_enough(
    broker: KafkaBroker, sick: set[TopicPartition]
) -> None:
    well, ill = await topic(broker), await topic(broker)
    producer, loop = broker.producer(), asyncio.get_running_loop()
    assert await producer.send({well: [PAIR]}) == {}
    sick.add(ill)

    both = asyncio.create_task(producer.send({well: [PAIR], ill: [PAIR]}))
    longest_s = 0.0
    while not both.done():
        since = loop.time()
        assert await producer.send({well: [PAIR]}) == {}
        longest_s = max(longest_s, loop.time() - since)
        await asyncio.sleep(0.01)

    ((source, failure),) = (await both).items()
    assert (source, type(failure)) == (ill, Retriable)
    assert "NotEnoughReplicas" in str(failure)
    assert longest_s < 1
    later = asyncio.create_task(producer.send({ill: [(b"later", b"value")]}))
    await asyncio.sleep(0.2)
    sick.clear()
    assert await later == {}
    # However often each was sent.
    assert await read_records(broker, ill) == [PAIR, (b"later", b"value")]


async def test_one_record_that_is_too_large_is_told_and_all_others_are_written_in_order(broker: KafkaBroker) -> None:
    source = await topic(broker, max_message_bytes="2000")
    records = pairs(40, 100)
    records[17] = (b"large", CHANCE.randbytes(3_000))
    producer = broker.producer()

    failure = (await producer.send({source: records}))[source]
    assert isinstance(failure, Refused)
    assert (failure.source, failure.keys) == (source, (b"large",))
    assert await producer.send({source: [PAIR]}) == {}

    assert await read_records(broker, source) == [*records[:17], *records[18:], PAIR]


async def test_a_transaction_of_records_that_are_small_enough_commits_however_small_a_batch_must_be(broker: KafkaBroker) -> None:
    source, records = await topic(broker, max_message_bytes="2000"), pairs(100, 100)
    producer = broker.transactional_producer(source.topic)
    await producer.start()

    for _ in range(2):
        await producer.commit({source: records}, {source: 7}, source.topic)
    await producer.start()

    assert await read_records(broker, source) == records * 2
    assert await committed(broker, source.topic, source) == 7


@pytest.mark.parametrize(
    ("configs", "value", "setting"),
    [
        ({"max_message_bytes": "2000"}, CHANCE.randbytes(3_000), "max.message.bytes"),
        ({}, CHANCE.randbytes(1_100_000), "max.request.size is 1048576"),
        ({"segment_bytes": "1048576", "max_message_bytes": "9000000"}, CHANCE.randbytes(1_048_530), "segment.bytes|max.request.size"),
    ],
)
async def test_after_a_refusal_nothing_of_the_transaction_is_visible(
    broker: KafkaBroker, configs: dict[str, str], value: bytes, setting: str
) -> None:
    other, source = await topic(broker), await topic(broker, **configs)
    producer = broker.transactional_producer(source.topic)
    await producer.start()

    with pytest.raises(Refused, match=setting) as refused:
        await producer.commit({other: [PAIR], source: [PAIR, (b"large", value), PAIR]}, {other: 1}, other.topic)
    assert (refused.value.source, refused.value.keys) == (source, (b"large",))
    assert source.topic in str(refused.value)
    await producer.start()
    await producer.commit({other: [(b"after", b"")]}, {}, other.topic)
    await producer.start()

    assert await read_records(broker, other) == [(b"after", b"")]
    assert await read_records(broker, source) == []
    assert await committed(broker, other.topic, other) is None


async def test_a_transaction_that_can_t_end_in_time_says_its_size(
    broker: KafkaBroker, kafka_bootstrap_servers: str, sick: set[TopicPartition]
) -> None:
    source = await topic(broker)
    sick.add(source)
    hasty = KafkaBroker(KafkaSettings(bootstrap_servers=kafka_bootstrap_servers, transaction_timeout_ms=1_000), SystemClock())
    await hasty.start()
    producer = hasty.transactional_producer(source.topic)
    await producer.start()

    with pytest.raises(Retriable, match=r"transaction of 10 records, 1010 bytes is unknown after 1 s: Produce was refused with 20"):
        await producer.commit({source: pairs(10, 100)}, {}, source.topic)
    await hasty.close()
