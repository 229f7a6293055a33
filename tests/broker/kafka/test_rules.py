"""What aiokafka and Kafka really do, and what the adapter makes of it: each rule on a real broker, with requests delayed and lost."""

from __future__ import annotations

import asyncio
import gc
import random
import uuid
from collections.abc import AsyncIterator, Collection
from itertools import groupby

import pytest
from aiokafka import client
from aiokafka.admin import NewTopic
from aiokafka.errors import NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3

from tests.support.consuming import Member, committed, read_records, take, until
from tests.support.kafka_proxy import CUT, DROP_ANSWER, END_TXN, HOLD, HOLD_AND_CUT, TXN_OFFSET_COMMIT, KafkaProxy
from ticketmaster.broker.kafka import groups, protocol
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.producer import KafkaProducer
from ticketmaster.broker.kafka.protocol import NewerRequests, OlderRequests, Requests, Written
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.transactions import KafkaTransactionalProducer
from ticketmaster.broker.port import Assignment, Membership, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Refused, Retriable, TaskMigrated

REQUEST_TIMEOUT_MS = 1_000
PAIR = (b"key", b"value")
COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR = 14, 16
CONCURRENT_TRANSACTIONS, NOT_LEADER, NOT_ENOUGH_REPLICAS, PRODUCER_FENCED = 51, 6, 19, 90


@pytest.fixture
async def broker(kafka_bootstrap_servers: str) -> AsyncIterator[KafkaBroker]:
    broker = KafkaBroker(KafkaSettings(bootstrap_servers=kafka_bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS), SystemClock())
    await broker.start()
    yield broker
    await broker.close()


@pytest.fixture(params=[NewerRequests, OlderRequests])
def requests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Requests:
    """Each of the two protocols; the broker understands both."""
    spoken: Requests = request.param()

    async def answered(_client: object) -> Requests:
        return spoken

    monkeypatch.setattr(protocol, "requests_of", answered)
    return spoken


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


@pytest.mark.usefixtures("requests")
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


@pytest.mark.usefixtures("requests")
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


@pytest.mark.parametrize("code", [COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR])
async def test_a_coordinator_that_has_not_loaded_its_groups_yet_is_asked_again(
    broker: KafkaBroker, source: TopicPartition, name: str, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    producer = await started(broker, name)
    await producer.commit({source: [PAIR]}, {source: 7}, name)
    # As a task does, before it asks for its offsets.
    await started(broker, name)
    send, refusals = broker._admin._client.send, [code, code]

    async def refused(node: int, request: object, **options: object) -> object:
        if isinstance(request, OffsetFetchRequest) and refusals:
            # As a broker answers: the error is the answer's, and says nothing of any partition.
            return OffsetFetchResponse_v3(0, [], refusals.pop())
        return await send(node, request, **options)

    monkeypatch.setattr(broker._admin._client, "send", refused)

    # Were it taken for a group that never committed, its tasks would begin at the log's start.
    assert await broker.committed(name, [source]) == {source: 7}
    assert not refusals


@pytest.mark.usefixtures("requests")
async def test_a_commit_that_arrives_late_does_not_tear_the_next_transaction(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy
) -> None:
    producer = await started(broker, name)
    proxy.next[END_TXN] = HOLD_AND_CUT

    # It may arrive at any time.
    with pytest.raises(Retriable, match="EndTxn"):
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

    # Each took place as a whole, or not at all; the first one not, as its request came when the next producer had started.
    at = await committed(broker, name, source)
    records = await read_records(broker, source)
    assert (at, records) in ((None, []), (2, [(b"2", b"second")]))
    await last.commit({source: [(b"3", b"third")]}, {source: 3}, name)


@pytest.mark.usefixtures("requests")
async def test_a_lost_request_in_the_middle_spoils_the_transaction_and_its_producer(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy
) -> None:
    producer = await started(broker, name)
    proxy.next[TXN_OFFSET_COMMIT] = DROP_ANSWER

    with pytest.raises(Retriable, match="TxnOffsetCommit"):
        await producer.commit({source: [PAIR]}, {source: 7}, name)
    with pytest.raises(Retriable, match="not running"):
        await producer.commit({source: [PAIR]}, {source: 8}, name)


@pytest.mark.usefixtures("requests")
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


# --- Where a task goes on --------------------------------------------------------------------------------------------------------


async def test_offsets_are_asked_for_behind_what_the_coordinator_has_written(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await started(broker, name)
    await producer.commit({}, {source: 7}, name)
    read, refusals = groups.offsets_of, [NotCoordinatorForGroupError()]

    def refused_once(answer: object, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        if refusals:
            raise refusals.pop()
        return read(answer, group, sources)

    monkeypatch.setattr(groups, "offsets_of", refused_once)
    proxy.seen.clear()

    assert await producer.committed(name, [source]) == {source: 7}
    offset_fetch, add_offsets = 9, 25
    asked = [kind for kind in proxy.seen if kind in {add_offsets, TXN_OFFSET_COMMIT, offset_fetch, END_TXN}]
    # Whoever answers the second time may be another one: it must have written, too.
    once = [*([add_offsets] if requests.adds_first else []), TXN_OFFSET_COMMIT, offset_fetch]
    assert [kind for kind, _ in groupby(asked)] == [*once, *once, END_TXN]
    # What was written for that is not kept.
    await started(broker, name)
    assert await committed(broker, name, source) == 7


# --- Records that a broker refuses -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("requests")
async def test_a_batch_that_is_refused_fails_the_whole_transaction(broker: KafkaBroker, source: TopicPartition, name: str) -> None:
    small = TopicPartition(f"{name}-small", 0)
    await broker.admin.create_topics([NewTopic(small.topic, 1, 1, topic_configs={"max.message.bytes": "500"})])
    producer = await started(broker, name)

    with pytest.raises(Refused, match=rf"{small.topic}-0.* 20\d\d bytes: .*max\.message\.bytes") as refused:
        await producer.commit({source: [PAIR], small: [(b"key", random.Random(1).randbytes(2_000))]}, {source: 1}, name)
    assert (refused.value.source, refused.value.keys) == (small, (b"key",))
    with pytest.raises(Retriable, match="not running"):
        await producer.commit({source: [PAIR]}, {source: 2}, name)
    after = await started(broker, name)
    await after.commit({source: [(b"key", b"after")]}, {source: 3}, name)
    await started(broker, name)

    # Nothing of the failed one comes to light with the next.
    assert await read_records(broker, source) == [(b"key", b"after")]
    assert await read_records(broker, small) == []
    assert await committed(broker, name, source) == 3


# --- Requests ----------------------------------------------------------------------------------------------------------------------


async def test_records_are_acknowledged_before_offsets_are_sent_and_those_before_the_end(
    broker: KafkaBroker, source: TopicPartition, name: str, proxy: KafkaProxy, requests: Requests
) -> None:
    producer = await started(broker, name)
    proxy.seen.clear()

    await producer.commit({source: [PAIR], TopicPartition(name, 1): [PAIR]}, {source: 1}, name)

    add_partitions, produce, add_offsets = 24, 0, 25
    seen = [kind for kind in proxy.seen if kind in {add_partitions, produce, add_offsets, TXN_OFFSET_COMMIT, END_TXN}]
    older = [add_partitions, produce, add_offsets, TXN_OFFSET_COMMIT, END_TXN]
    # A broker that is not ready for one has it repeated.
    assert [kind for kind, _ in groupby(seen)] == (older if requests.adds_first else [produce, TXN_OFFSET_COMMIT, END_TXN])


@pytest.mark.usefixtures("requests")
@pytest.mark.parametrize(
    ("codes", "outcome"),
    [((NOT_COORDINATOR,), None), ((NOT_COORDINATOR, PRODUCER_FENCED), Retriable), ((PRODUCER_FENCED,), TaskMigrated)],
)
async def test_the_end_of_a_transaction_may_be_asked_for_again_and_who_is_fenced_then_does_not_know_how_it_ended(
    broker: KafkaBroker, source: TopicPartition, name: str, monkeypatch: pytest.MonkeyPatch,
    codes: tuple[int, ...], outcome: type[Exception] | None
) -> None:  # fmt: skip
    producer = await started(broker, name)
    read, refusals = protocol.code_of, list(codes)

    def refused(answer: object) -> int:
        # Coordinators refuse when they have written it down, too.
        return refusals.pop(0) if refusals and type(answer).__name__.startswith(("EndTxn", "Ended")) else read(answer)

    monkeypatch.setattr(protocol, "code_of", refused)
    committing = producer.commit({source: [PAIR]}, {source: 7}, name)
    if outcome:
        with pytest.raises(outcome):
            await committing
    else:
        assert await committing == {source: 1}
    assert not refusals
    await started(broker, name)
    assert await committed(broker, name, source) == 7
    assert await read_records(broker, source) == [PAIR]


async def test_a_cluster_that_speaks_the_newer_protocol_is_spoken_to_in_it(broker: KafkaBroker, name: str) -> None:
    producer = await started(broker, name)

    assert isinstance(producer._requests, NewerRequests)


async def test_of_each_transaction_the_newer_protocol_has_another_epoch(broker: KafkaBroker, source: TopicPartition, name: str) -> None:
    producer = await started(broker, name)
    epochs = []
    for number in range(3):
        epochs.append(producer._identity)
        await producer.commit({source: [PAIR]}, {source: number}, name)

    assert len({*epochs}) == 3
    assert await read_records(broker, source) == [PAIR] * 3


@pytest.mark.usefixtures("requests")
async def test_more_than_fits_into_one_batch_or_one_request_is_written_in_order(
    kafka_bootstrap_servers: str, source: TopicPartition, name: str
) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka_bootstrap_servers, batch_bytes_max=2_000, request_bytes_max=5_000, compression=None)
    broker = KafkaBroker(settings, SystemClock())
    await broker.start()
    producer = await started(broker, name)
    other = source._replace(partition=1)
    records = {at: [(b"key", b"%d %d" % (at.partition, number) + bytes(100)) for number in range(200)] for at in (source, other)}

    await producer.commit(records, {}, name)
    ends = await producer.commit(records, {}, name)

    assert await read_records(broker, source) == records[source] * 2
    assert await read_records(broker, other) == records[other] * 2
    # Behind the records; the marker of the first transaction is among them.
    assert ends == {source: 401, other: 401}
    await broker.close()


@pytest.mark.usefixtures("requests")
@pytest.mark.parametrize("code", [CONCURRENT_TRANSACTIONS, NOT_LEADER, NOT_ENOUGH_REPLICAS])
async def test_what_is_refused_for_now_is_sent_again_and_nothing_else(
    broker: KafkaBroker, source: TopicPartition, name: str, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    producer = await started(broker, name)
    read, refusals = protocol.written, [code, code]

    def refused(answer: object) -> dict[TopicPartition, Written]:
        found = read(answer)
        # As a broker would that has not appended it; that this one has, it notices by the number of the batch.
        return found | {source: Written(refusals.pop(), -1)} if refusals else found

    monkeypatch.setattr(protocol, "written", refused)
    ends = await producer.commit({source: [PAIR], source._replace(partition=1): [PAIR]}, {source: 7}, name)

    assert ends == {source: 1, source._replace(partition=1): 1}
    assert await read_records(broker, source) == [PAIR]
    assert not refusals


@pytest.mark.usefixtures("requests")
@pytest.mark.parametrize("code", [COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR])
async def test_a_coordinator_that_has_moved_or_still_loads_is_asked_again(
    broker: KafkaBroker, source: TopicPartition, name: str, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    producer = await started(broker, name)
    await producer.commit({source: [PAIR]}, {source: 6}, name)
    read, refusals = protocol.first_code, [code]
    monkeypatch.setattr(protocol, "first_code", lambda answer: refusals.pop() if refusals else read(answer))

    await producer.commit({source: [PAIR]}, {source: 7}, name)

    assert not refusals
    await started(broker, name)
    assert await committed(broker, name, source) == 7


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


@pytest.mark.usefixtures("requests")
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


@pytest.mark.usefixtures("requests")
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


async def test_a_producer_with_something_under_way_is_stopped_in_time_while_the_brokers_are_away(
    broker: KafkaBroker, source: TopicPartition, proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = broker.producer()
    await producer.send({source: [PAIR]})

    async def nobody_answers(*_: object, **__: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(client, "create_conn", nobody_answers)
    await proxy.close()
    sending = asyncio.create_task(producer.send({source: [PAIR]}))
    await asyncio.sleep(0.2)
    sending.cancel()

    assert isinstance(producer, KafkaProducer)
    async with asyncio.timeout(3 * REQUEST_TIMEOUT_MS / 1000):
        await producer.stop()
