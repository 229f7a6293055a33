"""Transactional producers on Kafka: a transaction is a few requests, one after the other, and nothing else is under way meanwhile.

aiokafka's own producer repeats requests whose answer is lost, keeps a task and a queue per producer, and can commit past a failed
batch; here a request that is refused is sent again, and one that is not answered ends the producer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import BrokerResponseError, KafkaError, for_code
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from ticketmaster.broker.kafka import protocol
from ticketmaster.broker.kafka.clients import Discard, client_arguments
from ticketmaster.broker.kafka.protocol import EncodedBatch, Identity, Requests
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.clock import Clock
from ticketmaster.errors import Retriable, TaskMigrated

# Codes of Kafka's protocol. The last transaction is still being closed: that takes a millisecond or two.
_CONCURRENT_TRANSACTIONS = 51
_CONCURRENT_PAUSE_S = 0.002
# INVALID_PRODUCER_EPOCH, PRODUCER_FENCED.
_FENCED = frozenset({47, 90})
# The partition's leader, or the coordinator, is another one now, or none yet.
_LEADER_MOVED = frozenset({3, 5, 6})
_COORDINATOR_MOVED = frozenset({15, 16})
# Besides: COORDINATOR_LOAD_IN_PROGRESS, NETWORK_EXCEPTION, REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS, …_AFTER_APPEND, KAFKA_STORAGE_ERROR.
_REFUSED_FOR_NOW = frozenset({_CONCURRENT_TRANSACTIONS, 7, 13, 14, 19, 20, 56}) | _LEADER_MOVED | _COORDINATOR_MOVED
_CODECS = {
    None: 0,
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}
_MAGIC = 2
_SEQUENCE_MASK = 0x7FFFFFFF


class _Fenced(Exception):
    """A later producer of the id was started."""


class KafkaTransactionalProducer:
    """One producer of a static transactional id, from its start to its first trouble."""

    def __init__(self, transactional_id: str, settings: KafkaSettings, clock: Clock, discard: Discard) -> None:
        self._id = transactional_id
        self._settings = settings
        self._clock = clock
        self._discard = discard
        self._timeout_s = settings.transaction_timeout_ms / 1000
        self._client: AIOKafkaClient | None = None
        self._requests: Requests
        self._identity: Identity
        # The next number of each partition's batches, in this epoch.
        self._sequences: dict[TopicPartition, int] = defaultdict(int)
        self._coordinators: dict[tuple[int, str], int] = {}
        # What is asked right now, for the text of an error.
        self._asking = ""
        self._fenced = ""
        self._usable = False

    @property
    def stopped(self) -> bool:
        """Whether it holds nothing that must be stopped."""
        return self._client is None

    async def start(self) -> None:
        await self.stop()
        client = self._client = AIOKafkaClient(**client_arguments(self._settings))
        self._sequences.clear()
        self._coordinators.clear()
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.bootstrap()
                self._requests = await protocol.requests_of(client)
                # Until the predecessor's open transaction is aborted this is refused.
                request = protocol.init_producer(self._id, self._settings.transaction_timeout_ms)
                answer = await self._coordinated("InitProducerId", request, self._transaction, protocol.code_of)
        except (KafkaError, OSError, TimeoutError, _Fenced) as cause:
            await self.stop()
            raise Retriable(f"producer {self._id} can't start: {cause!r}") from cause
        self._identity = Identity(answer.producer_id, answer.producer_epoch)
        self._fenced = ""
        self._usable = True

    async def commit(
        self, outputs: Mapping[TopicPartition, Sequence[Pair]], offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[TopicPartition, int]:
        if self._fenced:
            raise TaskMigrated(self._fenced)
        if not self._usable:
            raise Retriable(f"producer {self._id} is not running")
        # Until the end is known: whatever interrupts this, the producer must not be used again.
        self._usable = False
        try:
            async with asyncio.timeout(self._timeout_s):
                # In this order, each when the one before is answered: sent together they are in each other's way at the broker.
                ends = await self._write([batch for source, pairs in outputs.items() for batch in self._encoded(source, pairs)])
                if offsets:
                    await self._move(group, offsets)
                await self._end()
        except _Fenced as cause:
            self._fenced = f"producer {self._id} was fenced by a later one, or its transaction took too long"
            raise TaskMigrated(self._fenced) from cause
        except (KafkaError, TimeoutError) as cause:
            raise Retriable(f"producer {self._id}: the outcome of a transaction is unknown: {self._asking}: {cause!r}") from cause
        self._usable = True
        return ends

    async def stop(self) -> None:
        self._usable = False
        client, self._client = self._client, None
        if client:
            # Not awaited: whoever stops it has other things to do.
            self._discard(client.close())

    # The parts of a transaction.

    def _encoded(self, source: TopicPartition, pairs: Sequence[Pair]) -> Iterator[EncodedBatch]:
        """One batch, or as many as its size limit asks for."""
        timestamp_ms = self._clock.now_ms()
        start = 0
        while start < len(pairs):
            builder = DefaultRecordBatchBuilder(
                _MAGIC,
                _CODECS[self._settings.compression],
                is_transactional=1,
                producer_id=self._identity.producer_id,
                producer_epoch=self._identity.epoch,
                base_sequence=self._sequences[source],
                batch_size=self._settings.batch_bytes_max,
            )
            append, count = builder.append, 0
            for key, value in pairs[start:] if start else pairs:
                if append(count, timestamp_ms, key=key, value=value, headers=[]) is None:
                    break
                count += 1
            self._sequences[source] = (self._sequences[source] + count) & _SEQUENCE_MASK
            start += count
            yield EncodedBatch(source, count, bytes(builder.build()))

    async def _write(self, batches: Sequence[EncodedBatch]) -> dict[TopicPartition, int]:
        """Returns, when every batch is acknowledged, where each partition's log ends behind its own."""
        ends: dict[TopicPartition, int] = {}
        if batches and self._requests.adds_first:
            request = protocol.add_partitions(self._id, self._identity, {batch.source for batch in batches})
            await self._coordinated("AddPartitionsToTxn", request, self._transaction, protocol.first_code)
        while batches:
            # A request has one batch of a partition at most, and a partition's batches must come in order.
            first = {batch.source: batch for batch in reversed(batches)}
            sent = set(map(id, first.values()))
            await self._produce(list(first.values()), ends)
            batches = [batch for batch in batches if id(batch) not in sent]
        return ends

    async def _produce(self, batches: Sequence[EncodedBatch], ends: dict[TopicPartition, int]) -> None:
        while batches:
            self._asking = "Produce"
            requests, client = await self._by_leader(batches), self._running
            if len(requests) == 1:
                answers = [await client.send(*requests[0])]
            else:
                answers = await asyncio.gather(*(client.send(*request) for request in requests))
            written = {source: outcome for answer in answers for source, outcome in protocol.written(answer).items()}
            refused: list[EncodedBatch] = []
            codes: set[int] = set()
            for batch in batches:
                code, offset = written[batch.source]
                if code:
                    self._check(code)
                    codes.add(code)
                    refused.append(batch)
                else:
                    ends[batch.source] = offset + batch.records
            if refused:
                await self._pause(codes)
            batches = refused

    async def _by_leader(self, batches: Sequence[EncodedBatch]) -> list[tuple[int, Any]]:
        """(broker, request), no request larger than it may be."""
        parts: dict[int, list[list[EncodedBatch]]] = defaultdict(list)
        sizes: dict[int, int] = defaultdict(int)
        for batch in batches:
            leader = await self._leader(batch.source)
            sizes[leader] += len(batch.data)
            if not parts[leader] or sizes[leader] > self._settings.request_bytes_max:
                parts[leader].append([])
                sizes[leader] = len(batch.data)
            parts[leader][-1].append(batch)
        timeout_ms = self._settings.request_timeout_ms
        return [(leader, self._requests.produce(self._id, part, timeout_ms)) for leader, each in parts.items() for part in each]

    async def _move(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        if self._requests.adds_first:
            request = protocol.add_group(self._id, self._identity, group)
            await self._coordinated("AddOffsetsToTxn", request, self._transaction, protocol.code_of)
        request = self._requests.commit_offsets(self._id, self._identity, group, offsets)
        await self._coordinated("TxnOffsetCommit", request, (CoordinationType.GROUP, group), protocol.first_code)

    async def _end(self) -> None:
        request = self._requests.end(self._id, self._identity)
        answer = await self._coordinated("EndTxn", request, self._transaction, protocol.code_of)
        identity = self._requests.ended(answer, self._identity)
        if identity != self._identity:
            # Of each epoch the numbers begin anew.
            self._identity = identity
            self._sequences.clear()

    # Who is asked, and how.

    @property
    def _transaction(self) -> tuple[int, str]:
        return CoordinationType.TRANSACTION, self._id

    async def _coordinated(self, name: str, request: Any, what: tuple[int, str], code_of: Callable[[Any], int]) -> Any:
        """Asks a coordinator until it does not refuse; returns its answer."""
        while True:
            self._asking = name
            answer = await self._running.send(await self._coordinator(what), request)
            code = code_of(answer)
            if not code:
                return answer
            self._check(code)
            if code in _COORDINATOR_MOVED:
                del self._coordinators[what]
            await self._pause({code})

    @property
    def _running(self) -> AIOKafkaClient:
        if self._client is None:
            raise KafkaError("the producer was stopped")
        return self._client

    def _check(self, code: int) -> None:
        """What can't be asked again is an error."""
        if code in _FENCED:
            raise _Fenced
        if code not in _REFUSED_FOR_NOW:
            raise for_code(code)(self._asking)

    async def _pause(self, codes: set[int]) -> None:
        if codes == {_CONCURRENT_TRANSACTIONS}:
            await asyncio.sleep(_CONCURRENT_PAUSE_S)
            return
        if codes & _LEADER_MOVED:
            await self._running.force_metadata_update()
        await asyncio.sleep(self._settings.retry_backoff_ms / 1000)

    async def _leader(self, source: TopicPartition) -> int:
        while True:
            client = self._running
            leader = client.cluster.leader_for_partition(source)
            if leader is not None and leader >= 0:
                return int(leader)
            client.add_topic(source.topic)
            await client.force_metadata_update()
            if client.cluster.leader_for_partition(source) is None:
                await asyncio.sleep(self._settings.retry_backoff_ms / 1000)

    async def _coordinator(self, what: tuple[int, str]) -> int:
        while what not in self._coordinators:
            try:
                self._coordinators[what] = await self._running.coordinator_lookup(*what)
            except BrokerResponseError as cause:
                # The first one of a new cluster must be made.
                if cause.errno not in _REFUSED_FOR_NOW:
                    raise
                await asyncio.sleep(self._settings.retry_backoff_ms / 1000)
        return self._coordinators[what]
