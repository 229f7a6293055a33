"""The moments at which a consumer of ours asks for more."""

from __future__ import annotations

import asyncio
from struct import Struct
from types import SimpleNamespace
from typing import Final

from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition

from ticketmaster.broker.kafka.fetching import Answer, Fetch, Fetched
from ticketmaster.broker.kafka.private import CONNECTION_OF_FETCHES
from ticketmaster.broker.kafka.private_fetching import BatchConsumer
from ticketmaster.simulation.loop import Process, run_virtual

WAIT_S, MOMENT_S = 2.0, 0.001
_WAIT_MS: Final = Struct(">i")
SOURCE = TopicPartition("t", 0)


class Silent:
    """As much of a client as a fetcher uses, of a broker that has nothing: it answers a fetch a moment before its time is over."""

    _metadata_max_age_ms = 60_000
    cluster = SimpleNamespace(leader_for_partition=lambda _: 1)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.asked = 0
        connection = SimpleNamespace(connected=lambda: True, send=self.send, _requests=())
        self._conns = {(1, CONNECTION_OF_FETCHES): connection}

    def send(self, fetch: Fetch) -> asyncio.Future[Answer]:
        self.asked += 1
        answer = self._loop.create_future()
        nothing: Fetched = (SOURCE.partition, 0, 0, 0, 0, [], -1, b"")
        (wait_ms,) = _WAIT_MS.unpack_from(fetch.encode(), 4)
        self._loop.call_later(wait_ms / 1000 - MOMENT_S, answer.set_result, [(SOURCE.topic, [nothing])])
        return answer


def test_a_fetch_that_ends_is_followed_at_once() -> None:
    async def run() -> None:
        client, subscriptions = Silent(), SubscriptionState()
        subscriptions.assign_from_user([SOURCE])
        subscriptions.seek(SOURCE, 0)

        async def follow() -> None:
            consumer = BatchConsumer(lambda records: records)
            consumer._fetcher = Fetcher(client, subscriptions, fetch_max_wait_ms=round(WAIT_S * 1000))
            try:
                await asyncio.sleep(1_000)
            finally:
                await consumer.stop()

        process = Process("consumer")
        process.start(follow())
        await asyncio.sleep(MOMENT_S / 2)
        for asked in range(1, 10):
            assert client.asked == asked
            # It has no turn while the answer comes and the timer fires, as on a busy machine: it sees both in one.
            process.freeze()
            await asyncio.sleep(2 * WAIT_S)
            process.thaw()
            await asyncio.sleep(MOMENT_S / 2)
        await process.end()

    run_virtual(run())
