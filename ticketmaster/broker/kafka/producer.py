"""Producers outside transactions: every partition has its own queue, batches of healthy ones leave together, sick ones go apart.

A broker answers a produce request when it has dealt with all partitions in it, and one request of a connection after the other. So a
partition that is in trouble is sent to by itself, over a second connection, until it is well; for a while longer if it was slow.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError, NodeNotReadyError, for_code

from ticketmaster.broker.kafka import codes, private, protocol
from ticketmaster.broker.kafka.batches import NOBODY, EncodedBatch, Encoder, Identity, Unsent, after, refused
from ticketmaster.broker.kafka.clients import Discard
from ticketmaster.broker.kafka.protocol import Written
from ticketmaster.broker.kafka.requesting import TROUBLE, Requester, parts_of
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import NO_PLACED_HEADERS, NO_RECORD_HEADERS, Pair, PlacedHeaders, RecordHeaders, TopicPartition
from ticketmaster.clock import Clock
from ticketmaster.errors import NotAllowed, Refused, Retriable, TicketmasterError

# How long a broker may wait for the replicas of one partition while all others of the request wait for its answer.
_TOGETHER_MAX_MS: Final = 1_000
# So long a partition that kept others waiting must have been well until it is sent to with them again.
_WELL_S: Final = 10.0
# As aiokafka asks: outside transactions nothing comes of it.
_NO_TRANSACTION_TIMEOUT_MS: Final = 0x7FFFFFFF
# So long the last acknowledgements are waited for at the end.
_STOP_S: Final = 1.0
_ACKS: Final = {"all": -1, "1": 1, "0": 0}

_Failure = TicketmasterError | None


class _Order:
    """The records of one partition of one call, and how it ended."""

    def __init__(self, source: TopicPartition, pairs: Sequence[Pair], headers: PlacedHeaders, deadline_s: float) -> None:
        self.unsent = Unsent(source, pairs, headers)
        self.deadline_s = deadline_s
        self.ended: asyncio.Future[_Failure] = asyncio.get_running_loop().create_future()
        self.refusals: list[Refused] = []

    def end(self, failure: _Failure) -> None:
        """Tells whoever waits, if anybody does."""
        if not self.ended.done():
            self.ended.set_result(failure)


class _Lane:
    """The queue of a partition. At most one of its batches is under way."""

    def __init__(self, source: TopicPartition, identity: Identity | None) -> None:
        self.source = source
        self.orders: deque[_Order] = deque()
        # None: the outcome of a batch is unknown, its numbers can't be gone on with.
        self.identity = identity
        self.sequence = 0
        self.is_busy = False
        self.well_at_s = 0.0
        self.trouble = ""

    def end(self, failure: _Failure) -> None:
        """Ends the order that is under way."""
        self.orders.popleft().end(failure)

    def pass_on(self, records: int) -> None:
        """Goes on behind so many records; the order may have ended with them."""
        order = self.orders[0]
        order.unsent.sent += records
        if order.unsent.is_empty:
            self.end(_as_one(order.refusals))

    def refuse(self, refusal: Refused) -> None:
        """Goes on behind a record that is never taken."""
        self.orders[0].refusals.append(refusal)
        self.pass_on(len(refusal.keys))


class KafkaProducer(Requester):
    """Appends outside transactions, idempotently where all replicas acknowledge: what is sent again is written once."""

    def __init__(self, settings: KafkaSettings, clock: Clock, discard: Discard) -> None:
        super().__init__(settings, discard)
        self._encoder = Encoder(settings, clock, transactional=False)
        self._acks = _ACKS[settings.acks]
        self._timeout_s = settings.delivery_timeout_ms / 1000
        self._identity: Identity | None = None
        self._starting = asyncio.Lock()
        self._lanes: dict[TopicPartition, _Lane] = {}
        # By the broker that leads them: those that have something to send, and who sends it.
        self._together: dict[int, dict[TopicPartition, _Lane]] = {}
        self._jobs: dict[int | TopicPartition, asyncio.Task[None]] = {}

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        sources = [source for source, pairs in records.items() if pairs]
        if not sources:
            return {}
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            identity = self._identity or await self._started()
        except NotAllowed as cause:
            return dict.fromkeys(sources, cause)
        except (*TROUBLE, Retriable) as cause:
            return dict.fromkeys(sources, self._late("no broker has answered", cause))
        orders = [_Order(source, records[source], headers.get(source, NO_PLACED_HEADERS), deadline_s) for source in sources]
        for source, order in zip(sources, orders, strict=True):
            lane = self._lanes.get(source)
            if lane is None:
                lane = self._lanes[source] = _Lane(source, identity)
            lane.orders.append(order)
            if not lane.is_busy:
                self._offer(lane)
        failures = [await order.ended for order in orders]
        return {source: failure for source, failure in zip(sources, failures, strict=True) if failure}

    def _late(self, why: str, cause: BaseException | None = None) -> Retriable:
        late = Retriable(f"Kafka has not acknowledged within {self._timeout_s:g} s: {why}{f': {cause!r}' if cause else ''}")
        late.__cause__ = cause
        return late

    async def _started(self) -> Identity:
        async with asyncio.timeout(self._timeout_s), self._starting:
            if self._identity is None:
                try:
                    await self._connect(self._open())
                    self._identity = await self._new_identity()
                except BaseException:
                    self._close()
                    raise
            return self._identity

    async def _new_identity(self) -> Identity:
        """Numbers that begin anew; NotAllowed: this user gets none."""
        if self._settings.acks != "all":
            return NOBODY

        async def ask() -> Identity:
            request = protocol.init_producer(None, _NO_TRANSACTION_TIMEOUT_MS)
            answer = await self._running.send(self._running.get_random_node(), request)
            if code := protocol.code_of(answer):
                raise for_code(code)
            return Identity(answer.producer_id, answer.producer_epoch)

        try:
            return await self._anybody(ask)
        except KafkaError as cause:
            raise codes.translated(cause, "starting a producer") from cause

    # Who sends what.

    def _offer(self, lane: _Lane) -> None:
        """Has the orders of a partition sent, with those of others or apart."""
        leader = self._known_leader(lane.source) if self._is_well(lane) else None
        lane.is_busy = True
        if leader is None:
            self._begin(lane.source, self._apart(lane))
            return
        self._together.setdefault(leader, {})[lane.source] = lane
        if leader not in self._jobs:
            self._begin(leader, self._serve(leader))

    def _begin(self, key: int | TopicPartition, work: Coroutine[Any, Any, None]) -> None:
        self._jobs[key] = asyncio.create_task(work)

    async def _serve(self, leader: int) -> None:
        """Sends one request after the other to a broker, as long as there is something for it."""
        ready = self._together[leader]
        if self._settings.linger_ms:
            await asyncio.sleep(self._settings.linger_ms / 1000)
        while ready:
            lanes = dict(ready)
            ready.clear()
            batches = [(leader, batch) for lane in lanes.values() if (batch := self._next(lane))]
            for _, part in parts_of(batches, self._settings.request_bytes_max):
                deadline_s = min(lanes[batch.source].orders[0].deadline_s for batch in part)
                try:
                    async with asyncio.timeout_at(deadline_s):
                        answered = await self._produced(leader, part, private.CONNECTION_DEFAULT, _TOGETHER_MAX_MS)
                # Whatever it is, it is told when time is over.
                except Exception as cause:  # noqa: BLE001
                    for batch in part:
                        self._unanswered(lanes[batch.source], repr(cause))
                    continue
                for batch in part:
                    self._took(lanes[batch.source], batch, answered.get(batch.source))
            for lane in lanes.values():
                self._go_on(lane)
        del self._jobs[leader]

    async def _apart(self, lane: _Lane) -> None:
        """Sends to one partition by itself, until it is well."""
        loop, attempt = asyncio.get_running_loop(), 0
        while lane.orders and not (self._is_well(lane) and self._known_leader(lane.source) is not None):
            deadline_s = lane.orders[0].deadline_s
            if loop.time() >= deadline_s:
                # It may have been written, or be under way still.
                lane.identity = None
                lane.end(self._late(f"{lane.source.topic}-{lane.source.partition}: {lane.trouble or 'it has no leader'}"))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline_s):
                    if await self._attempt(lane):
                        attempt = 0
                    else:
                        with contextlib.suppress(*TROUBLE):
                            await self._running.force_metadata_update()
                        await self._pause(attempt)
                        attempt += 1
        del self._jobs[lane.source]
        self._go_on(lane)

    async def _attempt(self, lane: _Lane) -> bool:
        """Whether there is no reason to wait before the next one."""
        try:
            if lane.identity is None:
                lane.identity, lane.sequence = await self._new_identity(), 0
            leader = await self._leader(lane.source)
            batch = self._next(lane)
            if batch is None:
                return True
            answered = await self._produced(leader, [batch], private.CONNECTION_APART, self._settings.request_timeout_ms)
            return self._took(lane, batch, answered.get(batch.source))
        except NotAllowed as cause:
            lane.end(cause)
            return True
        except Exception as cause:  # noqa: BLE001 - as in _serve
            if codes.is_not_allowed(cause):
                lane.end(NotAllowed(f"writing to {lane.source.topic}: {cause!r}"))
                return True
            return self._unanswered(lane, repr(cause))

    def _go_on(self, lane: _Lane) -> None:
        if lane.orders:
            self._offer(lane)
        else:
            lane.is_busy = False

    def _is_well(self, lane: _Lane) -> bool:
        """Whether it may be sent to with others."""
        return bool(lane.identity) and not lane.trouble and asyncio.get_running_loop().time() >= lane.well_at_s

    def _keep_apart(self, lane: _Lane) -> None:
        lane.well_at_s = asyncio.get_running_loop().time() + _WELL_S

    # One request.

    def _next(self, lane: _Lane) -> EncodedBatch | None:
        """What is sent next; None: all that was left is refused."""
        while lane.orders:
            try:
                return self._encoder.encoded(lane.orders[0].unsent, lane.identity or NOBODY, lane.sequence)
            except Refused as refusal:
                lane.refuse(refusal)
            except Exception as defect:  # noqa: BLE001 - it is raised where these records come from
                lane.orders.popleft().ended.set_exception(defect)
        return None

    async def _produced(
        self, leader: int, batches: Sequence[EncodedBatch], connection: Any, timeout_ms: int
    ) -> dict[TopicPartition, Written]:
        # The broker gives up before this program does: so it is known that it has.
        request = protocol.produce(self._acks, batches, min(timeout_ms, self._settings.request_timeout_ms // 2))
        try:
            answer = await self._running.send(leader, request, group=connection)
        except NodeNotReadyError:
            # Nothing was sent.
            return {batch.source: Written(codes.LEADER_NOT_AVAILABLE, -1, "the broker can't be reached") for batch in batches}
        # Nothing is told where no acknowledgement is asked for.
        return protocol.written(answer) if self._acks else {batch.source: Written(0, -1) for batch in batches}

    def _unanswered(self, lane: _Lane, trouble: str) -> bool:
        """Nobody knows what became of a batch. False, as :meth:`_took` says it."""
        lane.trouble = trouble
        self._keep_apart(lane)
        return False

    def _took(self, lane: _Lane, batch: EncodedBatch, written: Written | None) -> bool:
        """What became of a batch: False: it must be sent again, after a while."""
        if written is None:
            return self._unanswered(lane, "the answer leaves it out")
        code, _, message = written
        if not code or code == codes.DUPLICATE:
            lane.sequence, lane.trouble = after(lane.sequence, batch), ""
            lane.pass_on(batch.records)
            return True
        text = f"Produce was refused with {code}, {codes.name_of(code)}{f': {message}' if message else ''}"
        unsent = lane.orders[0].unsent
        if code in codes.OF_SOME_RECORDS and batch.records > 1:
            unsent.halve(batch)
        elif code in codes.FOR_GOOD:
            lane.refuse(refused(batch, unsent, f"{codes.name_of(code)} by {codes.FOR_GOOD[code]}. {message}".strip()))
        elif code in codes.NOT_ALLOWED:
            lane.end(NotAllowed(f"writing to {lane.source.topic}: {text}"))
        elif code in codes.FOR_NOW:
            lane.trouble = text
            if code in codes.ANSWERED_LATE:
                self._keep_apart(lane)
            return False
        else:
            # A sequence that does not fit, a fenced epoch: it may have been written.
            lane.identity = None
            lane.end(Retriable(f"{lane.source.topic}-{lane.source.partition}: {text}"))
        return True

    async def stop(self) -> None:
        if self._jobs:
            # They end with the last acknowledgement, which never comes while brokers are away.
            await asyncio.wait(self._jobs.values(), timeout=min(self._settings.request_timeout_ms / 1000, _STOP_S))
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for lane in self._lanes.values():
            while lane.orders:
                lane.end(Retriable("the producer was stopped; it may or may not have been written"))
        for known in (self._lanes, self._together, self._jobs):
            known.clear()
        self._identity = None
        self._close()


def _as_one(refusals: Sequence[Refused]) -> Refused | None:
    """Of all records of an order that are never taken; the first one says why."""
    if not refusals:
        return None
    first = refusals[0]
    return Refused(str(first), first.source, tuple(key for refusal in refusals for key in refusal.keys))
