"""Doing to a Kafka cluster's topics what no user of ours should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from aiokafka.admin import RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.topics import describe_topics
from ticketmaster.broker.port import TopicPartition
from ticketmaster.clock import SystemClock

DEADLINE_S = 20.0


async def delete_topics(broker: KafkaBroker, names: Collection[str]) -> None:
    """Deletes those that exist, and waits until they are gone."""
    found = await describe_topics(broker.admin, names)
    if found:
        await broker.admin.delete_topics(list(found))
    async with asyncio.timeout(DEADLINE_S):
        while await describe_topics(broker.admin, names):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def without_topics(bootstrap_servers: str) -> AsyncIterator[KafkaBroker]:
    """A client of a cluster that has none of the system's topics: those of others are deleted before, the block's own behind it."""
    names = [topic.name for topic in WANTED]
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=bootstrap_servers), SystemClock())
    await broker.start()
    try:
        await delete_topics(broker, names)
        try:
            yield broker
        finally:
            await delete_topics(broker, names)
    finally:
        await broker.close()


async def remove_records(broker: KafkaBroker, before: Mapping[TopicPartition, int]) -> None:
    """Removes what is before an offset, as retention does."""
    await broker.admin.delete_records({KafkaTopicPartition(*at): RecordsToDelete(before_offset=offset) for at, offset in before.items()})


async def forget_offsets(broker: KafkaBroker, group: str) -> None:
    """Drops all that a group without members has committed, as the cluster does by itself after ``offsets.retention.minutes``."""
    admin = broker.admin
    coordinator = await admin.find_coordinator(group)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = await admin._send_request_to_node(coordinator, DeleteGroupsRequest([group]))
            if not any(code for _, code in answer.results):
                return
            # Its last member has only just left.
            await asyncio.sleep(0.2)
