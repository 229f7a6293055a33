"""What aiokafka and Kafka really do, and what the adapter makes of it: each rule on a real broker, with requests delayed and lost."""

from __future__ import annotations

import asyncio
import gc
import random
import uuid
from collections.abc import AsyncIterator
from itertools import groupby
from types import SimpleNamespace

import aiokafka.producer.sender
import pytest
from aiokafka.admin import NewTopic
from aiokafka.protocol.commit import OffsetFetchRequest

from tests.support.consuming import Member, committed, read_records, take, until
from tests.support.kafka_proxy import CUT, DROP_ANSWER, END_TXN, HOLD, HOLD_AND_CUT, TXN_OFFSET_COMMIT, KafkaProxy
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.producer import KafkaTransactionalProducer
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Assignment, Membership, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Retriable, TaskMigrated

REQUEST_TIMEOUT_MS = 1_000
PAIR = (b"key", b"value")


@pytest.fixture
async def broker(kafka_bootstrap_servers: str) -> AsyncIterator[KafkaBroker]:
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=kafka_bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS), SystemClock())
    await broker.start()
    yield broker
    await broker.close()


@pytest.fixture
def name() -> str:
    return f"rule-{uuid.uuid4().hex}"


@pytest.fixture
async def source(broker: KafkaBroker, name: str) -> TopicPartition:
    """The first of four partitions of a topic."""
    await broker.create_topics([TopicSpec(name, 4)])
    return TopicPartition(name, 0)


@pytest.fixture
async def proxy(source: TopicPartition, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaProxy]:  # noqa: ARG001 - after it
    """Before every connection that is made from here on: those of producers."""
    proxy = KafkaProxy()
    proxy.install(monkeypatch)
    yield proxy
    await proxy.close()


async def started(broker: KafkaBroker, name: str) -> KafkaTransactionalProducer:
    producer = broker.transactional_producer(name)
    assert isinstance(producer, KafkaTransactionalProducer)
    await producer.start()
    return producer


# --- The outcome of a commit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [DROP_ANSWER, CUT])
async def test_when_the_answer_to_a_commit_is_lost_the_next_producer_knows_that_it_took_place(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy, fate: str
) -> None:
    producer = await started(broker, name)
    proxy.next[END_TXN] = fate

    with pytest.raises(Retriable, match="EndTxn"):
        await producer.commit({source: [PAIR]}, {source: 7}, name)
    await started(broker, name)

    assert END_TXN in proxy.seen
    assert await committed(broker, name, source) == 7
    assert await read_records(broker, source) == [PAIR]


async def test_when_a_commit_does_not_arrive_the_next_producer_knows_that_it_did_not_take_place(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy
) -> None:
    producer = await started(broker, name)
    proxy.next[END_TXN] = HOLD
    committing = asyncio.create_task(producer.commit({source: [PAIR]}, {source: 7}, name))
    await until(lambda: END_TXN in proxy.seen, "the commit is on its way")
    # Nobody knows. Another producer takes over before the client asks once more.
    await started(broker, name)

    assert await committed(broker, name, source) is None
    assert await read_records(broker, source) == []
    proxy.release()
    (outcome,) = await asyncio.gather(committing, return_exceptions=True)
    assert isinstance(outcome, TaskMigrated | Retriable)
    assert await committed(broker, name, source) is None
    assert await read_records(broker, source) == []


async def test_a_commit_that_arrives_late_does_not_tear_the_next_transaction(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy
) -> None:
    producer = await started(broker, name)
    proxy.next[END_TXN] = HOLD_AND_CUT

    # The client repeats the request, and that one takes effect. The first one may arrive at any time.
    with pytest.raises(Retriable, match="anew after EndTxn"):
        await producer.commit({source: [(b"1", b"first")]}, {source: 1}, name)
    with pytest.raises(Retriable, match="not running"):
        await producer.commit({source: [(b"2", b"second")]}, {source: 2}, name)
    later = await started(broker, name)
    proxy.next[TXN_OFFSET_COMMIT] = HOLD
    committing = asyncio.create_task(later.commit({source: [(b"2", b"second")]}, {source: 2}, name))
    await until(lambda: TXN_OFFSET_COMMIT not in proxy.next, "the second transaction is half done")
    proxy.release()
    await asyncio.gather(committing, return_exceptions=True)
    last = await started(broker, name)

    # The second one took place as a whole, or not at all.
    at = await committed(broker, name, source)
    records = await read_records(broker, source)
    assert (at, records) in ((1, [(b"1", b"first")]), (2, [(b"1", b"first"), (b"2", b"second")]))
    await last.commit({source: [(b"3", b"third")]}, {source: 3}, name)


async def test_a_lost_request_in_the_middle_spoils_the_transaction_and_its_producer(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy
) -> None:
    producer = await started(broker, name)
    proxy.next[TXN_OFFSET_COMMIT] = DROP_ANSWER

    with pytest.raises(Retriable, match="TxnOffsetCommit"):
        await producer.commit({source: [PAIR]}, {source: 7}, name)
    with pytest.raises(Retriable, match="not running"):
        await producer.commit({source: [PAIR]}, {source: 8}, name)


async def test_starting_anew_does_not_wait_for_what_is_unanswered(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy
) -> None:
    producer = await started(broker, name)
    proxy.next[END_TXN] = DROP_ANSWER
    committing = asyncio.create_task(producer.commit({source: [PAIR]}, {source: 7}, name))
    await until(lambda: END_TXN in proxy.seen, "the commit is on its way")
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)

    loop = asyncio.get_running_loop()
    began = loop.time()
    await producer.stop()
    stopped = loop.time()

    # The request has a second left to be answered.
    assert stopped - began < REQUEST_TIMEOUT_MS / 2_000
    await producer.start()
    assert await committed(broker, name, source) == 7


# --- Records that a broker refuses -----------------------------------------------------------------------------------------------


async def test_a_batch_that_is_refused_fails_the_whole_transaction(broker: KafkaBroker, source: TopicPartition, name: str) -> None:
    small = TopicPartition(f"{name}-small", 0)
    await broker.admin.create_topics([NewTopic(small.topic, 1, 1, topic_configs={"max.message.bytes": "500"})])
    producer = await started(broker, name)

    # aiokafka's own commit would succeed without the batch.
    with pytest.raises(Retriable, match="MessageSizeTooLarge"):
        await producer.commit({source: [PAIR], small: [(b"key", random.Random(1).randbytes(2_000))]}, {source: 1}, name)
    with pytest.raises(Retriable, match="not running"):
        await producer.commit({source: [PAIR]}, {source: 2}, name)
    after = await started(broker, name)
    await after.commit({source: [(b"key", b"after")]}, {source: 3}, name)
    await started(broker, name)

    # Nothing of the failed one comes to light with the next.
    assert await read_records(broker, source) == [(b"key", b"after")]
    assert await read_records(broker, small) == []
    assert await committed(broker, name, source) == 3


# --- Pace --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("broker")
def test_the_pause_between_two_transactions_is_milliseconds() -> None:
    assert aiokafka.producer.sender.BACKOFF_OVERRIDE == 0.002
    assert KafkaSettings().retry_backoff_ms == 10


async def test_records_are_acknowledged_before_offsets_are_sent_and_those_before_the_end(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy
) -> None:
    producer = await started(broker, name)
    proxy.seen.clear()

    await producer.commit({source: [PAIR], TopicPartition(name, 1): [PAIR]}, {source: 1}, name)

    add_partitions, produce, add_offsets = 24, 0, 25
    requests = [kind for kind in proxy.seen if kind in {add_partitions, produce, add_offsets, TXN_OFFSET_COMMIT, END_TXN}]
    # A broker that is not ready for one has it repeated.
    assert [kind for kind, _ in groupby(requests)] == [add_partitions, produce, add_offsets, TXN_OFFSET_COMMIT, END_TXN]


# --- Members of a group ------------------------------------------------------------------------------------------------------------


class Owner:
    """A member that notes who holds what."""

    def __init__(self) -> None:
        self.owners: dict[int, str] = {}

    async def on_revoked(self, partitions: object) -> None:
        """Nothing is under way."""

    def on_assigned(self, assignment: Assignment) -> None:
        self.owners = dict(assignment.owners)


async def test_members_know_each_other_s_addresses_and_their_own_ids(broker: KafkaBroker, source: TopicPartition, name: str) -> None:
    listeners, ids = [Owner(), Owner()], list[str]()
    consumers = [
        broker.group_consumer(name, [source.topic], listener, Membership(f"host-{number}:80", on_joined=ids.append))
        for number, listener in enumerate(listeners)
    ]

    async def poll(number: int) -> None:
        while True:
            await consumers[number].poll(50)

    polling = [asyncio.create_task(poll(number)) for number in range(2)]
    await until(lambda: all(len(set(listener.owners.values())) == 2 for listener in listeners), "both have joined")
    assert listeners[0].owners == listeners[1].owners
    assert listeners[0].owners.keys() == set(range(4))
    assert len(set(ids)) == 2
    for job in polling:
        job.cancel()
    await asyncio.gather(*polling, return_exceptions=True)
    for consumer in consumers:
        await consumer.stop()


async def test_a_partition_that_delivers_nothing_does_not_hold_up_the_others(
    broker: KafkaBroker, source: TopicPartition, name: str
) -> None:
    full, other = source, TopicPartition(name, 1)
    await broker.producer().send({full: [(b"k", bytes(1_000))] * 3_000})
    members: dict[int, str] = {}
    member = Member("slow", broker, f"{name}-group", [name], members, start={})
    await until(lambda: sum(len(batch.records) for batch in member.batches) == 3_000, "all is read")
    member.consumer.seek(full, 0)
    member.consumer.pause(full)

    await broker.producer().send({other: [PAIR]})
    await until(lambda: any(batch.source == other for batch in member.batches), "the other partition is read")
    await member.leave()


async def test_a_member_that_is_too_slow_to_give_up_its_partitions_can_commit_nothing_any_more(
    broker: KafkaBroker, source: TopicPartition, name: str
) -> None:
    earlier = await started(broker, name)
    await earlier.commit({source: [(b"1", b"in time")]}, {source: 1}, name)
    # Whoever takes over fences first, then asks where to go on.
    later = await started(broker, name)
    at = await committed(broker, name, source)

    with pytest.raises(TaskMigrated):
        await earlier.commit({source: [(b"2", b"too late")]}, {source: 2}, name)
    await later.commit({source: [(b"2", b"by the later one")]}, {source: 2}, name)
    await started(broker, name)

    assert at == 1
    assert await read_records(broker, source) == [(b"1", b"in time"), (b"2", b"by the later one")]


async def test_a_coordinator_that_is_still_loading_is_asked_again_and_never_taken_for_one_without_offsets(
    broker: KafkaBroker, source: TopicPartition, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await started(broker, name)
    await producer.commit({source: [PAIR]}, {source: 7}, name)
    send, loading = broker.admin._send_request, [14, 14]

    async def answered(request: object, *more: object) -> object:
        answer = await send(request, *more)
        if isinstance(request, OffsetFetchRequest) and loading:
            # COORDINATOR_LOAD_IN_PROGRESS, as brokers say it after they have all been killed: no topics, and no error at any of them.
            return SimpleNamespace(error_code=loading.pop(), topics=[])
        return answer

    monkeypatch.setattr(broker.admin, "_send_request", answered)

    other = source._replace(partition=1)
    assert await broker.committed(name, [source, other]) == {source: 7}
    assert loading == []


async def test_of_a_fenced_producer_no_error_is_left_that_nobody_looked_at(broker: KafkaBroker, source: TopicPartition, name: str) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    earlier = await started(broker, name)
    later = await started(broker, name)

    with pytest.raises(TaskMigrated):
        await earlier.commit({source: [PAIR], source._replace(partition=1): [PAIR]}, {source: 1}, name)
    await earlier.stop()
    await later.stop()
    await asyncio.sleep(0.5)
    gc.collect()

    assert told == []


async def test_a_partition_is_read_from_its_start_where_its_group_never_committed(
    broker: KafkaBroker, source: TopicPartition, name: str
) -> None:
    await broker.producer().send({source: [PAIR] * 3})
    reader = broker.reader({source: 0})

    assert len(await take(reader, 3)) >= 1
    await reader.stop()
    assert await committed(broker, name, source) is None
