"""Reading Kafka, committed records only: a reader of given partitions, and a member of a consumer group."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from ticketmaster.broker.kafka.assignor import StickyAssignor
from ticketmaster.broker.kafka.clients import client_arguments
from ticketmaster.broker.kafka.producer import translated
from ticketmaster.broker.kafka.records import merged, with_markers
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Assignment, Batch, Membership, Pair, RebalanceListener, TopicPartition
from ticketmaster.errors import Fatal, Retriable

# A rebalance waits for its slowest member, and the answer to a member's join comes only then.
_JOIN_GRACE_MS = 5_000

Translate = Callable[[str, Sequence[Pair]], Awaitable[Sequence[Pair]]]


def new_consumer(settings: KafkaSettings, **arguments: Any) -> AIOKafkaConsumer:
    """A consumer that delivers committed batches, from the log's start where nothing else is said."""
    return AIOKafkaConsumer(
        **{
            **client_arguments(settings),
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "fetch_max_wait_ms": settings.fetch_wait_max_ms,
            "fetch_min_bytes": settings.fetch_bytes_min,
            "fetch_max_bytes": settings.fetch_bytes_max,
            "max_partition_fetch_bytes": settings.fetch_partition_bytes_max,
            **arguments,
        }
    )


class _Reading:
    """Polling an aiokafka consumer for the port's batches."""

    def __init__(self, consumer: AIOKafkaConsumer, translate: Translate | None) -> None:
        self._consumer = consumer
        self._translate = translate
        # Where each partition goes on, past whatever was delivered last.
        self._positions: dict[TopicPartition, int] = {}

    async def fetch(self, timeout_ms: int, *, keep_empty: bool, merge: bool) -> list[Batch]:
        """Whatever all partitions have. An empty batch tells only that the position has moved past markers.

        ``merge`` makes one batch of those of a partition; without it each keeps its own time.
        """
        # What is there already aiokafka delivers without giving the loop's other jobs a turn.
        await asyncio.sleep(0)
        try:
            fetched: Mapping[object, Sequence[Batch]] = await self._consumer.getmany(timeout_ms=timeout_ms)
        except KafkaError as cause:
            raise translated(cause, "reading") from cause
        found: list[Batch] = []
        for batches in fetched.values():
            self._positions[batches[-1].source] = batches[-1].next_offset
            found += [merged(batches)] if merge else with_markers(batches)
        return [await self._translated(batch) for batch in found if batch.records or keep_empty]

    def sought(self, source: TopicPartition, offset: int) -> None:
        """From there it goes on."""
        self._positions[source] = offset

    def behind(self, source: TopicPartition) -> int:
        try:
            end = self._consumer.highwater(KafkaTopicPartition(*source))
        except (IllegalStateError, AssertionError):
            # It is not assigned.
            return 0
        position = self._positions.get(source, end)
        return max(end - position, 0) if end else 0

    async def _translated(self, batch: Batch) -> Batch:
        if not batch.records or self._translate is None:
            return batch
        return batch._replace(records=await self._translate(batch.source.topic, batch.records))


class KafkaReader:
    """Reads given partitions from given offsets on; connects at its first poll."""

    def __init__(self, settings: KafkaSettings, positions: Mapping[TopicPartition, int], translate: Translate | None) -> None:
        self._positions = dict(positions)
        self._consumer = new_consumer(settings)
        self._reading = _Reading(self._consumer, translate)
        self._started = False

    async def poll(self, timeout_ms: int) -> list[Batch]:
        if not self._started:
            await self._start()
        return await self._reading.fetch(timeout_ms, keep_empty=True, merge=False)

    async def _start(self) -> None:
        try:
            self._consumer.assign([KafkaTopicPartition(*source) for source in self._positions])
            await self._consumer.start()
        except KafkaError as cause:
            raise Retriable(f"can't connect to Kafka: {cause!r}") from cause
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
        if self._started:
            self._consumer.pause(KafkaTopicPartition(*source))

    def behind(self, source: TopicPartition) -> int:
        return self._reading.behind(source)

    async def stop(self) -> None:
        await self._consumer.stop()


class KafkaGroupMember(ConsumerRebalanceListener):  # type: ignore[misc]
    """A dynamic member of a consumer group; joins at its first poll."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topics: Collection[str],
        listener: RebalanceListener,
        membership: Membership,
        translate: Translate | None,
    ) -> None:
        self._group = group
        self._topics = sorted(topics)
        self._listener = listener
        self._membership = membership
        self._assignor = StickyAssignor(membership.address, membership.stored)
        self._consumer = new_consumer(
            settings,
            group_id=group,
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            request_timeout_ms=max(settings.request_timeout_ms, settings.rebalance_timeout_ms + _JOIN_GRACE_MS),
        )
        self._reading = _Reading(self._consumer, translate)
        self._joined = False
        self._owned: list[int] = []
        self._failure: Exception | None = None

    async def poll(self, timeout_ms: int) -> list[Batch]:
        if not self._joined:
            await self._join()
        batches = await self._reading.fetch(timeout_ms, keep_empty=False, merge=True)
        if self._failure:
            raise Fatal(f"group {self._group}: a rebalance failed: {self._failure!r}") from self._failure
        return batches

    async def _join(self) -> None:
        try:
            self._consumer.subscribe(self._topics, listener=self)
            await self._consumer.start()
        except KafkaConnectionError as cause:
            # Nothing has begun yet: it may be started again.
            raise Retriable(f"can't connect to Kafka: {cause!r}") from cause
        except KafkaError as cause:
            raise Fatal(f"can't join the group {self._group}: {cause!r}") from cause
        self._joined = True

    # aiokafka logs and swallows what these raise, so they keep it for the next poll.

    async def on_partitions_revoked(self, revoked: Collection[object]) -> None:
        owned, self._owned = self._owned, []
        if owned:
            try:
                await self._listener.on_revoked(owned)
            except Exception as failure:  # noqa: BLE001
                self._failure = failure

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        # Synchronously, before anything is fetched: each delivers nothing until its owner knows from where.
        self._consumer.pause(*assigned)
        self._owned = sorted({source.partition for source in assigned})
        coordinator = self._consumer._coordinator  # noqa: SLF001 - the generation and member id are nowhere else
        if self._membership.on_joined:
            self._membership.on_joined(coordinator.member_id)
        try:
            self._listener.on_assigned(Assignment(self._owned, coordinator.generation, dict(self._assignor.owners)))
        except Exception as failure:  # noqa: BLE001
            self._failure = failure

    def seek(self, source: TopicPartition, offset: int) -> None:
        partition = KafkaTopicPartition(*source)
        # It may not be assigned any more, and its owner does not know yet.
        with contextlib.suppress(IllegalStateError):
            self._reading.sought(source, offset)
            self._consumer.seek(partition, offset)
            self._consumer.resume(partition)

    def pause(self, source: TopicPartition) -> None:
        with contextlib.suppress(IllegalStateError):
            self._consumer.pause(KafkaTopicPartition(*source))

    def behind(self, source: TopicPartition) -> int:
        return self._reading.behind(source)

    async def stop(self) -> None:
        self._owned = []
        await self._consumer.stop()
