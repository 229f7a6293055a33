"""The moments at which a consumer of ours asks for more: aiokafka's fetcher chooses them, by a timer and by the ends of its jobs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition

from ticketmaster.broker.kafka.private import BatchConsumer
from ticketmaster.simulation.loop import Process, run_virtual

WAIT_S, MOMENT_S = 2.0, 0.001
SOURCE = TopicPartition("t", 0)


class Silent:
    """As much of a client as a fetcher uses, of a broker that has nothing: it answers a fetch a moment before its time is over."""

    _metadata_max_age_ms = 60_000
    cluster = SimpleNamespace(leader_for_partition=lambda _: 1)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.asked = 0

    async def send(self, _node: int, fetch: Any) -> Any:  # noqa: ANN401
        self.asked += 1
        await asyncio.sleep(fetch._max_wait_ms / 1000 - MOMENT_S)
        return SimpleNamespace(API_VERSION=11, topics=[(SOURCE.topic, [(SOURCE.partition, 0, 0, 0, 0, [], -1, b"")])])


def test_a_fetch_that_ends_as_the_fetchers_timer_fires_is_followed_at_once() -> None:
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
