"""The moments at which a consumer of ours asks a broker for more, and the way of answers to its polls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from struct import Struct
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka.consumer.fetcher import Fetcher as TheirFetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException, KafkaConnectionError, RecordTooLargeError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from tests.broker.kafka.batches import written
from ticketmaster.broker.kafka.fetching import Answer, Fetch, Fetched
from ticketmaster.broker.kafka.private import CONNECTION_OF_FETCHES, job_failure
from ticketmaster.broker.kafka.private_fetching import Fetcher
from ticketmaster.simulation.loop import Process, run_virtual

WAIT_S, MOMENT_S, REST_S = 2.0, 0.001, 0.1
WAIT_MS: Final = Struct(">i")
ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)
NODE, NEXT = 1, 2
BATCH = written([0])
NOT_LEADER, NOT_ALLOWED = 6, 29
Script = Callable[[TopicPartition], tuple[int, bytes]]


class Scripted:
    """As much of a client as a fetcher uses. Without a script its broker has nothing, and says so just before a fetch's time is over."""

    _metadata_max_age_ms = 60_000

    def __init__(self, *sources: TopicPartition) -> None:
        self._loop = asyncio.get_running_loop()
        self.sources = sources
        # Of each partition that another node leads.
        self.leaders: dict[TopicPartition, int] = {}
        self.listeners: set[Callable[[object], None]] = set()
        self.cluster = SimpleNamespace(
            leader_for_partition=lambda source: self.leaders.get(source, NODE),
            add_listener=self.listeners.add,
            remove_listener=self.listeners.remove,
        )
        self.connections = 0
        self.asked = 0
        self.updates = 0
        # ``script(partition)``: an error and records, which are answered at once.
        self.script: Script | None = None
        self.connection = SimpleNamespace(connected=lambda: True, send=self.send, _requests=[], close=lambda: None)
        self._conns = {(node, CONNECTION_OF_FETCHES): self.connection for node in (NODE, NEXT)}

    def send(self, fetch: Fetch) -> asyncio.Future[Answer]:
        self.asked += 1
        answer = self._loop.create_future()
        (wait_ms,) = WAIT_MS.unpack_from(fetch.encode(), 4)
        script = self.script or (lambda _: (0, b""))
        told = {source: script(source) for source in self.sources}
        found: list[Fetched] = [(source.partition, code, 9, 9, 0, [], -1, data) for source, (code, data) in told.items()]

        def tell() -> None:
            if not answer.done():
                answer.set_result([("t", found)])

        self._loop.call_later(MOMENT_S if self.script else wait_ms / 1000 - MOMENT_S, tell)
        return answer

    async def ready(self, _: int, *, group: str) -> bool:
        assert group == CONNECTION_OF_FETCHES
        self.connections += 1
        return True

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.updates += 1
        done = self._loop.create_future()
        done.set_result(True)
        return done


class Unpacked:
    """Of records nothing but what they are: their position moves by one."""

    def __init__(self, records: Any) -> None:  # noqa: ANN401 - aiokafka's
        self._source = records._tp
        self.next_fetch_offset = records.next_fetch_offset

    def __iter__(self) -> Iterator[TopicPartition]:
        self.next_fetch_offset += 1
        yield self._source


class Corrupt(Unpacked):
    """As :class:`Unpacked`, but for what the other partition has."""

    failure: Exception = CorruptRecordException("rubbish")

    def __iter__(self) -> Iterator[TopicPartition]:
        if self._source == OTHER:
            raise self.failure
        yield from super().__iter__()


@asynccontextmanager
async def fetching(client: Scripted, unpacked: Callable[[Any], Any] = Unpacked) -> AsyncIterator[Fetcher]:
    """A consumer's fetcher, which reads the client's partitions from the start."""
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user(list(client.sources))
    for source in client.sources:
        subscriptions.seek(source, 0)
    theirs = TheirFetcher(client, subscriptions, fetch_max_wait_ms=round(WAIT_S * 1000), auto_offset_reset="earliest", check_crcs=False)
    fetcher = Fetcher(theirs, unpacked)
    try:
        yield fetcher
    finally:
        await fetcher.close()
        await fetcher.close()
        assert not client.listeners


def test_a_fetch_that_ends_is_followed_at_once() -> None:
    async def run() -> None:
        client = Scripted(ONE)

        async def follow() -> None:
            async with fetching(client):
                await asyncio.sleep(1_000)

        process = Process("consumer")
        process.start(follow())
        await asyncio.sleep(MOMENT_S / 2)
        for asked in range(1, 10):
            assert client.asked == asked
            # It has no turn while the answer comes, as on a busy machine.
            process.freeze()
            await asyncio.sleep(2 * WAIT_S)
            process.thaw()
            await asyncio.sleep(MOMENT_S / 2)
        await process.end()

    run_virtual(run())


@pytest.mark.parametrize("code", [NOT_LEADER, 74, 7, -1])
def test_a_broker_that_refuses_is_asked_now_and_then(code: int) -> None:
    async def run() -> None:
        client = Scripted(ONE)
        client.script = lambda _: (code, b"")
        async with fetching(client) as fetcher:
            assert await fetcher.fetched_records((), 10) == {}
            assert 10 / (REST_S + MOMENT_S) - 2 < client.asked <= 10 / REST_S
            assert (client.updates > 0) == (code in (NOT_LEADER, 74))

    run_virtual(run())


def test_a_broker_whose_connection_breaks_is_asked_now_and_then() -> None:
    async def run() -> None:
        client = Scripted(ONE)

        def send(_: Fetch) -> asyncio.Future[Answer]:
            client.asked += 1
            raise KafkaConnectionError("closed")

        client.connection.send = send
        async with fetching(client) as fetcher:
            assert await fetcher.fetched_records((), 10) == {}
            assert 90 < client.asked < 110

    run_virtual(run())


@pytest.mark.parametrize(("told", "failure"), [((NOT_ALLOWED, b""), TopicAuthorizationFailedError), ((0, BATCH[:-1]), RecordTooLargeError)])
def test_a_partition_that_can_not_be_read_says_why_at_each_poll(told: tuple[int, bytes], failure: type[Exception]) -> None:
    async def run() -> None:
        client = Scripted(ONE)
        client.script = lambda _: told
        async with fetching(client) as fetcher:
            for _ in range(3):
                with pytest.raises(failure):
                    await fetcher.fetched_records((), 10)

    run_virtual(run())


class Undecodable(Corrupt):
    """As :class:`Corrupt`, in a way that is none of Kafka's."""

    failure = ValueError("no lz4")


@pytest.mark.parametrize("unpacked", [Corrupt, Undecodable])
def test_records_of_one_partition_are_not_lost_with_those_of_another_that_are_rubbish(unpacked: type[Corrupt]) -> None:
    async def run() -> None:
        client = Scripted(ONE, OTHER)
        client.script = lambda _: (0, BATCH)
        async with fetching(client, unpacked) as fetcher:
            for _ in range(3):
                assert await fetcher.fetched_records((), 10) == {ONE: [ONE]}
                with pytest.raises(type(unpacked.failure)):
                    await fetcher.fetched_records((), 10)

    run_virtual(run())


def test_a_partition_that_is_paused_after_a_poll_is_not_fetched() -> None:
    async def run() -> None:
        client = Scripted(ONE)
        client.script = lambda _: (0, BATCH)
        async with fetching(client) as fetcher:
            assert await fetcher.fetched_records((), 10)
            asked = client.asked
            fetcher._subscriptions.pause(ONE)
            assert await fetcher.fetched_records((), 10) == {}
            assert client.asked == asked

    run_virtual(run())


def test_a_partitions_new_leader_is_asked_though_the_old_one_never_answers() -> None:
    async def run() -> None:
        client = Scripted(ONE)
        silent = SimpleNamespace(connected=lambda: True, send=lambda _: asyncio.get_running_loop().create_future(), _requests=[])
        client._conns[NODE, CONNECTION_OF_FETCHES] = silent
        client.script = lambda _: (0, BATCH)
        async with fetching(client) as fetcher:
            assert await fetcher.fetched_records((), 1) == {}
            client.leaders[ONE] = NEXT
            for listener in client.listeners:
                listener(client.cluster)
            assert await fetcher.fetched_records((), 1) == {ONE: [ONE]}

    run_virtual(run())


def test_a_broker_that_closes_each_connection_at_once_is_connected_to_now_and_then() -> None:
    async def run() -> None:
        client = Scripted(ONE)
        client._conns.clear()
        async with fetching(client) as fetcher:
            assert await fetcher.fetched_records((), 10) == {}
            assert 90 < client.connections < 110

    run_virtual(run())


def test_each_partition_of_each_broker_is_the_first_one_now_and_then() -> None:
    async def run() -> None:
        sources = [TopicPartition("t", number) for number in range(7)]
        client, first = Scripted(*sources), dict[int, Counter[int]]()
        client.leaders = dict.fromkeys(sources[3:], NEXT)
        for node in (NODE, NEXT):
            first[node] = Counter()

            def send(fetch: Fetch, seen: Counter[int] = first[node]) -> asyncio.Future[Answer]:
                # Behind the head, the number of topics, a name and the number of partitions.
                (partition,) = WAIT_MS.unpack_from(fetch.encode(), 25 + 4 + 2 + 1 + 4)
                seen[partition] += 1
                return client.send(fetch)

            client._conns[node, CONNECTION_OF_FETCHES] = SimpleNamespace(connected=lambda: True, send=send, _requests=[])
        async with fetching(client):
            await asyncio.sleep(120 * WAIT_S)
        assert {source.partition: first[NODE if source.partition < 3 else NEXT][source.partition] for source in sources} == pytest.approx(
            {0: 40, 1: 40, 2: 40, 3: 30, 4: 30, 5: 30, 6: 30}, abs=2
        )

    run_virtual(run())


def test_a_fetcher_that_fails_says_why() -> None:
    async def run() -> None:
        client, failure = Scripted(ONE), RuntimeError("a defect")

        def fail(_: object) -> None:
            raise failure

        client.script = lambda _: (0, BATCH)
        async with fetching(client, fail) as fetcher:
            assert await fetcher.fetched_records((), 10) == {}
            assert job_failure(SimpleNamespace(_fetcher=fetcher, _coordinator=None)) is failure

    run_virtual(run())
