"""A role at work on virtual time, and one of its tasks without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

from tests.support.consuming import read_records, until
from tests.support.engine import (
    PARTITIONS,
    SETTINGS,
    TOPOLOGY,
    WORDS,
    FailingBroker,
    FragileStores,
    NoConsumer,
    Notes,
    started_broker,
)
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.simulation.loop import run_virtual
from ticketmaster.state.port import StateStores
from ticketmaster.streams.lifecycle import PartitionState
from ticketmaster.streams.log_clock import LogClock
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.partition import Surroundings
from ticketmaster.streams.runner import TaskRunner
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.worker import StreamWorker


class Work:
    """The counting role on a broker."""

    def __init__(self, broker: FailingBroker) -> None:
        self.broker = broker
        self.topology = TOPOLOGY
        self.stores: dict[int, FragileStores] = {number: FragileStores() for number in range(PARTITIONS)}
        self.notes = Notes()
        self.jobs: list[asyncio.Task[None]] = []

    def open_stores(self, application_id: str, names: Sequence[str], partition: int) -> StateStores:
        opened = self.stores[partition]
        opened.opened += 1
        return opened

    def start(self, settings: StreamSettings = SETTINGS) -> StreamWorker:
        worker = StreamWorker(self.topology, self.broker, self.open_stores, settings, self.notes)
        self.jobs.append(asyncio.create_task(worker.run()))
        return worker

    async def stop(self, *jobs: asyncio.Task[None]) -> None:
        for job in jobs or self.jobs:
            job.cancel()
        await asyncio.gather(*(jobs or self.jobs), return_exceptions=True)

    async def send(self, source: TopicPartition, keys: Sequence[bytes]) -> None:
        await self.broker.producer().send({source: [(key, b"") for key in keys]})

    async def hold(self, until_ms: Mapping[bytes, int], source: TopicPartition = WORDS) -> None:
        """Holds keys, if the role is one that does."""
        await self.broker.producer().send({source: [(key, b"%d" % time_ms) for key, time_ms in until_ms.items()]})

    async def ended(self, partition: int = 0) -> list[bytes]:
        """The keys whose holds have ended."""
        return [key for key, told in await self.counts(partition) if told == b"ended"]

    async def counts(self, partition: int = 0) -> list[Pair]:
        return await read_records(self.broker, TopicPartition("counts", partition))

    async def counted(self, count: int, partition: int = 0) -> None:
        source = TopicPartition("counts", partition)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 100
        while (await self.broker.end_offsets([source]))[source] < count:
            assert loop.time() < deadline, await self.counts()
            await asyncio.sleep(0.01)
        # The task still has to hear of it.
        await asyncio.sleep(0.01)


def on_virtual_time(test: Callable[[Work], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        broker = await started_broker()
        work = Work(broker)
        try:
            await test(work)
        finally:
            broker.gate.set()
            broker.storage.gate.set()
            await work.stop()
            await broker.close()
        assert {store.opened for store in work.stores.values()} <= {0}, "a store was left open"
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == [], "a job was left behind"

    run_virtual(run())


def counting(keys: Sequence[bytes]) -> list[Pair]:
    """What the role tells about these keys."""
    return [(key, b"%d" % (keys[:index].count(key) + 1)) for index, key in enumerate(keys)]


class OneTask:
    """A task's runner without a worker: the test delivers."""

    def __init__(self, work: Work) -> None:
        self.consumer = NoConsumer()
        around = Surroundings(work.topology.application_id, work.broker, self.consumer, SETTINGS, work.notes, lambda: None)
        self.runner = TaskRunner(work.topology, 0, around, lambda: work.open_stores("", (), 0), Pace(0), LogClock(work.broker.now_ms))
        self.job = asyncio.create_task(self.runner.run())

    async def running(self) -> None:
        await until(lambda: self.runner.state is PartitionState.RUNNING, "the task runs")
