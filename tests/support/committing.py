"""Transactions that a test wants on the disk before it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ticketmaster.broker.port import Broker, Pair, TopicPartition, TransactionalProducer


async def commit_durably(
    broker: Broker,
    producer: TransactionalProducer,
    outputs: Mapping[TopicPartition, Sequence[Pair]],
    offsets: Mapping[TopicPartition, int],
    group: str = "group",
) -> dict[TopicPartition, int]:
    """Commits, and returns the ends of the logs when they are durable up to there."""
    ends = await producer.commit(outputs, offsets, group)
    await broker.until_durable(ends)
    return ends
