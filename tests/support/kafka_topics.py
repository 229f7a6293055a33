"""Doing to a Kafka cluster's topics what no user of ours should."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.topics import describe_topics

DEADLINE_S = 20.0


async def delete_topics(broker: KafkaBroker, names: Collection[str]) -> None:
    """Deletes those that exist, and waits until they are gone."""
    found = await describe_topics(broker.admin, names)
    if found:
        await broker.admin.delete_topics(list(found))
    async with asyncio.timeout(DEADLINE_S):
        while await describe_topics(broker.admin, names):
            await asyncio.sleep(0.05)
