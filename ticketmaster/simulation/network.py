"""What lies between a process and the broker: requests and replies are late, lost or sent twice.

Each process has a :class:`Link` of its own. A request whose outcome the process can't know ends as it does on Kafka: with Retriable.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from random import Random
from typing import TypeVar

from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.consumer import GroupMember
from ticketmaster.broker.port import (
    NO_CLAIMS,
    NO_RECORD_HEADERS,
    Batch,
    Consumer,
    Membership,
    Pair,
    Producer,
    RebalanceListener,
    RecordHeaders,
    TopicPartition,
    TopicSpec,
    TransactionalProducer,
)
from ticketmaster.clock import Clock, SteadyClock
from ticketmaster.errors import Retriable, TicketmasterError
from ticketmaster.simulation.journal import Journal

T = TypeVar("T")

_DELAYS_S = (0.0, 0.0, 0.0, 0.002, 0.005, 0.02)
_TIMEOUTS_S = (0.5, 2.0, 5.0)
# What is written matters more than what is read.
_WRITES_WEIGHT = 3.0
# Most often about when the next producer takes over, which is when it matters.
_LATE_S = (0.0, 0.05, 0.1, 0.1, 0.12, 3.0, 15.0)


class Weather:
    """How bad the network is: the chance that a request, or its reply, comes to grief."""

    def __init__(self) -> None:
        self.lost = 0.0


class Link:
    """One process's way to the broker."""

    def __init__(self, name: str, weather: Weather, random: Random, journal: Journal) -> None:
        self.name = name
        self.cut = False
        self.rough = 0.0
        # In nobody's process: what is under way arrives whatever becomes of who sent it.
        self._outside = contextvars.Context()
        self._weather = weather
        self._random = random
        self._journal = journal
        self._late: set[asyncio.Task[None]] = set()

    def _trouble(self, weight: float = 1.0) -> bool:
        return self._random.random() < max(self._weather.lost, self.rough) * weight

    async def _travel(self) -> None:
        if delay_s := self._random.choice(_DELAYS_S):
            await asyncio.sleep(delay_s)

    async def call(self, what: str, operation: Callable[[], Awaitable[T]], *, writes: bool = False, repeatable: bool = False) -> T:
        """Asks the broker. ``writes``: it changes something; ``repeatable``: the network may deliver it twice."""
        random = self._random
        await self._travel()
        if self.cut:
            await asyncio.sleep(random.choice(_TIMEOUTS_S))
            raise Retriable(f"{what}: no answer, the network is cut")
        if not self._trouble(_WRITES_WEIGHT if writes else 1.0):
            result = await operation()
            await self._travel()
            return result
        kind = random.choice(("lost", "late", "late", "reply lost", "twice" if repeatable else "reply lost"))
        self._journal.fault(self.name, f"request {kind}" if kind != "reply lost" else kind, what)
        timeout_s = random.choice(_TIMEOUTS_S)
        if kind == "late":
            self._arrive(timeout_s + random.choice(_LATE_S) + random.random() * 0.05, operation)
        elif kind == "twice":
            self._arrive(random.choice(_LATE_S), operation)
            return await operation()
        elif kind == "reply lost":
            await operation()
        await asyncio.sleep(timeout_s)
        raise Retriable(f"{what}: no answer")

    def _arrive(self, later_s: float, operation: Callable[[], Awaitable[object]]) -> None:
        async def arrive() -> None:
            await asyncio.sleep(later_s)
            try:
                await operation()
            except TicketmasterError as refused:
                self._journal.note(self.name, f"what came late was refused: {refused}")

        job = asyncio.get_running_loop().create_task(arrive(), context=self._outside.copy())
        self._late.add(job)
        job.add_done_callback(self._late.discard)

    async def delivered(self, timeout_ms: int) -> bool:
        """Whether a fetch reaches the broker; if not, it has taken as long as it may."""
        await self._travel()
        if self.cut:
            await asyncio.sleep(timeout_ms / 1000)
            if self._random.random() < 0.5:
                raise Retriable("fetch: no answer, the network is cut")
            return False
        if self._trouble():
            self._journal.fault(self.name, "fetch failed")
            raise Retriable("fetch: no answer")
        return True

    async def close(self) -> None:
        """What is under way is gone."""
        for job in self._late:
            job.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)


class LinkedBroker:
    """The broker as one process sees it over its link."""

    def __init__(
        self, broker: EmbeddedBroker, link: Link, once_committed: Callable[[str, TopicPartition], int | None], clock: Clock
    ) -> None:
        """``once_committed(group, source)`` is an offset that need not be the newest; ``clock`` is the process's."""
        self.now_ms = SteadyClock(clock, drawn_per_mille=0).now_ms
        self._broker = broker
        self._link = link
        self._once_committed = once_committed
        self.members: list[GroupMember] = []

    async def start(self) -> None:
        """Nothing is opened before it is used."""

    async def close(self) -> None:
        """Nothing is open."""

    async def create_topics(self, specs: Collection[TopicSpec]) -> None:
        await self._link.call("create topics", lambda: self._broker.create_topics(specs))

    def producer(self) -> Producer:
        return _LinkedProducer(self._broker.producer(), self._link)

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return _LinkedTransactions(self._broker.transactional_producer(transactional_id), self._link, transactional_id)

    def group_consumer(
        self, group: str, topics: Collection[str], listener: RebalanceListener, membership: Membership = NO_CLAIMS, *, ahead: bool = False
    ) -> Consumer:
        member = self._broker.group_consumer(group, topics, listener, membership, ahead=ahead)
        self.members.append(member)
        return _LinkedConsumer(member, self._link)

    def reader(self, sources: Mapping[TopicPartition, int]) -> Consumer:
        return _LinkedConsumer(self._broker.reader(sources), self._link)

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        async def ask() -> dict[TopicPartition, int]:
            found = ((source, self._once_committed(group, source)) for source in sources)
            return {source: offset for source, offset in found if offset is not None}

        return await self._link.call("committed offsets", ask)

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._link.call("end offsets", lambda: self._broker.end_offsets(sources))

    async def start_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._link.call("start offsets", lambda: self._broker.start_offsets(sources))

    async def until_durable(self, ends: Mapping[TopicPartition, int]) -> None:
        # Of what was answered: that needs no question.
        await self._broker.until_durable(ends)


class _LinkedProducer:
    def __init__(self, producer: Producer, link: Link) -> None:
        self._producer = producer
        self._link = link

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        try:
            return await self._link.call("send", lambda: self._producer.send(records, headers), writes=True, repeatable=True)
        except Retriable as unknown:
            return dict.fromkeys(records, unknown)


class _LinkedTransactions:
    def __init__(self, producer: TransactionalProducer, link: Link, transactional_id: str) -> None:
        self._producer = producer
        self._link = link
        self._id = transactional_id

    async def start(self) -> None:
        await self._link.call(f"start of {self._id}", self._producer.start, writes=True)

    async def commit(
        self,
        outputs: Mapping[TopicPartition, Sequence[Pair]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        headers: RecordHeaders = NO_RECORD_HEADERS,
    ) -> dict[TopicPartition, int]:
        return await self._link.call(f"commit of {self._id}", lambda: self._producer.commit(outputs, offsets, group, headers), writes=True)

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._link.call(f"offsets of {self._id}", lambda: self._producer.committed(group, sources))

    async def ends_of(self, logs: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._link.call(f"ends of {self._id}", lambda: self._producer.ends_of(logs))

    async def stop(self) -> None:
        """Nothing is sent: what it has under way may arrive yet, and its successor fences it."""


class _LinkedConsumer:
    def __init__(self, consumer: Consumer, link: Link) -> None:
        self._consumer = consumer
        self._link = link
        self.seek = consumer.seek
        self.pause = consumer.pause
        self.behind = consumer.behind

    async def poll(self, timeout_ms: int) -> list[Batch]:
        # The delay comes before the fetch: what a poll has fetched is handed over at once, as the port says.
        if await self._link.delivered(timeout_ms):
            return await self._consumer.poll(timeout_ms)
        return []

    async def stop(self) -> None:
        await self._consumer.stop()
