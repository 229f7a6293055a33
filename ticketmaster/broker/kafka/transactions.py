"""Transactional producers on Kafka: a transaction is a few requests, one after the other, and nothing else is under way meanwhile.

aiokafka's own producer repeats requests whose answer is lost, keeps a task and a queue per producer, and can commit past a failed
batch; here a request that is refused is sent again, and one that is not answered ends the producer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    BrokerResponseError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from ticketmaster.broker.kafka import groups, protocol
from ticketmaster.broker.kafka.clients import Discard, client_arguments
from ticketmaster.broker.kafka.protocol import EncodedBatch, Identity, Requests, Written
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import NO_PLACED_HEADERS, NO_RECORD_HEADERS, Headers, Pair, PlacedHeaders, RecordHeaders, TopicPartition
from ticketmaster.clock import Clock
from ticketmaster.errors import Retriable, TaskMigrated

# Codes of Kafka's protocol. The last transaction is still being closed: that takes a millisecond or two.
_CONCURRENT_TRANSACTIONS = 51
_CONCURRENT_PAUSE_S = 0.002
# A cluster that starts again has other things to do than to tell everybody all the time that it is not ready.
_PAUSE_MAX_S = 0.5
# INVALID_PRODUCER_EPOCH, PRODUCER_FENCED.
_FENCED = frozenset({47, 90})
# The partition's leader, or the coordinator, is another one now, or none yet; or its disk has failed (56).
_LEADER_NOT_AVAILABLE, _COORDINATOR_NOT_AVAILABLE = 5, 15
_LEADER_MOVED = frozenset({3, _LEADER_NOT_AVAILABLE, 6, 56})
_COORDINATOR_MOVED = frozenset({_COORDINATOR_NOT_AVAILABLE, 16})
# Besides: COORDINATOR_LOAD_IN_PROGRESS, NETWORK_EXCEPTION, REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS, NOT_ENOUGH_REPLICAS_AFTER_APPEND.
_REFUSED_FOR_NOW = frozenset({_CONCURRENT_TRANSACTIONS, 7, 13, 14, 19, 20}) | _LEADER_MOVED | _COORDINATOR_MOVED
# KafkaError is a RuntimeError, and so is what uvloop raises for a connection that breaks in this moment; TimeoutError is an OSError.
_TROUBLE = (RuntimeError, OSError)
_CODECS = {
    None: 0,
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}
_MAGIC = 2
_SEQUENCE_MASK = 0x7FFFFFFF

T = TypeVar("T")


class _Fenced(Exception):
    """A later producer of the id was started. ``repeated``: found when something was sent again that had been refused."""

    def __init__(self, *, repeated: bool) -> None:
        super().__init__()
        self.repeated = repeated


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
                await self._connect(client)
                self._requests = await self._anybody(lambda: protocol.requests_of(self._running))
                # Until the predecessor's open transaction is aborted this is refused.
                request = protocol.init_producer(self._id, self._settings.transaction_timeout_ms)
                answer = await self._coordinated("InitProducerId", request, self._transaction, protocol.code_of)
        except (*_TROUBLE, _Fenced) as cause:
            await self.stop()
            raise Retriable(f"producer {self._id} can't start: {self._asking}: {cause!r}") from cause
        self._identity = Identity(answer.producer_id, answer.producer_epoch)
        self._fenced = ""
        self._usable = True

    async def commit(
        self,
        outputs: Mapping[TopicPartition, Sequence[Pair]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        headers: RecordHeaders = NO_RECORD_HEADERS,
    ) -> dict[TopicPartition, int]:
        async with self._in_transaction():
            batches = [
                batch for source, pairs in outputs.items() for batch in self._encoded(source, pairs, headers.get(source, NO_PLACED_HEADERS))
            ]
            # In this order, each when the one before is answered: sent together they are in each other's way at the broker.
            ends = await self._write(batches)
            if offsets:
                await self._move(group, offsets)
            # A transaction of nothing was never begun.
            if batches or offsets:
                await self._end(commits=True)
        return ends

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        # A coordinator of groups answers by what it knows all replicas to have, which is seconds old for a moment when all brokers were
        # lost, or it has just moved. What it acknowledges to have written moves that mark: so offsets are written first, then the same
        # coordinator is asked, and in the end what was written is taken back.
        async with self._in_transaction():
            found, attempt = None, 0
            while found is None:
                await self._move(group, dict.fromkeys(sources, 0))
                found = await self._offsets(group, sources, attempt)
                attempt += 1
            await self._end(commits=False)
        return found

    async def stop(self) -> None:
        self._usable = False
        client, self._client = self._client, None
        if client:
            # Not awaited: whoever stops it has other things to do.
            self._discard(client.close())

    @asynccontextmanager
    async def _in_transaction(self) -> AsyncIterator[None]:
        """What is done inside ends in time, or ends this producer."""
        if self._fenced:
            raise TaskMigrated(self._fenced)
        if not self._usable:
            raise Retriable(f"producer {self._id} is not running")
        # Until the end is known: whatever interrupts this, the producer must not be used again.
        self._usable = False
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except _Fenced as cause:
            self._fenced = f"producer {self._id} was fenced by a later one, or its transaction took too long"
            if self._asking.startswith("EndTxn") and cause.repeated:
                # The first one may have been refused by a coordinator that had written it down.
                raise Retriable(f"producer {self._id}: the outcome of a transaction is unknown: {self._asking}, then fenced") from cause
            raise TaskMigrated(self._fenced) from cause
        except _TROUBLE as cause:
            raise Retriable(f"producer {self._id}: the outcome of a transaction is unknown: {self._asking}: {cause!r}") from cause
        self._usable = True

    # The parts of a transaction.

    def _encoded(self, source: TopicPartition, pairs: Sequence[Pair], headers: PlacedHeaders) -> Iterator[EncodedBatch]:
        """One batch, or as many as its size limit asks for."""
        timestamp_ms = self._clock.now_ms()
        none: Headers = []
        traced = bool(headers)
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
                if append(count, timestamp_ms, key=key, value=value, headers=headers.get(start + count, none) if traced else none) is None:
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
        attempt = 0
        while batches:
            self._asking = "Produce"
            parts = await self._by_leader(batches)
            answers = await _all([self._produced(leader, part) for leader, part in parts])
            written = {source: outcome for answer in answers for source, outcome in answer.items()}
            refused: list[EncodedBatch] = []
            for batch in batches:
                code, offset = written[batch.source]
                if code:
                    self._check(code, attempt)
                    refused.append(batch)
                else:
                    ends[batch.source] = offset + batch.records
            if refused:
                await self._until_asked_again({written[batch.source].code for batch in refused}, attempt)
            batches, attempt = refused, attempt + 1

    async def _produced(self, leader: int, batches: Sequence[EncodedBatch]) -> dict[TopicPartition, Written]:
        # The broker gives up before this program does: so it is known that it has.
        request = self._requests.produce(self._id, batches, self._settings.request_timeout_ms // 2)
        try:
            return protocol.written(await self._running.send(leader, request))
        except NodeNotReadyError:
            # Nothing was sent.
            return {batch.source: Written(_LEADER_NOT_AVAILABLE, -1) for batch in batches}

    async def _by_leader(self, batches: Sequence[EncodedBatch]) -> list[tuple[int, list[EncodedBatch]]]:
        """(broker, what is sent to it in one request), by the limit of a request's size."""
        parts: dict[int, list[list[EncodedBatch]]] = defaultdict(list)
        sizes: dict[int, int] = defaultdict(int)
        for batch in batches:
            leader = await self._leader(batch.source)
            sizes[leader] += len(batch.data)
            if not parts[leader] or sizes[leader] > self._settings.request_bytes_max:
                parts[leader].append([])
                sizes[leader] = len(batch.data)
            parts[leader][-1].append(batch)
        return [(leader, part) for leader, each in parts.items() for part in each]

    async def _move(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        if self._requests.adds_first:
            request = protocol.add_group(self._id, self._identity, group)
            await self._coordinated("AddOffsetsToTxn", request, self._transaction, protocol.code_of)
        request = self._requests.commit_offsets(self._id, self._identity, group, offsets)
        await self._coordinated("TxnOffsetCommit", request, self._group(group), protocol.first_code)

    async def _offsets(self, group: str, sources: Collection[TopicPartition], attempt: int) -> dict[TopicPartition, int] | None:
        """From the coordinator that has just written offsets; None: it must be written to again first, it may be another one now."""
        what, self._asking = self._group(group), "OffsetFetch"
        try:
            answer = await self._running.send(self._coordinators[what], groups.offset_request(group, sources))
            return groups.offsets_of(answer, group, sources)
        except NodeNotReadyError:
            code = _COORDINATOR_NOT_AVAILABLE
        except BrokerResponseError as cause:
            code = cause.errno
        self._check(code, attempt)
        await self._until_asked_again({code}, attempt, what)
        return None

    async def _end(self, *, commits: bool) -> None:
        request = self._requests.end(self._id, self._identity, commits=commits)
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

    def _group(self, group: str) -> tuple[int, str]:
        return CoordinationType.GROUP, group

    @property
    def _running(self) -> AIOKafkaClient:
        if self._client is None:
            raise KafkaError("the producer was stopped")
        return self._client

    async def _coordinated(self, name: str, request: Any, what: tuple[int, str], code_of: Callable[[Any], int]) -> Any:
        """Asks a coordinator until it does not refuse; returns its answer."""
        attempt = 0
        while True:
            self._asking = name
            node = await self._coordinator(what)
            try:
                answer = await self._running.send(node, request)
                code = code_of(answer)
                if not code:
                    return answer
            except NodeNotReadyError:
                # Nothing was sent.
                code = _COORDINATOR_NOT_AVAILABLE
            self._check(code, attempt)
            await self._until_asked_again({code}, attempt, what)
            attempt += 1

    def _check(self, code: int, attempt: int) -> None:
        """What can't be asked again is an error."""
        if code in _FENCED:
            raise _Fenced(repeated=attempt > 0)
        error = f"{self._asking} was refused with {code}, {for_code(code).__name__}"
        if code not in _REFUSED_FOR_NOW:
            raise KafkaError(error)
        self._asking = error

    async def _until_asked_again(self, codes: set[int], attempt: int, what: tuple[int, str] | None = None) -> None:
        """A while, in which it is looked for who leads now."""
        if codes == {_CONCURRENT_TRANSACTIONS}:
            await self._pause(max(attempt - 2, 0), _CONCURRENT_PAUSE_S)
            return
        if what and codes & _COORDINATOR_MOVED:
            self._coordinators.pop(what, None)
        if codes & (_LEADER_MOVED | _COORDINATOR_MOVED):
            await self._running.force_metadata_update()
        await self._pause(attempt)

    async def _pause(self, attempt: int, first_s: float | None = None) -> None:
        """Longer with each attempt."""
        first_s = first_s or self._settings.retry_backoff_ms / 1000
        await asyncio.sleep(min(first_s * 2 ** min(attempt, 16), _PAUSE_MAX_S))

    async def _connect(self, client: AIOKafkaClient) -> None:
        attempt = 0
        while True:
            try:
                await client.bootstrap()
                break
            except KafkaConnectionError:
                # No broker answers.
                await self._pause(attempt)
                attempt += 1

    async def _leader(self, source: TopicPartition) -> int:
        client, attempt = self._running, 0
        # None where the partition is unknown, -1 where it has no leader.
        while (leader := client.cluster.leader_for_partition(source)) in (None, -1):
            if source.topic in client.cluster.unauthorized_topics:
                raise TopicAuthorizationFailedError(source.topic)
            if attempt:
                await self._pause(attempt)
            attempt += 1
            client.add_topic(source.topic)
            await client.force_metadata_update()
        return int(leader)

    async def _coordinator(self, what: tuple[int, str]) -> int:
        if what not in self._coordinators:
            self._coordinators[what] = await self._anybody(lambda: self._running.coordinator_lookup(*what))
        return self._coordinators[what]

    async def _anybody(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks some broker what changes nothing, and so may be asked as often as need be."""
        attempt = 0
        while True:
            try:
                return await ask()
            except (BrokerResponseError, NodeNotReadyError, KafkaConnectionError) as cause:
                # The first coordinator of a new cluster must be made.
                if isinstance(cause, BrokerResponseError) and cause.errno not in _REFUSED_FOR_NOW:
                    raise
                await self._until_asked_again({_LEADER_NOT_AVAILABLE}, attempt)
                attempt += 1


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Does everything at once; if something fails, the rest is given up."""
    if len(work) == 1:
        return [await work[0]]
    jobs = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*jobs)
    finally:
        for job in jobs:
            job.cancel()
