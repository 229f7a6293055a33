"""A transactional producer, and a cluster that is not well: what it asks again, and how often. No broker is needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import NodeNotReadyError

from ticketmaster.broker.kafka import protocol
from ticketmaster.broker.kafka.batches import Identity
from ticketmaster.broker.kafka.protocol import NewerRequests, OlderRequests, Requests
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.transactions import KafkaTransactionalProducer
from ticketmaster.broker.port import TopicPartition
from ticketmaster.errors import NotAllowed, Retriable
from ticketmaster.simulation.loop import VirtualClock, run_virtual

SOURCE = TopicPartition("topic", 0)
PAIR = (b"key", b"value")
OPERATION_NOT_ATTEMPTED, UNKNOWN_TOPIC, CONCURRENT_TRANSACTIONS = 55, 3, 51
SETTINGS = KafkaSettings(retry_backoff_ms=10)


class Cluster:
    """What a client of aiokafka is asked for, and says."""

    def __init__(self, answer: Callable[[str], Any], leader: Callable[[], int | None] = lambda: 1) -> None:
        self._answer = answer
        self._leader = leader
        self.updates = 0
        self.asked: list[str] = []
        self.unauthorized_topics: set[str] = set()
        self.cluster = self

    def leader_for_partition(self, _: TopicPartition) -> int | None:
        return self._leader()

    def add_topic(self, topic: str) -> None:
        """It is known already."""

    async def force_metadata_update(self) -> bool:
        self.updates += 1
        await asyncio.sleep(0.001)
        return True

    async def coordinator_lookup(self, *_: object) -> int:
        return 1

    async def send(self, _: int, request: object) -> object:
        name = type(request).__name__
        self.asked.append(name)
        return self._answer(name)


def well(name: str) -> object:
    """The answer of a broker that does what it is asked."""
    if name.startswith("Produce"):
        return SimpleNamespace(topics=[("topic", [(0, 0, 40)])])
    if name.startswith("TxnOffsetCommit"):
        return SimpleNamespace(errors=[("topic", [(0, 0)])])
    return SimpleNamespace(error_code=0, producer_id=1, producer_epoch=2)


def producer_on(cluster: Cluster) -> KafkaTransactionalProducer:
    """One that has started."""

    def discard(_: object) -> None:
        raise AssertionError("nobody stops it")

    producer = KafkaTransactionalProducer("task", SETTINGS, VirtualClock(), discard)
    producer._client, producer._requests, producer._identity, producer._usable = cluster, NewerRequests(), Identity(1, 1), True
    return producer


async def committed(cluster: Cluster) -> dict[TopicPartition, int]:
    return await producer_on(cluster).commit({SOURCE: [PAIR]}, {SOURCE: 1}, "group")


@pytest.mark.parametrize("nobody", [None, -1])
def test_while_a_partition_has_no_leader_the_cluster_is_asked_now_and_then(nobody: int | None) -> None:
    async def main() -> int:
        elects_at_s = asyncio.get_running_loop().time() + 0.5
        cluster = Cluster(well, lambda: 1 if asyncio.get_running_loop().time() > elects_at_s else nobody)
        assert await committed(cluster) == {SOURCE: 41}
        return cluster.updates

    # At 20, 40, 80 … ms.
    assert 3 < run_virtual(main()) < 10


@pytest.mark.parametrize("request_name", ["ProduceRequestV12", "TxnOffsetCommitRequestV5", "EndTxnRequestV5"])
def test_what_could_not_be_sent_is_sent_again(request_name: str) -> None:
    failures = [request_name] * 2

    def answer(name: str) -> object:
        if name in failures:
            failures.pop()
            raise NodeNotReadyError
        return well(name)

    assert run_virtual(committed(Cluster(answer))) == {SOURCE: 41}
    assert not failures


@pytest.mark.parametrize(
    ("requests", "asked"),
    [
        (NewerRequests(), ["ProduceRequestV12", "EndTxnRequestV5"]),
        (OlderRequests(), ["AddPartitionsToTxnRequest", "ProduceRequest", "EndTxnRequest"]),
    ],
    ids=["newer", "older"],
)
def test_of_a_transaction_without_offsets_the_group_hears_nothing(requests: Requests, asked: list[str]) -> None:
    async def main() -> list[str]:
        cluster = Cluster(lambda name: SimpleNamespace(errors=[("topic", [(0, 0)])]) if name.startswith("Add") else well(name))
        producer = producer_on(cluster)
        producer._requests = requests
        assert await producer.commit({SOURCE: [PAIR]}, {}, "group") == {SOURCE: 41}
        return cluster.asked

    assert run_virtual(main()) == asked


@pytest.mark.parametrize(("logs", "ends", "asked"), [([SOURCE], {SOURCE: 41}, ["ProduceRequestV12", "EndTxnRequestV5"]), ([], {}, [])])
def test_where_logs_end_is_learnt_by_records_that_are_taken_back(
    logs: list[TopicPartition], ends: dict[TopicPartition, int], asked: list[str]
) -> None:
    async def main() -> tuple[dict[TopicPartition, int], list[str]]:
        cluster = Cluster(well)
        return await producer_on(cluster).ends_of(logs), cluster.asked

    assert run_virtual(main()) == (ends, asked)


def test_an_answer_that_leaves_a_partition_out_ends_the_producer_and_not_the_process() -> None:
    with pytest.raises(Retriable, match="leaves out topic-0"):
        run_virtual(committed(Cluster(lambda _: SimpleNamespace(topics=[]))))


TOPIC_AUTHORIZATION, GROUP_AUTHORIZATION, TRANSACTIONAL_ID_AUTHORIZATION = 29, 30, 53


@pytest.mark.parametrize(
    ("request_name", "code", "why"),
    [
        ("ProduceRequestV12", TOPIC_AUTHORIZATION, "Produce was refused with 29, TopicAuthorizationFailedError"),
        ("TxnOffsetCommitRequestV5", GROUP_AUTHORIZATION, "TxnOffsetCommit was refused with 30, GroupAuthorizationFailedError"),
        ("EndTxnRequestV5", TRANSACTIONAL_ID_AUTHORIZATION, "EndTxn was refused with 53, TransactionalIdAuthorizationFailed"),
    ],
)
def test_what_is_not_allowed_is_told_as_such_and_not_asked_again(request_name: str, code: int, why: str) -> None:
    def answer(name: str) -> object:
        if name != request_name:
            return well(name)
        return SimpleNamespace(error_code=code, topics=[("topic", [(0, code, -1)])], errors=[("topic", [(0, code)])])

    cluster = Cluster(answer)
    with pytest.raises(NotAllowed, match=f"producer task: {why}"):
        run_virtual(committed(cluster))
    assert cluster.asked.count(request_name) == 1


def test_a_topic_that_this_user_may_not_see_is_told_as_not_allowed() -> None:
    cluster = Cluster(well, lambda: None)
    cluster.unauthorized_topics.add("topic")

    with pytest.raises(NotAllowed, match="TopicAuthorizationFailedError"):
        run_virtual(committed(cluster))


def test_a_connection_that_breaks_when_it_is_written_to_ends_the_producer_and_not_the_process() -> None:
    def answer(_: str) -> object:
        # As uvloop does.
        raise RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")

    with pytest.raises(Retriable, match="handler is closed"):
        run_virtual(committed(Cluster(answer)))


def test_what_is_refused_until_time_is_over_is_told_with_its_code_and_was_not_asked_for_all_the_time() -> None:
    cluster = Cluster(lambda _: SimpleNamespace(topics=[("topic", [(0, CONCURRENT_TRANSACTIONS, -1)])]))

    with pytest.raises(Retriable, match=r"Produce was refused with 51"):
        run_virtual(committed(cluster))
    # Within ten seconds, each time later, half a second at most.
    assert 20 <= len(cluster.asked) < 40


def test_a_broker_that_does_not_answer_in_one_part_ends_the_others() -> None:
    async def main() -> list[str]:
        ended: list[str] = []

        class Halves(Cluster):
            def leader_for_partition(self, source: TopicPartition) -> int:
                return source.partition

            async def send(self, node: int, request: object) -> object:
                if node == 0:
                    raise OSError("gone")
                try:
                    await asyncio.sleep(3_600)
                    return None
                finally:
                    ended.append("other")

        with contextlib.suppress(Retriable):
            await producer_on(Halves(well)).commit({SOURCE: [PAIR], SOURCE._replace(partition=1): [PAIR]}, {}, "group")
        await asyncio.sleep(0)
        return ended

    assert run_virtual(main()) == ["other"]


def test_of_several_refusals_the_one_that_is_to_blame_is_told() -> None:
    def answer(*codes: int) -> object:
        return SimpleNamespace(errors=[("topic", list(enumerate(codes)))])

    assert protocol.first_code(answer(0, 0)) == 0
    assert protocol.first_code(answer(OPERATION_NOT_ATTEMPTED, UNKNOWN_TOPIC, 0)) == UNKNOWN_TOPIC
    assert protocol.first_code(answer(OPERATION_NOT_ATTEMPTED)) == OPERATION_NOT_ATTEMPTED
