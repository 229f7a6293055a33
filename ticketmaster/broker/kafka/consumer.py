"""Reading Kafka, committed records only: a reader of given partitions, and a member of a consumer group."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from ticketmaster.broker.kafka.assignor import StickyAssignor
from ticketmaster.broker.kafka.clients import client_arguments
from ticketmaster.broker.kafka.codes import for_now, is_not_allowed, translated
from ticketmaster.broker.kafka.connecting import patient
from ticketmaster.broker.kafka.private import Consumer, client_of, generation_of, job_failure
from ticketmaster.broker.kafka.private_connection import leave_fetches
from ticketmaster.broker.kafka.private_fetching import BatchConsumer
from ticketmaster.broker.kafka.records import BatchRecords, merged, with_markers
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.translating import Translator, Waiting
from ticketmaster.broker.port import Assignment, Batch, Membership, RebalanceListener, TopicPartition
from ticketmaster.errors import Fatal, Retriable

# A rebalance waits for its slowest member, and the answer to a member's join comes only then.
_JOIN_GRACE_MS: Final = 5_000
# While batches wait to be translated a poll takes no longer: what is ready is delivered then.
_LOOK_AGAIN_MS: Final = 20
# So long the batches of one poll are translated at once; the others wait, so that nothing else is held up.
_AT_ONCE_S: Final = 0.01
# To leave a group takes some milliseconds.
_STOP_S: Final = 2.0
_CUT_OFF_S: Final = 0.5


def new_consumer(settings: KafkaSettings, *, headers: bool = False, **arguments: Any) -> Consumer:
    """A consumer that delivers committed batches, from the log's start where nothing else is said; ``headers``: those of records, too."""
    consumer = BatchConsumer(
        partial(BatchRecords, headers=headers),
        **{
            **client_arguments(settings),
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            # A connection on which an answer is late is given up.
            "fetch_max_wait_ms": min(settings.fetch_wait_max_ms, settings.request_timeout_ms // 2),
            "fetch_min_bytes": settings.fetch_bytes_min,
            "fetch_max_bytes": settings.fetch_bytes_max,
            "max_partition_fetch_bytes": settings.fetch_partition_bytes_max,
            **arguments,
        },
    )
    patient(client_of(consumer))
    return consumer


async def _stop(consumer: Consumer) -> None:
    """Stops a consumer whole, and waits for no broker that does not answer: its connections are closed then.

    One whose fetch is just backing off ends in that fetch's cancellation, its connections still open.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait({stopping}, timeout=_STOP_S)
        if not stopping.done():
            # Whoever waits for an answer hears that the connection is gone.
            await client_of(consumer).close()
            await asyncio.wait({stopping}, timeout=_CUT_OFF_S)
    finally:
        # What has ended a job of it comes out of its end again: a poll has told that.
        is_broken = job_failure(consumer) is not None
        if not stopping.done() or stopping.cancelled() or is_broken:
            stopping.cancel()
            await client_of(consumer).close()
    if stopping.done() and not stopping.cancelled() and not is_broken:
        stopping.result()


class _Reading:
    """Polling an aiokafka consumer for the port's batches."""

    def __init__(self, consumer: Consumer, translator: Translator | None) -> None:
        self._consumer = consumer
        self._translator = translator
        self._waiting = Waiting(self._translator) if self._translator else None
        # Where each partition goes on, past whatever was delivered last.
        self._positions: dict[TopicPartition, int] = {}

    async def fetch(self, timeout_ms: int, *, merge: bool) -> list[Batch]:
        """Whatever all partitions have. An empty batch tells only that the position has moved past markers.

        ``merge`` makes as few batches as can be of those of a partition; without it each keeps its own time.
        """
        # What is there already aiokafka delivers without giving the loop's other jobs a turn.
        await asyncio.sleep(0)
        if self._waiting:
            if ready := self._waiting.take():
                self._resume({batch.source for batch in ready})
                return self._delivered(ready)
            timeout_ms = min(timeout_ms, _LOOK_AGAIN_MS)
        if failure := job_failure(self._consumer):
            raise Fatal(f"the consumer reads no more: {failure!r}") from failure
        try:
            fetched: Mapping[object, Sequence[Batch]] = await self._consumer.getmany(timeout_ms=timeout_ms)
        except KafkaError as cause:
            raise translated(cause, "reading") from cause
        # From here on nothing is awaited: until they are delivered a rebalance could take away what these batches are of, or a seek.
        found: list[Batch] = []
        until = asyncio.get_running_loop().time() + _AT_ONCE_S
        for batches in fetched.values():
            of_partition = merged(batches) if merge else with_markers(batches)
            found += self._translated(of_partition, until)
        return self._delivered(found)

    def _translated(self, batches: Sequence[Batch], until: float) -> Sequence[Batch]:
        """Those of one partition that can be delivered now; the others wait, and their partition with them.

        ``until`` when none is translated at once any more, by the loop's time.
        """
        translator, waiting, time = self._translator, self._waiting, asyncio.get_running_loop().time
        if translator is None or waiting is None:
            return batches
        done: list[Batch] = []
        for batch in batches:
            source, records = batch.source, batch.records
            if source not in waiting:
                at_once = (translator.try_translate(source.topic, records) if time() < until else None) if records else records
                if at_once is not None:
                    done.append(batch if at_once is records else batch._replace(records=at_once))
                    continue
                self._consumer.pause(KafkaTopicPartition(*source))
            waiting.put(batch)
        return done

    def _delivered(self, batches: list[Batch]) -> list[Batch]:
        for batch in batches:
            self._positions[batch.source] = batch.next_offset
        return batches

    def _resume(self, sources: Collection[TopicPartition]) -> None:
        for source in sources:
            # It may not be assigned any more, and its owner does not know yet.
            with contextlib.suppress(IllegalStateError):
                self._consumer.resume(KafkaTopicPartition(*source))

    def sought(self, source: TopicPartition, offset: int) -> None:
        """From there it goes on."""
        self.dropped(source)
        self._positions[source] = offset

    def dropped(self, source: TopicPartition) -> None:
        """Of what was fetched nothing is delivered any more."""
        if self._waiting:
            self._waiting.drop(source)

    def all_dropped(self) -> None:
        """Of no partition."""
        if self._waiting:
            self._waiting.drop_all()

    async def stop(self) -> None:
        """Nothing waits any more."""
        if self._waiting is not None:
            await self._waiting.stop()

    def behind(self, source: TopicPartition) -> int:
        try:
            end = self._consumer.highwater(KafkaTopicPartition(*source))
        except (IllegalStateError, AssertionError):
            # It is not assigned.
            return 0
        position = self._positions.get(source, end)
        return max(end - position, 0) if end else 0


class KafkaReader:
    """Reads given partitions from given offsets on; connects at its first poll."""

    def __init__(
        self,
        settings: KafkaSettings,
        positions: Mapping[TopicPartition, int],
        translator: Translator | None,
        *,
        headers: bool = False,
    ) -> None:
        self._positions = dict(positions)
        self._new_consumer = partial(new_consumer, settings, headers=headers)
        self._translator = translator
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._consumer = self._new_consumer()
        self._reading = _Reading(self._consumer, self._translator)
        self._started = False

    async def poll(self, timeout_ms: int) -> list[Batch]:
        if not self._started:
            await self._start()
        return await self._reading.fetch(timeout_ms, merge=False)

    async def _start(self) -> None:
        try:
            self._consumer.assign([KafkaTopicPartition(*source) for source in self._positions])
            await self._consumer.start()
        except KafkaError as cause:
            # A consumer starts once only: what did not learn of its topics would never.
            await _stop(self._consumer)
            self._begin_anew()
            raise for_now(cause, f"can't connect to Kafka: {cause!r}") from cause
        self._started = True
        for source, position in self._positions.items():
            self._consumer.seek(KafkaTopicPartition(*source), position)

    def seek(self, source: TopicPartition, offset: int) -> None:
        self._positions[source] = offset
        self._reading.sought(source, offset)
        if self._started:
            partition = KafkaTopicPartition(*source)
            self._consumer.seek(partition, offset)
            self._consumer.resume(partition)

    def pause(self, source: TopicPartition) -> None:
        self._reading.dropped(source)
        if self._started:
            self._consumer.pause(KafkaTopicPartition(*source))

    def behind(self, source: TopicPartition) -> int:
        return self._reading.behind(source)

    async def stop(self) -> None:
        await self._reading.stop()
        await _stop(self._consumer)


class KafkaGroupMember(ConsumerRebalanceListener):  # type: ignore[misc]
    """A dynamic member of a consumer group; joins at its first poll."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topics: Collection[str],
        listener: RebalanceListener,
        membership: Membership,
        translator: Translator | None,
        *,
        headers: bool = False,
    ) -> None:
        self._group = group
        self._topics = sorted(topics)
        self._listener = listener
        self._membership = membership
        self._assignor = StickyAssignor(membership.address, membership.stored)
        self._new_consumer: Callable[[], Consumer] = partial(
            new_consumer,
            settings,
            headers=headers,
            group_id=group,
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            request_timeout_ms=max(settings.request_timeout_ms, settings.rebalance_timeout_ms + _JOIN_GRACE_MS),
        )
        self._translator = translator
        self._begin_anew()
        self._owned: list[int] = []
        self._failure: BaseException | None = None

    def _begin_anew(self) -> None:
        self._consumer = self._new_consumer()
        self._reading = _Reading(self._consumer, self._translator)
        self._joined = False

    async def poll(self, timeout_ms: int) -> list[Batch]:
        if not self._joined:
            await self._join()
        self._check()
        batches = await self._reading.fetch(timeout_ms, merge=True)
        self._check()
        return batches

    def _check(self) -> None:
        """Fatal: what was called in a rebalance has failed, so that nobody knows what this member owns."""
        failure = self._failure or self._assignor.failure
        if failure:
            raise Fatal(f"group {self._group}: a rebalance failed: {failure!r}") from failure

    async def _join(self) -> None:
        try:
            self._consumer.subscribe(self._topics, listener=self)
            await self._consumer.start()
        except KafkaConnectionError as cause:
            # Nothing has begun yet: it may be started again.
            raise Retriable(f"can't connect to Kafka: {cause!r}") from cause
        except KafkaError as cause:
            self._check()
            text = f"can't join the group {self._group}: {cause!r}"
            if not (cause.retriable or is_not_allowed(cause)):
                raise Fatal(text) from cause
            # A consumer starts once only.
            await _stop(self._consumer)
            self._begin_anew()
            raise for_now(cause, text) from cause
        self._joined = True

    # aiokafka logs and swallows what these raise, so they keep it for the next poll.

    async def on_partitions_revoked(self, revoked: Collection[object]) -> None:
        self._reading.all_dropped()
        owned, self._owned = self._owned, []
        if owned:
            try:
                await self._listener.on_revoked(owned)
            except BaseException as failure:  # noqa: BLE001
                self._note(failure)

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        try:
            # Synchronously, before anything is fetched: each delivers nothing until its owner knows from where.
            self._consumer.pause(*assigned)
            leave_fetches(client_of(self._consumer))
            self._reading.all_dropped()
            self._owned = sorted({source.partition for source in assigned})
            generation, member_id = generation_of(self._consumer)
            if self._membership.on_joined:
                self._membership.on_joined(member_id)
            self._listener.on_assigned(Assignment(self._owned, generation, dict(self._assignor.owners)))
        except BaseException as failure:  # noqa: BLE001
            self._note(failure)

    def _note(self, failure: BaseException) -> None:
        job = asyncio.current_task()
        if job and job.cancelling():
            # This is no failure: the member is told to stop.
            raise failure
        self._failure = failure

    def seek(self, source: TopicPartition, offset: int) -> None:
        partition = KafkaTopicPartition(*source)
        # It may not be assigned any more, and its owner does not know yet.
        with contextlib.suppress(IllegalStateError):
            self._reading.sought(source, offset)
            self._consumer.seek(partition, offset)
            self._consumer.resume(partition)

    def pause(self, source: TopicPartition) -> None:
        self._reading.dropped(source)
        with contextlib.suppress(IllegalStateError):
            self._consumer.pause(KafkaTopicPartition(*source))

    def behind(self, source: TopicPartition) -> int:
        return self._reading.behind(source)

    async def stop(self) -> None:
        self._owned = []
        await self._reading.stop()
        await _stop(self._consumer)
