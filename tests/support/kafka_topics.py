"""Doing to a Kafka cluster's topics what no user of ours should."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.topics import describe_topics
from ticketmaster.broker.port import TopicPartition

DEADLINE_S = 20.0


async def delete_topics(broker: KafkaBroker, names: Collection[str]) -> None:
    """Deletes those that exist, and waits until they are gone."""
    found = await describe_topics(broker.admin, names)
    if found:
        await broker.admin.delete_topics(list(found))
    async with asyncio.timeout(DEADLINE_S):
        while await describe_topics(broker.admin, names):
            await asyncio.sleep(0.05)


async def remove_records(broker: KafkaBroker, before: Mapping[TopicPartition, int]) -> None:
    """Removes what is before an offset, as retention does."""
    await broker.admin.delete_records({KafkaTopicPartition(*at): RecordsToDelete(before_offset=offset) for at, offset in before.items()})
