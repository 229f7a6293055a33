"""The simulated Kafka keeps the broker port's contract through the real adapter, as a real one does: the suite of ``tests/contract``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.contract.test_broker_groups import *  # noqa: F403 - the whole suite
from tests.contract.test_broker_log import *  # noqa: F403
from tests.contract.test_broker_transactions import *  # noqa: F403
from tests.support.brokers import broker, group
from tests.support.consuming import read_records
from tests.support.engine import HOLDING, Notes
from tests.support.simulated_kafka import ON_VIRTUAL_TIME, PARTITIONS, SimulatedCluster, event_loop_policy, running, topic
from ticketmaster.broker.port import Broker, TopicPartition, partitions_of
from ticketmaster.simulation.kafka.host import KafkaHost
from ticketmaster.state.memory import MemoryStores
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.worker import StreamWorker

# Fixtures of others.
__all__ = ["broker", "event_loop_policy", "group", "topic"]
pytestmark = ON_VIRTUAL_TIME

# Topics are there, headers are not asked for, and whoever looks at the wall's clock sees another one.
del test_a_topic_may_be_created_again, test_a_topic_may_be_created_by_several_at_once  # noqa: F821
del test_a_topic_with_another_number_of_partitions_is_refused, test_a_group_owns_the_same_partitions_of_all_its_topics  # noqa: F821
del test_a_transactions_records_have_the_headers_they_were_given, test_headers_travel_with_the_records_they_were_given_to  # noqa: F821
del test_a_reader_tells_when_each_record_was_written_however_many_come_at_once  # noqa: F821
# Virtual time stands still while anybody can run, as one can who does nothing but take turns.
del test_others_get_a_turn_at_each_poll_also_while_there_is_something_at_each  # noqa: F821
# Nothing is ever removed.
del test_start_offsets_are_those_of_the_first_records_that_are_still_there, test_a_log_may_be_empty_and_end_above_0  # noqa: F821


@pytest.fixture
async def host() -> AsyncIterator[KafkaHost]:
    """A running cluster."""
    async with running(seed=1) as (host, journal):
        yield host
    # The suite commits any offsets, which no role does.
    assert [violation for violation in journal.violations if "creates" in violation] == []


@pytest.fixture(params=[True, False], ids=["newer", "older"])
def cluster(request: pytest.FixtureRequest, host: KafkaHost) -> SimulatedCluster:
    """In both of Kafka's protocols for transactions."""
    host.cluster.transactions.newer = request.param
    return SimulatedCluster(host)


@pytest.fixture
def source(topic: str) -> TopicPartition:
    """One partition of it."""
    return TopicPartition(topic, 2)


async def test_what_is_due_comes_in_transactions_without_records(host: KafkaHost, broker: Broker) -> None:
    names = [*HOLDING.sources, "counts", *(store.changelog for store in HOLDING.stores)]
    for name in names:
        host.cluster.create_topic(name, PARTITIONS)
    loop, notes = asyncio.get_running_loop(), Notes()
    job = asyncio.create_task(StreamWorker(HOLDING, broker, lambda *_: MemoryStores(), StreamSettings(), notes).run())
    writer = broker.transactional_producer("writer")
    await writer.start()
    began_s, until_ms = loop.time(), b"%d" % (broker.now_ms() + 60_000)
    await writer.commit({source: [(b"a", until_ms)] for source in partitions_of(HOLDING.sources[0], PARTITIONS)}, {}, "nobody")
    told = partitions_of("counts", PARTITIONS)
    while not all([len(await read_records(broker, source)) == 2 for source in told]):
        assert loop.time() < began_s + 70, notes.restarted
        await asyncio.sleep(1.0)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)

    assert 60 <= loop.time() - began_s < 65
    assert notes.restarted == []
