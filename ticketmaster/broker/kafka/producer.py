"""Producers outside transactions, by aiokafka: whole batches out, one acknowledgement a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.codec import lz4_encode
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import MessageBatch

from ticketmaster.broker.kafka.clients import Discard, client_arguments
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import NO_PLACED_HEADERS, NO_RECORD_HEADERS, Headers, Pair, PlacedHeaders, RecordHeaders, TopicPartition
from ticketmaster.clock import Clock
from ticketmaster.errors import Fatal, Retriable

# Level 9, aiokafka's, takes four times as long as 1, and saves 2 to 7 bytes in a hundred of our records.
_LZ4_LEVEL = 1

_fail = MessageBatch.failure


def _fail_and_look(batch: Any, exception: BaseException) -> None:
    """A batch that fails before it is sent fails a second future, too, which only those await who found the batch full."""
    _fail(batch, exception)
    batch._drain_waiter.exception()  # noqa: SLF001


def install() -> None:
    """Makes failed batches silent and LZ4 fast, in this process."""
    # By its default, as those who call it give no level.
    lz4_encode.__defaults__ = (_LZ4_LEVEL,)
    MessageBatch.failure = _fail_and_look


class _Sent(NamedTuple):
    """A batch on its way: so many records of a partition, and what their acknowledgement resolves."""

    source: TopicPartition
    records: int
    acknowledged: asyncio.Future[Any]


async def _hand_over(
    producer: AIOKafkaProducer, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders, timestamp_ms: int
) -> list[_Sent]:
    """Gives everything to the producer, in order."""
    sent: list[_Sent] = []
    for source, pairs in records.items():
        if pairs:
            sent += await _send_partition(producer, source, pairs, headers.get(source, NO_PLACED_HEADERS), timestamp_ms)
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


async def _send_partition(
    producer: AIOKafkaProducer, source: TopicPartition, pairs: Sequence[Pair], headers: PlacedHeaders, timestamp_ms: int
) -> list[_Sent]:
    sent = []
    batch = producer.create_batch()
    append = batch.append
    none: Headers = []
    traced = bool(headers)
    for at, (key, value) in enumerate(pairs):
        of_record = headers.get(at, none) if traced else none
        if append(timestamp=timestamp_ms, key=key, value=value, headers=of_record) is None:
            sent.append(_Sent(source, batch.record_count(), await producer.send_batch(batch, source.topic, partition=source.partition)))
            batch = producer.create_batch()
            append = batch.append
            append(timestamp=timestamp_ms, key=key, value=value, headers=of_record)
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

    async def send(self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS) -> None:
        timeout_s = self._settings.delivery_timeout_ms / 1000
        producer = None
        try:
            async with asyncio.timeout(timeout_s):
                producer = await self._started()
                # One after the other: aiokafka does not keep the order of those who wait for a place.
                async with self._handing_over:
                    sent = await _hand_over(producer, records, headers, self._clock.now_ms())
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
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # aiokafka waits until everything is acknowledged, however long the brokers are away. Whoever sent it has been told by then.
        stopping = asyncio.ensure_future(producer.stop())
        _, late = await asyncio.wait({stopping}, timeout=self._settings.request_timeout_ms / 1000)
        if late:
            stopping.cancel()
            await producer._sender.close()  # noqa: SLF001 - it would go on asking
            await producer.client.close()


def translated(cause: KafkaError, doing: str) -> Retriable | Fatal:
    """What an error of aiokafka means for the caller."""
    text = f"{doing}: {cause!r}"
    return Retriable(text) if cause.retriable else Fatal(text)
