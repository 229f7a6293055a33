"""A producer outside transactions, and a cluster in which some partitions are sick: the others don't notice. No broker is needed."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from ticketmaster.broker.kafka.producer import KafkaProducer
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.errors import NotAllowed, Refused, Retriable
from ticketmaster.simulation.loop import VirtualClock, run_virtual

WELL, SICK = TopicPartition("topic", 0), TopicPartition("topic", 1)
NOT_LEADER, TIMED_OUT, NOT_ENOUGH_REPLICAS, TOO_LARGE, NOT_ALLOWED, OUT_OF_ORDER, COMPRESSION = 6, 7, 19, 10, 29, 45, 76
PAIR: Pair = (b"key", b"value")

# What becomes of a batch, as the records that were in it say; a code, or how long the broker waits for replicas.
Fate = Callable[[], int | float]


class Batch:
    """What a broker reads of the bytes of one."""

    def __init__(self, data: bytes) -> None:
        self.producer_id, _, self.sequence, self.records = struct.unpack_from(">qhii", data, 43)


class Cluster:
    """As much of a client as a producer uses, over brokers that answer one request of a connection after the other."""

    def __init__(self, fates: dict[TopicPartition, Fate], leaders: dict[TopicPartition, int | None] | None = None) -> None:
        self._fates = fates
        self.leaders = leaders or {}
        self._connections: dict[Any, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.cluster = self
        self.unauthorized_topics: set[str] = set()
        self.taken: list[tuple[TopicPartition, Batch]] = []
        self.requests = 0
        self._identities = 0

    async def bootstrap(self) -> None:
        """It is there."""

    def get_random_node(self) -> int:
        return 1

    def add_topic(self, topic: str) -> None:
        """It is known already."""

    async def force_metadata_update(self) -> bool:
        await asyncio.sleep(0.001)
        return True

    def leader_for_partition(self, source: TopicPartition) -> int | None:
        return self.leaders.get(source, 1)

    async def send(self, node: int, request: Any, *, group: object = None) -> Any:  # noqa: ANN401
        if type(request).__name__ == "InitProducerIdRequest":
            self._identities += 1
            return SimpleNamespace(error_code=0, producer_id=self._identities, producer_epoch=0)
        self.requests += 1
        async with self._connections[node, group]:
            await asyncio.sleep(0.001)
            answers, wait_s = [], 0.0
            for topic, partitions in request._topics:
                for partition, data in partitions:
                    source = TopicPartition(topic, partition)
                    fate = self._fates[source]() if source in self._fates else 0
                    if isinstance(fate, float):
                        wait_s = max(wait_s, min(fate, request._timeout / 1000))
                        fate = TIMED_OUT if fate > request._timeout / 1000 else 0
                    if fate == 0:
                        self.taken.append((source, Batch(data)))
                    answers.append((topic, [(partition, fate, len(self.taken), -1)]))
            await asyncio.sleep(wait_s)
            return SimpleNamespace(topics=answers)

    async def close(self) -> None:
        """Nothing is left."""


def run(cluster: Cluster, test: Callable[[KafkaProducer], Coroutine[Any, Any, None]], **settings: Any) -> None:  # noqa: ANN401
    async def main() -> None:
        closing: list[Any] = []
        producer = KafkaProducer(KafkaSettings(**settings), VirtualClock(), closing.append)

        def open_client() -> Cluster:
            producer._client = cluster
            return cluster

        producer._open = open_client  # type: ignore[method-assign]
        await test(producer)
        await producer.stop()
        for close in closing:
            await close

    run_virtual(main())


async def written(producer: KafkaProducer, source: TopicPartition, pairs: Sequence[Pair] = (PAIR,)) -> float:
    """How long it takes."""
    since = asyncio.get_running_loop().time()
    assert await producer.send({source: pairs}) == {}
    return asyncio.get_running_loop().time() - since


@pytest.mark.parametrize(
    ("fate", "leader", "first_s", "why"),
    [
        pytest.param(lambda: 0, None, 0.01, "has no leader", id="no leader"),
        pytest.param(lambda: NOT_ENOUGH_REPLICAS, 1, 0.01, "NotEnoughReplicas", id="too few replicas"),
        pytest.param(lambda: NOT_LEADER, 1, 0.01, "NotLeader", id="its leader is not"),
        # Once all others of the first request wait for it, then never again.
        pytest.param(lambda: 60.0, 1, 1.1, "RequestTimedOut", id="its replicas are slow"),
    ],
)
def test_a_partition_that_can_t_be_written_neither_fails_nor_delays_another(
    fate: Fate, leader: int | None, first_s: float, why: str
) -> None:
    async def test(producer: KafkaProducer) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time()
        sick = asyncio.create_task(producer.send({SICK: [PAIR]}))
        both = asyncio.create_task(producer.send({SICK: [PAIR], WELL: [PAIR]}))
        await asyncio.sleep(0)
        assert await written(producer, WELL) < first_s
        for _ in range(200):
            assert await written(producer, WELL) < 0.01
            await asyncio.sleep(0.02)
        assert not sick.done()
        assert not both.done()
        for job in (sick, both):
            ((source, failure),) = (await job).items()
            assert source == SICK
            assert type(failure) is Retriable
            assert why in str(failure)
        assert 10 <= loop.time() - since < 10.5

    run(Cluster({SICK: fate}, {SICK: leader}), test, delivery_timeout_ms=10_000)


def test_a_broker_that_does_not_answer_holds_up_its_own_partitions_only() -> None:
    class Hanging(Cluster):
        async def send(self, node: int, request: Any, **options: Any) -> Any:  # noqa: ANN401
            if node == 2:
                await asyncio.sleep(5)
                raise OSError("no answer")
            return await super().send(node, request, **options)

    async def test(producer: KafkaProducer) -> None:
        sick = asyncio.create_task(producer.send({SICK: [PAIR]}))
        for _ in range(100):
            assert await written(producer, WELL) < 0.01
            await asyncio.sleep(0.05)
        assert "no answer" in str((await sick)[SICK])

    run(Hanging({}, {SICK: 2}), test, delivery_timeout_ms=8_000)


def test_a_partition_that_an_answer_leaves_out_is_sent_again() -> None:
    left_out = [True]

    class Forgetful(Cluster):
        async def send(self, node: int, request: Any, **options: Any) -> Any:  # noqa: ANN401
            answer = await super().send(node, request, **options)
            return SimpleNamespace(topics=[]) if hasattr(request, "_topics") and left_out and left_out.pop() else answer

    async def test(producer: KafkaProducer) -> None:
        await written(producer, WELL)

    cluster = Forgetful({})
    run(cluster, test)
    assert [batch.sequence for _, batch in cluster.taken] == [0, 0]


def test_batches_of_partitions_that_are_well_leave_together() -> None:
    sources = [TopicPartition("topic", number) for number in range(16)]
    cluster = Cluster({})

    async def test(producer: KafkaProducer) -> None:
        await written(producer, WELL)
        before = cluster.requests
        await asyncio.gather(*(producer.send({source: [PAIR]}) for source in sources))
        assert cluster.requests == before + 1

    run(cluster, test)


def test_what_is_written_again_has_the_same_number_and_what_follows_the_next_one() -> None:
    refusals = [NOT_ENOUGH_REPLICAS, TIMED_OUT, NOT_LEADER]
    cluster = Cluster({SICK: lambda: refusals.pop() if refusals else 0})

    async def test(producer: KafkaProducer) -> None:
        jobs = [asyncio.create_task(producer.send({SICK: [PAIR] * (number + 1)})) for number in range(4)]
        assert await asyncio.gather(*jobs) == [{}] * 4
        await asyncio.sleep(20)
        await written(producer, SICK)

    run(cluster, test)
    assert [(batch.sequence, batch.records) for _, batch in cluster.taken] == [(0, 1), (1, 2), (3, 3), (6, 4), (10, 1)]
    assert len({batch.producer_id for _, batch in cluster.taken}) == 1


@pytest.mark.parametrize("code", [OUT_OF_ORDER, NOT_ENOUGH_REPLICAS])
def test_after_an_unknown_outcome_the_numbers_of_that_partition_begin_anew(code: int) -> None:
    sick = [True]
    cluster = Cluster({SICK: lambda: code if sick[0] else 0})

    async def test(producer: KafkaProducer) -> None:
        await written(producer, WELL)
        assert isinstance((await producer.send({SICK: [PAIR]}))[SICK], Retriable)
        sick.clear()
        sick.append(False)
        await written(producer, SICK)
        await written(producer, WELL)

    run(cluster, test, delivery_timeout_ms=1_000)
    assert [(source, batch.producer_id, batch.sequence) for source, batch in cluster.taken] == [(WELL, 1, 0), (SICK, 2, 0), (WELL, 1, 1)]


def test_what_the_operator_does_not_allow_is_told_at_once_and_works_as_soon_as_it_is() -> None:
    codes = [NOT_ALLOWED]
    cluster = Cluster({SICK: lambda: codes.pop() if codes else 0})

    async def test(producer: KafkaProducer) -> None:
        failure = (await producer.send({SICK: [PAIR], WELL: [PAIR]}))[SICK]
        assert isinstance(failure, NotAllowed)
        assert "writing to topic" in str(failure)
        assert asyncio.get_running_loop().time() < 1
        await written(producer, SICK)

    run(cluster, test)


def test_one_record_that_is_refused_for_good_is_found_and_all_others_are_written() -> None:
    class Small(Cluster):
        async def send(self, node: int, request: Any, **options: Any) -> Any:  # noqa: ANN401
            if hasattr(request, "_topics"):
                ((_, ((_, data),)),) = request._topics
                self._fates[SICK] = lambda: TOO_LARGE if len(data) > 400 else 0
            return await super().send(node, request, **options)

    cluster = Small({})
    pairs = [(b"%02d" % number, bytes(1_000 if number in {3, 7} else 10)) for number in range(10)]

    async def test(producer: KafkaProducer) -> None:
        failure = (await producer.send({SICK: pairs}))[SICK]
        assert isinstance(failure, Refused)
        assert (failure.source, failure.keys) == (SICK, (b"03", b"07"))
        assert "max.message.bytes" in str(failure)
        await written(producer, SICK)

    run(cluster, test, compression=None)
    sequence = 0
    for _, batch in cluster.taken:
        assert batch.sequence == sequence
        sequence += batch.records
    assert sequence == 9


def test_a_record_that_fits_no_request_is_refused_without_asking_anybody() -> None:
    cluster = Cluster({})

    async def test(producer: KafkaProducer) -> None:
        await written(producer, SICK)
        failure = (await producer.send({SICK: [(b"large", bytes(5_000)), PAIR], WELL: [PAIR]}))[SICK]
        assert isinstance(failure, Refused)
        assert failure.keys == (b"large",)
        assert "topic-1" in str(failure)
        assert "max.request.size is 2000" in str(failure)

    run(cluster, test, compression=None, request_bytes_max=2_000)
    assert sorted((source, batch.records) for source, batch in cluster.taken) == [(WELL, 1), (SICK, 1), (SICK, 1)]


def test_what_is_refused_whatever_the_records_are_names_the_setting() -> None:
    async def test(producer: KafkaProducer) -> None:
        failure = (await producer.send({SICK: [PAIR, (b"other", b"")]}))[SICK]
        assert isinstance(failure, Refused)
        assert failure.keys == (b"key", b"other")
        assert "compression.type" in str(failure)

    run(Cluster({SICK: lambda: COMPRESSION}), test)


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_whoever_waits_when_the_producer_is_stopped_is_told_that_the_outcome_is_unknown(acks: str) -> None:
    cluster = Cluster({SICK: lambda: NOT_ENOUGH_REPLICAS}, {SICK: None})

    async def test(producer: KafkaProducer) -> None:
        await written(producer, WELL)
        sending = asyncio.create_task(producer.send({SICK: [PAIR]}))
        await asyncio.sleep(1)
        await producer.stop()
        assert "stopped" in str((await sending)[SICK])

    run(cluster, test, acks=acks)


def test_while_no_broker_answers_everybody_is_told_in_time() -> None:
    class Away(Cluster):
        async def bootstrap(self) -> None:
            await asyncio.sleep(3_600)

    async def test(producer: KafkaProducer) -> None:
        failures = await asyncio.gather(*(producer.send({source: [PAIR]}) for source in (WELL, SICK)))
        assert [type(failure) for each in failures for failure in each.values()] == [Retriable, Retriable]
        assert 10 <= asyncio.get_running_loop().time() < 11

    run(Away({}), test, delivery_timeout_ms=10_000)
