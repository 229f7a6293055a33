"""The broker port on Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from ticketmaster.broker.kafka import private
from ticketmaster.broker.kafka.clients import client_arguments, complaints
from ticketmaster.broker.kafka.codes import for_now
from ticketmaster.broker.kafka.connecting import patient
from ticketmaster.broker.kafka.consumer import KafkaGroupMember, KafkaReader, new_consumer
from ticketmaster.broker.kafka.groups import group_offsets
from ticketmaster.broker.kafka.producer import KafkaProducer
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.topics import create_topics
from ticketmaster.broker.kafka.transactions import KafkaTransactionalProducer
from ticketmaster.broker.kafka.translating import Translator
from ticketmaster.broker.port import (
    NO_CLAIMS,
    Consumer,
    Membership,
    Producer,
    RebalanceListener,
    TopicPartition,
    TopicSpec,
    TransactionalProducer,
)
from ticketmaster.clock import Clock, SteadyClock
from ticketmaster.errors import Retriable, UsageError

# Connections close at once, whatever is at their other end.
_CLOSE_S = 1.0


class KafkaBroker:
    """A Kafka cluster as a broker. Connections that nobody else owns are opened by :meth:`start` and closed by :meth:`close`."""

    def __init__(self, settings: KafkaSettings, clock: Clock, translator: Translator | None = None, *, headers: bool = False) -> None:
        """``translator`` brings what other programs wrote into this program's schemas; ``headers``: they are read, too."""
        self._headers = headers
        self._settings = settings
        self._clock = SteadyClock(clock)
        # The brokers' clocks are right: there is nothing to be drawn to in this one.
        self._log_clock = SteadyClock(clock, drawn_per_mille=0)
        self._translator = translator
        self._producers: list[KafkaProducer] = []
        self._transactional: list[KafkaTransactionalProducer] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connects; may be called again when it failed. Retriable: no broker answers. UsageError: none that does lets us in."""
        private.check()
        self._admin = AIOKafkaAdminClient(**client_arguments(self._settings))
        patient(private.client_of(self._admin))
        self._offsets: AIOKafkaConsumer = new_consumer(self._settings)
        with complaints() as told:
            try:
                await self._admin.start()
                await self._offsets.start()
            except (KafkaError, OSError) as cause:
                await self.close()
                where = self._settings.bootstrap_servers
                refusal = next((complaint for complaint in told if complaint.is_refusal), None)
                if refusal:
                    text = f"Kafka at {where} does not let us in: {refusal.text}"
                    raise UsageError(f"{text}; are credentials and certificates right?") from cause
                raise Retriable(f"can't reach Kafka at {where}: {told[-1].text if told else cause}") from cause
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Closes what is open."""
        for producer in self._producers:
            await producer.stop()
        for transactional in self._transactional:
            await transactional.stop()
        await self._offsets.stop()
        await self._admin.close()
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_S)

    @property
    def admin(self) -> AIOKafkaAdminClient:
        """For what is Kafka's alone: describing topics."""
        return self._admin

    def _discard(self, stopping: Awaitable[None]) -> None:
        """Lets a client end in its own time."""

        async def stop() -> None:
            # Whatever it is, it is thrown away because it is broken.
            with contextlib.suppress(Exception):
                await stopping

        job = asyncio.create_task(stop())
        self._closing.add(job)
        job.add_done_callback(self._closing.discard)

    async def create_topics(self, specs: Collection[TopicSpec]) -> None:
        await create_topics(self._admin, specs)

    def producer(self) -> Producer:
        created = KafkaProducer(self._settings, self._clock, self._discard)
        self._producers.append(created)
        return created

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        self._transactional = [earlier for earlier in self._transactional if not earlier.stopped]
        created = KafkaTransactionalProducer(transactional_id, self._settings, self._clock, self._discard)
        self._transactional.append(created)
        return created

    def group_consumer(
        self, group: str, topics: Collection[str], listener: RebalanceListener, membership: Membership = NO_CLAIMS, *, ahead: bool = False
    ) -> Consumer:
        # Kafka delivers nothing that is not durable, whatever is asked for.
        return KafkaGroupMember(self._settings, group, topics, listener, membership, self._translator, headers=self._headers)

    def reader(self, sources: Mapping[TopicPartition, int]) -> Consumer:
        return KafkaReader(self._settings, sources, self._translator, headers=self._headers)

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        try:
            async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                return await self._stored_offsets(group, sources)
        except (KafkaError, TimeoutError) as cause:
            raise _unread(f"the offsets of group {group}", cause) from cause

    async def _stored_offsets(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        while True:
            try:
                return await group_offsets(self._admin, group, sources)
            except KafkaError as cause:
                # A coordinator moves with its broker, and the first one of a new cluster must be made.
                if not cause.retriable:
                    raise
                await asyncio.sleep(self._settings.retry_backoff_ms / 1000)

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._asked(lambda consumer, at: consumer.end_offsets(at), sources, "ends")

    async def start_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._asked(lambda consumer, at: consumer.beginning_offsets(at), sources, "starts")

    async def until_durable(self, ends: Mapping[TopicPartition, int]) -> None:
        """A commit has returned when it was durable."""

    def now_ms(self) -> int:
        return self._log_clock.now_ms()

    async def _asked(
        self, ask: Callable[[Any, list[KafkaTopicPartition]], Awaitable[Any]], sources: Collection[TopicPartition], what: str
    ) -> dict[TopicPartition, int]:
        consumer = self._offsets
        try:
            found = await ask(consumer, [KafkaTopicPartition(*at) for at in sources])
        except (KafkaError, TimeoutError) as cause:
            await self._replace(consumer)
            raise _unread(f"the {what} of {len(sources)} logs", cause) from cause
        return {TopicPartition(*at): offset for at, offset in found.items()}

    async def _replace(self, consumer: Any) -> None:
        """A connection that is dead would stay: aiokafka gives up asking in the same moment as it would give up the connection."""
        new = new_consumer(self._settings)
        try:
            await new.start()
        except KafkaError:
            self._discard(new.stop())
            return
        # Several may have asked.
        old, self._offsets = (self._offsets, new) if self._offsets is consumer else (new, self._offsets)
        self._discard(old.stop())


def _unread(what: str, cause: Exception) -> Retriable:
    text = f"{what} can't be read: {cause!r}"
    return for_now(cause, text)
