"""Transactional producers on Kafka: a transaction is a few requests, one after the other, and nothing else is under way meanwhile.

aiokafka's own producer repeats requests whose answer is lost, keeps a task and a queue per producer, and can commit past a failed
batch; here a request that is refused is sent again, and one that is not answered ends the producer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.errors import BrokerResponseError, KafkaError, NodeNotReadyError

from ticketmaster.broker.kafka import codes, groups, private, protocol
from ticketmaster.broker.kafka.batches import EncodedBatch, Encoder, Identity, Unsent, after, refused
from ticketmaster.broker.kafka.clients import Discard
from ticketmaster.broker.kafka.protocol import Requests, Written
from ticketmaster.broker.kafka.requesting import TROUBLE, Requester, all_of, parts_of
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import NO_PLACED_HEADERS, NO_RECORD_HEADERS, Pair, RecordHeaders, TopicPartition
from ticketmaster.clock import Clock
from ticketmaster.errors import NotAllowed, Retriable, TaskMigrated

_CONCURRENT_PAUSE_S: Final = 0.002
# Written to learn where a log ends; nobody is ever given it.
_SOUNDING: Final[Pair] = (b"", b"")


class _Fenced(Exception):
    """A later producer of the id was started. ``repeated``: found when something was sent again that had been refused."""

    def __init__(self, *, repeated: bool) -> None:
        super().__init__()
        self.repeated = repeated


class KafkaTransactionalProducer(Requester):
    """One producer of a static transactional id, from its start to its first trouble."""

    def __init__(self, transactional_id: str, settings: KafkaSettings, clock: Clock, discard: Discard) -> None:
        super().__init__(settings, discard)
        self._id = transactional_id
        self._encoder = Encoder(settings, clock, transactional=True)
        self._timeout_s = settings.transaction_timeout_ms / 1000
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
        client = self._open()
        self._sequences.clear()
        self._coordinators.clear()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connect(client)
                self._requests = await self._anybody(lambda: protocol.requests_of(self._running))
                # Until the predecessor's open transaction is aborted this is refused.
                request = protocol.init_producer(self._id, self._settings.transaction_timeout_ms)
                answer = await self._coordinated("InitProducerId", request, self._transaction, protocol.code_of)
        except (*TROUBLE, _Fenced) as cause:
            await self.stop()
            raise codes.for_now(cause, f"producer {self._id} can't start: {self._asking}: {cause!r}") from cause
        except NotAllowed:
            await self.stop()
            raise
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
        written = [Unsent(source, pairs, headers.get(source, NO_PLACED_HEADERS)) for source, pairs in outputs.items() if pairs]
        async with self._in_transaction(written):
            # In this order, each when the one before is answered: sent together they are in each other's way at the broker.
            ends = await self._write(written)
            if offsets:
                await self._move(group, offsets)
            # A transaction of nothing was never begun.
            if written or offsets:
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

    async def ends_of(self, logs: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        # Only the leader of a partition, with the replicas that it needs, acknowledges a record. In the end all are taken back.
        async with self._in_transaction():
            ends = await self._write([Unsent(log, [_SOUNDING], NO_PLACED_HEADERS) for log in logs])
            if ends:
                await self._end(commits=False)
        return ends

    async def stop(self) -> None:
        self._usable = False
        self._close()

    @asynccontextmanager
    async def _in_transaction(self, written: Sequence[Unsent] = ()) -> AsyncIterator[None]:
        """What is done inside ends in time, or ends this producer."""
        if self._fenced:
            raise TaskMigrated(self._fenced)
        if not self._usable:
            raise Retriable(f"producer {self._id} is not running")
        # Until the end is known: whatever interrupts this, the producer must not be used again. What was refused for good or is not
        # allowed leaves it so, too: the next producer of the id takes back what has been written of the transaction.
        self._usable = False
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except _Fenced as cause:
            self._fenced = f"producer {self._id} was fenced by a later one, or its transaction of {_size_of(written)} took too long"
            if self._asking.startswith("EndTxn") and cause.repeated:
                # The first one may have been refused by a coordinator that had written it down.
                raise Retriable(f"producer {self._id}: the outcome of a transaction is unknown: {self._asking}, then fenced") from cause
            raise TaskMigrated(self._fenced) from cause
        except TROUBLE as cause:
            if codes.is_not_allowed(cause):
                raise NotAllowed(f"producer {self._id}: {self._asking}: {cause!r}") from cause
            size = f" of {_size_of(written)}" if written else ""
            what = f"producer {self._id}: the outcome of a transaction{size} is unknown"
            if isinstance(cause, TimeoutError):
                what += f" after {self._timeout_s:g} s"
            raise Retriable(f"{what}: {self._asking}: {cause!r}") from cause
        self._usable = True

    # The parts of a transaction.

    async def _write(self, written: Sequence[Unsent]) -> dict[TopicPartition, int]:
        """Returns, when every record is acknowledged, where each partition's log ends behind its own."""
        ends: dict[TopicPartition, int] = {}
        if written and self._requests.adds_first:
            request = protocol.add_partitions(self._id, self._identity, {unsent.source for unsent in written})
            await self._coordinated("AddPartitionsToTxn", request, self._transaction, protocol.first_code)
        # A request has one batch of a partition at most, and a partition's batches must come in order.
        rest = {unsent.source: unsent for unsent in written}
        attempt = 0
        while rest:
            self._asking = "Produce"
            batches = [self._encoder.encoded(unsent, self._identity, self._sequences[source]) for source, unsent in rest.items()]
            parts = parts_of([(await self._leader(batch.source), batch) for batch in batches], self._settings.request_bytes_max)
            answers = await all_of([self._produced(leader, part) for leader, part in parts])
            answered = {source: outcome for answer in answers for source, outcome in answer.items()}
            refusals = self._passed(batches, answered, rest, ends, attempt)
            if refusals:
                await self._until_asked_again(refusals, attempt)
            attempt = attempt + 1 if refusals else 0
        return ends

    def _passed(
        self,
        batches: Iterable[EncodedBatch],
        answered: Mapping[TopicPartition, Written],
        rest: dict[TopicPartition, Unsent],
        ends: dict[TopicPartition, int],
        attempt: int,
    ) -> set[int]:
        """Takes what was acknowledged out of the rest; returns the codes with which something was refused for now."""
        refusals = set()
        for batch in batches:
            source = batch.source
            if source not in answered:
                raise KafkaError(f"the answer to Produce leaves out {source.topic}-{source.partition}")
            code, offset, message = answered[source]
            unsent = rest[source]
            if not code:
                ends[source] = offset + batch.records
                self._sequences[source] = after(self._sequences[source], batch)
                unsent.passed(batch)
                if unsent.is_empty:
                    del rest[source]
            elif code in codes.OF_SOME_RECORDS and batch.records > 1:
                unsent.halve(batch)
            elif code in codes.FOR_GOOD:
                raise refused(batch, unsent, f"{codes.name_of(code)} by {codes.FOR_GOOD[code]}. {message}".strip())
            else:
                self._check(code, attempt)
                refusals.add(code)
        return refusals

    async def _produced(self, leader: int, batches: Sequence[EncodedBatch]) -> dict[TopicPartition, Written]:
        # The broker gives up before this program does: so it is known that it has.
        request = self._requests.produce(self._id, batches, self._settings.request_timeout_ms // 2)
        try:
            return protocol.written(await self._running.send(leader, request))
        except NodeNotReadyError:
            # Nothing was sent.
            return {batch.source: Written(codes.LEADER_NOT_AVAILABLE, -1) for batch in batches}

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
            code = codes.COORDINATOR_NOT_AVAILABLE
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
        return private.OF_TRANSACTION, self._id

    def _group(self, group: str) -> tuple[int, str]:
        return private.OF_GROUP, group

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
                code = codes.COORDINATOR_NOT_AVAILABLE
            self._check(code, attempt)
            await self._until_asked_again({code}, attempt, what)
            attempt += 1

    def _check(self, code: int, attempt: int) -> None:
        """What can't be asked again is an error."""
        if code in codes.FENCED:
            raise _Fenced(repeated=attempt > 0)
        error = f"{self._asking} was refused with {code}, {codes.name_of(code)}"
        if code in codes.NOT_ALLOWED:
            raise NotAllowed(f"producer {self._id}: {error}")
        if code not in codes.FOR_NOW:
            raise KafkaError(error)
        self._asking = error

    async def _until_asked_again(self, refusals: set[int], attempt: int, what: tuple[int, str] | None = None) -> None:
        """A while, in which it is looked for who leads now."""
        if refusals == {codes.CONCURRENT_TRANSACTIONS}:
            await self._pause(max(attempt - 2, 0), _CONCURRENT_PAUSE_S)
            return
        if what and refusals & codes.COORDINATOR_MOVED:
            self._coordinators.pop(what, None)
        if refusals & (codes.LEADER_MOVED | codes.COORDINATOR_MOVED | codes.ALONE):
            await self._running.force_metadata_update()
        await self._pause(attempt)

    async def _coordinator(self, what: tuple[int, str]) -> int:
        if what not in self._coordinators:
            self._coordinators[what] = await self._anybody(lambda: self._running.coordinator_lookup(*what))
        return self._coordinators[what]


def _size_of(written: Iterable[Unsent]) -> str:
    pairs = [pair for unsent in written for pair in unsent.pairs]
    return f"{len(pairs)} records, {sum(len(key) + len(value or b'') for key, value in pairs)} bytes"
