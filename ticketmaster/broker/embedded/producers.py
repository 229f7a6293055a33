"""Writing to the embedded broker: with and without transactions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from ticketmaster.broker.port import NO_RECORD_HEADERS, Pair, RecordHeaders, TopicPartition
from ticketmaster.errors import Retriable, TaskMigrated, TicketmasterError


class Writable(Protocol):
    """The broker as its producers use it."""

    async def append(self, outputs: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS) -> None:
        """Appends in one write; returns once that is durable, and with it all that was appended before."""

    async def commit(
        self, outputs: Mapping[TopicPartition, Sequence[Pair]], offsets: Mapping[TopicPartition, int], group: str, headers: RecordHeaders
    ) -> dict[TopicPartition, int]:
        """Appends and commits in one write; returns, before it is durable, the ends of the logs behind the records."""

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets that a group has committed, durably."""

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where logs end, durably."""

    def fence(self, transactional_id: str) -> int:
        """The epoch of a new producer: from here on older ones can't commit."""

    def is_fenced(self, transactional_id: str, epoch: int) -> bool:
        """Whether a later producer of this id was started."""


class LogProducer:
    """Appends outside any transaction."""

    def __init__(self, broker: Writable) -> None:
        self._broker = broker

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        # One log for all partitions: when it fails, it fails as a whole.
        await self._broker.append(records, headers)
        return {}


class LogTransactions:
    """Appends and commits."""

    def __init__(self, broker: Writable, transactional_id: str) -> None:
        self._broker = broker
        self._id = transactional_id
        self._epoch: int | None = None

    async def start(self) -> None:
        self._epoch = self._broker.fence(self._id)
        # The predecessor's commits are on their way to the disk: wait, so that offsets and ends read now are final.
        await self._broker.append({})

    async def commit(
        self,
        outputs: Mapping[TopicPartition, Sequence[Pair]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        headers: RecordHeaders = NO_RECORD_HEADERS,
    ) -> dict[TopicPartition, int]:
        self._check()
        return await self._broker.commit(outputs, offsets, group, headers)

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self._check()
        return await self._broker.committed(group, sources)

    async def ends_of(self, logs: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self._check()
        return await self._broker.end_offsets(logs)

    def _check(self) -> None:
        if self._epoch is None:
            raise Retriable(f"producer {self._id} is not running")
        if self._broker.is_fenced(self._id, self._epoch):
            raise TaskMigrated(f"producer {self._id} of epoch {self._epoch} was fenced by a later one")

    async def stop(self) -> None:
        self._epoch = None
