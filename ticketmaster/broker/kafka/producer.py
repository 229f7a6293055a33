"""Producers on Kafka: whole batches out, one acknowledgement a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import aiokafka.producer.sender
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.protocol.transaction import AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from ticketmaster.broker.kafka.clients import client_arguments
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.clock import Clock
from ticketmaster.errors import Fatal, Retriable, TaskMigrated

# The pause after a broker's "the last transaction is still being closed". aiokafka reads the name at each use; its 20 ms would
# be most of a small transaction's time.
_TRANSACTION_BACKOFF_S = 0.002
# Requests that, should they arrive late, would be taken for a part of the next transaction of the same epoch.
_TRANSACTIONAL = (AddPartitionsToTxnRequest, AddOffsetsToTxnRequest, TxnOffsetCommitRequest, EndTxnRequest)

Discard = Callable[[Awaitable[None]], None]


_fail = MessageBatch.failure


def _fail_and_look(batch: Any, exception: BaseException) -> None:
    """A batch that fails before it is sent fails a second future, too, which only those await who found the batch full."""
    _fail(batch, exception)
    batch._drain_waiter.exception()  # noqa: SLF001


def install() -> None:
    """Makes the pause between two transactions of a producer short, and failed batches silent, in this process."""
    aiokafka.producer.sender.BACKOFF_OVERRIDE = _TRANSACTION_BACKOFF_S
    MessageBatch.failure = _fail_and_look


class _Sent(NamedTuple):
    """A batch on its way: so many records of a partition, and what their acknowledgement resolves."""

    source: TopicPartition
    records: int
    acknowledged: asyncio.Future[Any]


async def _hand_over(producer: AIOKafkaProducer, records: Mapping[TopicPartition, Sequence[Pair]], timestamp_ms: int) -> list[_Sent]:
    """Gives everything to the producer, in order."""
    sent: list[_Sent] = []
    for source, pairs in records.items():
        if pairs:
            sent += await _send_partition(producer, source, pairs, timestamp_ms)
    return sent


async def _acknowledged(sent: Sequence[_Sent]) -> dict[TopicPartition, int]:
    """Awaits every acknowledgement; returns where each partition's log ends behind its records."""
    results = await asyncio.gather(*(batch.acknowledged for batch in sent), return_exceptions=True)
    ends: dict[TopicPartition, int] = {}
    for batch, result in zip(sent, results, strict=True):
        if isinstance(result, BaseException):
            raise result
        # Nothing is told where no acknowledgement is asked for.
        if result is not None:
            ends[batch.source] = result.offset + batch.records
    return ends


async def _send_partition(producer: AIOKafkaProducer, source: TopicPartition, pairs: Sequence[Pair], timestamp_ms: int) -> list[_Sent]:
    sent = []
    batch = producer.create_batch()
    append = batch.append
    for key, value in pairs:
        if append(timestamp=timestamp_ms, key=key, value=value) is None:
            sent.append(_Sent(source, batch.record_count(), await producer.send_batch(batch, source.topic, partition=source.partition)))
            batch = producer.create_batch()
            append = batch.append
            append(timestamp=timestamp_ms, key=key, value=value)
    batch.close()
    sent.append(_Sent(source, batch.record_count(), await producer.send_batch(batch, source.topic, partition=source.partition)))
    return sent


class KafkaProducer:
    """Appends outside transactions, idempotently where all replicas acknowledge: a retry inside aiokafka writes nothing twice."""

    def __init__(self, settings: KafkaSettings, clock: Clock, discard: Discard) -> None:
        self._settings = settings
        self._clock = clock
        self._discard = discard
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._handing_over = asyncio.Lock()

    async def send(self, records: Mapping[TopicPartition, Sequence[Pair]]) -> None:
        timeout_s = self._settings.delivery_timeout_ms / 1000
        producer = None
        try:
            async with asyncio.timeout(timeout_s):
                producer = await self._started()
                # One after the other: aiokafka does not keep the order of those who wait for a place.
                async with self._handing_over:
                    sent = await _hand_over(producer, records, self._clock.now_ms())
                await _acknowledged(sent)
        except (KafkaError, TimeoutError, AssertionError) as cause:
            # It may be unusable for good (a sequence that does not fit, a fenced epoch): the next command starts a new one.
            is_current = producer is self._producer
            if producer and is_current:
                self._discard(producer.stop())
                self._producer = None
            raise Retriable(f"Kafka has not acknowledged within {timeout_s:g} s: {cause!r}") from cause

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                settings = self._settings
                producer = AIOKafkaProducer(
                    **client_arguments(settings),
                    acks="all" if settings.acks == "all" else int(settings.acks),
                    enable_idempotence=settings.acks == "all",
                    compression_type=settings.compression,
                    linger_ms=settings.linger_ms,
                    max_batch_size=settings.batch_bytes_max,
                    max_request_size=settings.request_bytes_max,
                )
                try:
                    await producer.start()
                except BaseException:
                    self._discard(producer.stop())
                    raise
                self._producer = producer
            return self._producer

    async def stop(self) -> None:
        if self._producer:
            await self._producer.stop()
            self._producer = None


def _look_at(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


class KafkaTransactionalProducer:
    """One producer of a static transactional id, from its start to its first trouble."""

    def __init__(self, transactional_id: str, settings: KafkaSettings, clock: Clock, discard: Discard) -> None:
        self._id = transactional_id
        self._settings = settings
        self._clock = clock
        self._discard = discard
        self._timeout_s = settings.transaction_timeout_ms / 1000
        self._producer: AIOKafkaProducer | None = None
        self._unsure = ""
        self._fenced = ""
        self._usable = False

    @property
    def stopped(self) -> bool:
        """Whether it holds nothing that must be stopped."""
        return self._producer is None

    async def start(self) -> None:
        await self.stop()
        settings = self._settings
        producer = self._producer = AIOKafkaProducer(
            **client_arguments(settings),
            transactional_id=self._id,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            compression_type=settings.compression,
            max_batch_size=settings.batch_bytes_max,
            max_request_size=settings.request_bytes_max,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await producer.start()
        except (KafkaError, TimeoutError, AssertionError) as cause:
            await self.stop()
            raise Retriable(f"producer {self._id} can't start: {cause!r}") from cause
        self._watch(producer.client)
        self._unsure = self._fenced = ""
        self._usable = True

    def _watch(self, client: Any) -> None:
        """Notes a transactional request whose fate is unknown: aiokafka repeats it with the same epoch, and it may arrive late."""
        send = client.send

        async def watched(node: object, request: object, **options: Any) -> object:
            try:
                return await send(node, request, **options)
            except BaseException as cause:
                if isinstance(request, _TRANSACTIONAL):
                    self._unsure = f"{type(request).__name__}: {cause!r}"
                raise

        client.send = watched

    async def commit(
        self, outputs: Mapping[TopicPartition, Sequence[Pair]], offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[TopicPartition, int]:
        if self._fenced:
            raise TaskMigrated(self._fenced)
        producer = self._producer
        if not self._usable or not producer:
            raise Retriable(f"producer {self._id} is not running")
        # Until the end is known: whatever interrupts this, the producer must not be used again.
        self._usable = False
        try:
            async with asyncio.timeout(self._timeout_s):
                await producer.begin_transaction()
                # It fails together with what is awaited here, and nobody else looks at it.
                producer._txn_manager.wait_for_transaction_end().add_done_callback(_look_at)  # noqa: SLF001
                # In this order: offsets sent together with the records slow both down, and a commit does not look at failed batches.
                ends = await _acknowledged(await _hand_over(producer, outputs, self._clock.now_ms()))
                if offsets:
                    await producer.send_offsets_to_transaction(
                        {KafkaTopicPartition(*source): OffsetAndMetadata(offset, "") for source, offset in offsets.items()}, group
                    )
                await producer.commit_transaction()
        except ProducerFenced as cause:
            self._fenced = f"producer {self._id} was fenced by a later one, or its transaction took too long"
            raise TaskMigrated(self._fenced) from cause
        except (KafkaError, TimeoutError, AssertionError) as cause:
            raise Retriable(f"producer {self._id}: the outcome of a transaction is unknown: {cause!r}") from cause
        if self._unsure:
            # It is committed. But a request of it may still be under way, and would be taken for one of the next transaction.
            raise Retriable(f"producer {self._id} must be started anew after {self._unsure}")
        self._usable = True
        return ends

    async def stop(self) -> None:
        self._usable = False
        producer, self._producer = self._producer, None
        if producer:
            # Not awaited: with a request unanswered it takes as long as that request's time-out.
            self._discard(producer.stop())


def translated(cause: KafkaError, doing: str) -> Retriable | Fatal:
    """What an error of aiokafka means for the caller."""
    text = f"{doing}: {cause!r}"
    return Retriable(text) if cause.retriable else Fatal(text)
