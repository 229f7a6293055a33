"""Records come soon although the consumer's last fetch waits for others, for up to two seconds."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from tests.contract.test_broker_groups import Members, members
from tests.support.brokers import broker, group
from tests.support.simulated_kafka import ON_VIRTUAL_TIME, PARTITIONS, SimulatedCluster, event_loop_policy, running, topic
from ticketmaster.broker.kafka.consumer import KafkaReader
from ticketmaster.broker.port import Broker, Consumer, TopicPartition, partitions_of
from ticketmaster.simulation.kafka.host import KafkaHost

# Fixtures of others.
__all__ = ["broker", "event_loop_policy", "group", "members", "topic"]
# A cluster that this begins has three nodes.
OF_THREE = 5
TRIALS = 8
# By virtual time. A short fetch takes 0.1 s, a long one two.
SOON_S = 0.3
pytestmark = ON_VIRTUAL_TIME


@pytest.fixture
async def host() -> AsyncIterator[KafkaHost]:
    """A running cluster."""
    async with running(OF_THREE) as (host, _):
        yield host


@pytest.fixture
def cluster(host: KafkaHost) -> SimulatedCluster:
    """Its clients."""
    return SimulatedCluster(host)


@pytest.fixture
def sources(host: KafkaHost, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, all led by one node."""
    sources = partitions_of(topic, PARTITIONS)
    lead(host, sources, 0)
    return sources


def lead(host: KafkaHost, sources: list[TopicPartition], node: int) -> None:
    """From now on this node leads these."""
    for source in sources:
        host.cluster._leaders[source] = host.cluster.nodes[node]


async def idle(reader: Consumer, seconds: int = 3) -> None:
    """Reads while there is nothing, so that long fetches have begun."""
    for _ in range(seconds):
        await reader.poll(1_000)


async def read(reader: Consumer, value: bytes) -> float:
    """Reads until a record comes; returns how long that took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not any((b"k", value) in batch.records for batch in await reader.poll(1_000)):
        pass
    return loop.time() - began_s


async def written(broker: Broker, source: TopicPartition, value: bytes) -> None:
    await broker.producer().send({source: [(b"k", value)]})


async def test_of_a_partition_whose_records_waited_for_a_poll(broker: Broker, sources: list[TopicPartition]) -> None:
    reader = broker.reader(dict.fromkeys(sources, 0))
    await idle(reader)
    for trial in range(TRIALS):
        await written(broker, sources[0], b"first of %d" % trial)
        # The next fetch begins meanwhile, without this partition.
        await asyncio.sleep(0.5 + 0.01 * trial)
        await read(reader, b"first of %d" % trial)
        await written(broker, sources[0], b"second of %d" % trial)
        assert await read(reader, b"second of %d" % trial) < SOON_S
    await reader.stop()


async def test_of_a_partition_that_was_paused(broker: Broker, sources: list[TopicPartition]) -> None:
    reader = broker.reader(dict.fromkeys(sources, 0))
    await idle(reader)
    for trial in range(TRIALS):
        reader.pause(sources[0])
        # The fetch ends that began before, and one begins without this partition.
        await idle(reader)
        await asyncio.sleep(0.01 * trial)
        await written(broker, sources[0], b"%d" % trial)
        reader.seek(sources[0], trial)
        assert await read(reader, b"%d" % trial) < SOON_S
    await reader.stop()


async def test_of_a_partition_that_had_no_leader(host: KafkaHost, broker: Broker, sources: list[TopicPartition]) -> None:
    node, others = host.cluster.nodes[2], [source for source, leader in host.cluster._leaders.items() if leader is host.cluster.nodes[2]]
    lead(host, others, 0)
    lead(host, sources[1:], 1)
    reader = broker.reader(dict.fromkeys(sources, 0))
    for trial in range(TRIALS):
        lead(host, sources[:1], 2)
        node.is_up = True
        await idle(reader, 10)
        node.is_up = False
        for wires in host._wires.values():
            wires.break_all(node)
        for _ in range(50 + trial):
            await reader.poll(100)
        lead(host, sources[:1], 1)
        await written(broker, sources[0], b"%d" % trial)
        assert await read(reader, b"%d" % trial) < SOON_S
    await reader.stop()


async def test_of_a_partition_that_a_rebalance_gave(host: KafkaHost, broker: Broker, members: Members) -> None:
    lead(host, partitions_of(members.topic, PARTITIONS), 0)
    first = members.join("first", start={})
    await members.settled(first)
    for trial in range(TRIALS):
        second = members.join(f"second {trial}", start={})
        await members.settled(first, second)
        mine = set(first.owned)
        await asyncio.sleep(10 + 0.17 * trial)
        await second.leave()
        while len(first.owned) < PARTITIONS:
            await asyncio.sleep(0.01)
        gained = next(partition for partition in first.owned if partition not in mine)
        began_s, value = asyncio.get_running_loop().time(), b"%d" % trial
        await written(broker, TopicPartition(members.topic, gained), value)
        while not any((b"k", value) in batch.records for batch in first.batches):
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began_s < SOON_S


async def test_of_a_partition_whose_leader_moves_in_a_quiet_hour(host: KafkaHost, broker: Broker, sources: list[TopicPartition]) -> None:
    reader = broker.reader(dict.fromkeys(sources, 0))
    for trial in range(TRIALS):
        await idle(reader, 10)
        await asyncio.sleep(0.17 * trial)
        lead(host, sources[:1], 1 + trial % 2)
        await written(broker, sources[0], b"%d" % trial)
        assert await read(reader, b"%d" % trial) < SOON_S
    await reader.stop()


async def test_what_a_stopped_reader_has_fetched_is_let_go(broker: Broker, sources: list[TopicPartition]) -> None:
    await written(broker, sources[0], b"value")
    reader = broker.reader(dict.fromkeys(sources, 0))
    assert isinstance(reader, KafkaReader)
    await idle(reader)
    fetcher = weakref.ref(reader._consumer._fetcher)
    gc.disable()
    try:
        await reader.stop()
        del reader
        # Jobs that were cancelled come to their end.
        await asyncio.sleep(5)
        assert fetcher() is None
    finally:
        gc.enable()
