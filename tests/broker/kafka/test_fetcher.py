"""The moments at which a consumer of ours asks a broker for more, and what becomes of what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from struct import Struct
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka.consumer.fetcher import Fetcher as TheirFetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException, KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from ticketmaster.broker.kafka.fetching import Answer, Fetch, Fetched
from ticketmaster.broker.kafka.private import CONNECTION_OF_FETCHES, job_failure
from ticketmaster.broker.kafka.private_fetching import Fetcher
from ticketmaster.simulation.loop import Process, run_virtual

WAIT_S, MOMENT_S, REST_S = 2.0, 0.001, 0.1
WAIT_MS: Final = Struct(">i")
ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)
NODE = 1
NOT_LEADER, OUT_OF_RANGE, NOT_ALLOWED = 6, 1, 29
Script = Callable[[TopicPartition], tuple[int, bytes]]


class Scripted:
    """As much of a client as a fetcher uses. Without a script its broker has nothing, and says so just before a fetch's time is over."""

    _metadata_max_age_ms = 60_000
    cluster = SimpleNamespace(leader_for_partition=lambda _: NODE)

    def __init__(self, *sources: TopicPartition) -> None:
        self._loop = asyncio.get_running_loop()
        self.sources = sources
        self.asked = 0
        self.updates = 0
        # ``script(partition)``: an error and records, which are answered at once.
        self.script: Script | None = None
        self.connection = SimpleNamespace(connected=lambda: True, send=self.send, _requests=[], close=lambda: None)
        self._conns = {(NODE, CONNECTION_OF_FETCHES): self.connection}

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

    def __iter__(self) -> Iterator[TopicPartition]:
        if self._source == OTHER:
            raise CorruptRecordException("rubbish")
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


def test_what_may_not_be_read_is_told_at_each_poll() -> None:
    async def run() -> None:
        client = Scripted(ONE)
        client.script = lambda _: (NOT_ALLOWED, b"")
        async with fetching(client) as fetcher:
            for _ in range(3):
                with pytest.raises(TopicAuthorizationFailedError):
                    await fetcher.fetched_records((), 10)

    run_virtual(run())


def test_records_of_one_partition_are_not_lost_with_those_of_another_that_are_rubbish() -> None:
    async def run() -> None:
        client = Scripted(ONE, OTHER)
        client.script = lambda _: (0, b"records")
        async with fetching(client, Corrupt) as fetcher:
            for _ in range(3):
                assert await fetcher.fetched_records((), 10) == {ONE: [ONE]}
                with pytest.raises(CorruptRecordException):
                    await fetcher.fetched_records((), 10)

    run_virtual(run())


def test_a_fetcher_that_fails_says_why() -> None:
    async def run() -> None:
        client, failure = Scripted(ONE), RuntimeError("a defect")

        def fail(_: object) -> None:
            raise failure

        client.script = lambda _: (0, b"records")
        async with fetching(client, fail) as fetcher:
            assert await fetcher.fetched_records((), 10) == {}
            assert job_failure(SimpleNamespace(_fetcher=fetcher, _coordinator=None)) is failure

    run_virtual(run())
