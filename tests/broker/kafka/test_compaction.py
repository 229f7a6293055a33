"""A log that a real Kafka has compacted: what is left of it is read, and a state is restored from it."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from aiokafka.admin import NewTopic

from tests.support.consuming import offsets_of, read_batches, records_of
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.port import Batch, TopicPartition
from ticketmaster.state.memory import MemoryStores
from ticketmaster.streams.restoration import restore
from ticketmaster.telemetry.observer import Observer

# A segment is closed when a record comes that is so much younger, and only closed ones are compacted.
SEGMENT_MS = 100
KEYS = [b"a", b"b", b"a", b"c", b"a", b"d"]


@pytest.fixture
async def source(broker: KafkaBroker) -> TopicPartition:
    """A partition that is compacted soon."""
    name = f"compacted-{uuid.uuid4().hex}"
    settings = {"cleanup.policy": "compact", "segment.ms": str(SEGMENT_MS), "min.cleanable.dirty.ratio": "0.01"}
    await broker.admin.create_topics([NewTopic(name, 1, 1, topic_configs=settings)])
    return TopicPartition(name, 0)


async def compacted(broker: KafkaBroker, source: TopicPartition) -> list[Batch]:
    """The batches of the log, once compaction has left a gap in one."""
    async with asyncio.timeout(30):
        while True:
            # Each closes the segment before.
            await broker.producer().send({source: [(b"z", b"more")]})
            batches = await read_batches(broker, source)
            if offsets_of(batches)[:3] == [1, 3, 4]:
                return batches
            await asyncio.sleep(2 * SEGMENT_MS / 1000)


async def test_what_compaction_has_left_is_read_and_restored(broker: KafkaBroker, source: TopicPartition) -> None:
    await broker.producer().send({source: [(key, b"%d" % at) for at, key in enumerate(KEYS)]})

    batches = await compacted(broker, source)

    assert records_of(batches)[:4] == [(b"b", b"1"), (b"c", b"3"), (b"a", b"4"), (b"d", b"5")]
    stores = MemoryStores()
    await restore(broker, {"Store": source}, stores, "task", Observer())
    assert dict(stores.table("Store").items()) == {b"a": b"4", b"b": b"1", b"c": b"3", b"d": b"5", b"z": b"more"}
