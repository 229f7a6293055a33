"""The reservation role at work on the engine: the log alone decides whether a payment or the end of a hold came first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest

from tests.support.consuming import read_records
from tests.support.records import change, create_reservation, success
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.storage import MemoryStorage
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.simulation.loop import VirtualClock, run_virtual
from ticketmaster.state.memory import MemoryStores
from ticketmaster.streams.settings import EMBEDDED
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.observer import Observer
from ticketmaster.wire import avro, topics

ID = "51998dfc-abe9-4429-bce7-255ede8d55db"
HOLD_S = 60
# What waits is not worked off in one go.
SLOW = replace(EMBEDDED, transaction_records_max=1)
CHANGES = TopicPartition(topics.CHANGE_RESERVATION.name, 0)


class Sale:
    """The role on an embedded broker, with one reservation whose seats are held since the start."""

    def __init__(self) -> None:
        self.broker = EmbeddedBroker(MemoryStorage(), VirtualClock())
        self.job: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await self.broker.start()
        await self.broker.create_topics([TopicSpec(topic.name, 1, topic.compacted) for topic in topics.ALL_TOPICS])
        self.start()
        await self.send(topics.CREATE_RESERVATION, (ID.encode(), create_reservation()))
        await asyncio.sleep(0.2)
        await self.send(topics.RESERVATION_RESULT, (ID.encode(), success(ID, [(0, 1)], (HOLD_S, HOLD_S))))
        await asyncio.sleep(0.2)
        assert await self.state() == "RESERVED"

    def start(self) -> None:
        topology = reservation_topology(1, AreaCache(1, lambda: True))
        self.job = asyncio.create_task(StreamWorker(topology, self.broker, lambda *_: MemoryStores(), SLOW, Observer()).run())

    async def stop(self) -> None:
        assert self.job
        self.job.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.job

    async def send(self, topic: topics.Topic, record: Pair) -> None:
        await self.broker.producer().send({TopicPartition(topic.name, 0): [record]})

    async def pay(self) -> None:
        await self.send(topics.CHANGE_RESERVATION, (ID.encode(), change("PAY", reference="order-1")))

    async def state(self) -> object:
        value = (await read_records(self.broker, TopicPartition(topics.USER_RESERVATION.name, 0)))[-1][1]
        assert value
        return avro.decode("Reservation.2", value)["state"]

    async def ticks(self) -> int:
        return sum(value is None for _, value in await read_records(self.broker, CHANGES))


def on_virtual_time(test: Callable[[Sale], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        sale = Sale()
        await sale.begin()
        try:
            await test(sale)
        finally:
            await sale.stop()
            await sale.broker.close()

    run_virtual(run())


def test_a_hold_ends_in_time_where_nobody_sends_anything_and_then_it_is_quiet() -> None:
    async def test(sale: Sale) -> None:
        await asyncio.sleep(HOLD_S - 1)
        assert (await sale.state(), await sale.ticks()) == ("RESERVED", 0)
        await asyncio.sleep(3.0)
        assert await sale.state() == "CANCELLED"
        ticks = await sale.ticks()
        assert 1 <= ticks <= 2
        await asyncio.sleep(600.0)
        assert await sale.ticks() == ticks

    on_virtual_time(test)


@pytest.mark.parametrize("away_s", [5.0, 3_600.0])
def test_a_payment_that_the_log_took_in_time_wins_though_the_role_comes_back_after_the_end(away_s: float) -> None:
    async def test(sale: Sale) -> None:
        await asyncio.sleep(HOLD_S - 3)
        await sale.stop()
        for _ in range(5):
            await sale.send(topics.CHANGE_RESERVATION, (b"", None))
        await sale.pay()
        await asyncio.sleep(away_s)
        sale.start()
        await asyncio.sleep(10.0)
        assert await sale.state() == "PAID"

    on_virtual_time(test)


def test_a_payment_that_the_log_took_too_late_loses_though_the_hold_was_not_ended_yet() -> None:
    async def test(sale: Sale) -> None:
        await asyncio.sleep(HOLD_S - 3)
        await sale.stop()
        await asyncio.sleep(5.0)
        await sale.pay()
        sale.start()
        await asyncio.sleep(10.0)
        assert await sale.state() == "CANCELLED"

    on_virtual_time(test)
