"""Reading a broker through its port: every wait has a deadline, and no offset is taken for granted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from ticketmaster.broker.port import Assignment, Batch, Broker, Consumer, Membership, Pair, TopicPartition

DEADLINE_S = 20.0
_POLL_MS = 50


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits until ``condition`` holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    # What is waited for happens in other tasks, by several ways: a look now and then is simpler than a signal in each.
    while not condition():
        assert loop.time() < deadline, f"not in {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.002)


async def take(consumer: Consumer, count: int) -> list[Batch]:
    """Polls until ``count`` records have come."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    taken: list[Batch] = []
    while sum(len(batch.records) for batch in taken) < count:
        assert loop.time() < deadline, f"{sum(len(batch.records) for batch in taken)} of {count} records in {DEADLINE_S} s"
        taken += await consumer.poll(_POLL_MS)
    return taken


async def take_nothing(consumer: Consumer, polls: int = 3) -> None:
    """Polls a few times and is given nothing."""
    for _ in range(polls):
        assert await consumer.poll(_POLL_MS // 2) == []


def headers_of(batches: Sequence[Batch]) -> dict[bytes, list[tuple[str, bytes]]]:
    """The headers of the records that have any, by key."""
    return {batch.records[at][0]: list(found) for batch in batches for at, found in batch.headers.items()}


async def read_batches(broker: Broker, source: TopicPartition, offset: int = 0) -> list[Batch]:
    """Every batch from ``offset`` to the end as of now."""
    end = (await broker.end_offsets([source]))[source]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    reader = broker.reader({source: offset})
    found: list[Batch] = []
    try:
        while offset < end:
            assert loop.time() < deadline, f"{source} was read to {offset} of {end} in {DEADLINE_S} s"
            for batch in await reader.poll(_POLL_MS):
                found.append(batch)
                offset = batch.next_offset
    finally:
        await reader.stop()
    return found


async def read_records(broker: Broker, source: TopicPartition, offset: int = 0) -> list[Pair]:
    """Every record from ``offset`` to the end as of now."""
    return records_of(await read_batches(broker, source, offset))


def records_of(batches: Collection[Batch]) -> list[Pair]:
    """The records of batches, one after the other."""
    return [pair for batch in batches for pair in batch.records]


def offsets_of(batches: Collection[Batch]) -> list[int]:
    """The offsets of :func:`records_of`."""
    return [offset for batch in batches for offset in batch.offsets]


async def committed(broker: Broker, group: str, source: TopicPartition) -> int | None:
    """The next offset that a group will read, None where it never committed."""
    return (await broker.committed(group, [source])).get(source)


class Member:
    """A member of a consumer group that notes what it is told and reads what it is given.

    ``owners`` is shared by the members of a group: who owns a partition by what it was told. ``start`` says from where each
    partition is read; without it nothing is sought.
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        group: str,
        topics: Collection[str],
        owners: dict[int, str],
        start: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        self.name = name
        self.history: list[tuple[str, tuple[int, ...]]] = []
        self.generations: list[int] = []
        self.conflicts: list[str] = []
        self.owned: set[int] = set()
        self.batches: list[Batch] = []
        self.slow_revoke = asyncio.Event()
        self.slow_revoke.set()
        self._topics = topics
        self._owners = owners
        self._start = start
        # The addresses of all, as this member was told them.
        self.addresses: dict[int, str] = {}
        self.consumer = broker.group_consumer(group, topics, self, Membership(address=f"{name}:1"))
        self._job = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            self.batches += await self.consumer.poll(_POLL_MS)

    def on_assigned(self, assignment: Assignment) -> None:
        partitions = assignment.partitions
        self.history.append(("assigned", tuple(sorted(partitions))))
        self.generations.append(assignment.generation)
        self.owned = set(partitions)
        self.addresses = dict(assignment.owners)
        for partition in partitions:
            if partition in self._owners:
                self.conflicts.append(f"{partition} was given to {self.name} and is {self._owners[partition]}'s")
            self._owners[partition] = self.name
            if self._start is not None:
                for topic in self._topics:
                    source = TopicPartition(topic, partition)
                    self.consumer.seek(source, self._start.get(source, 0))

    async def on_revoked(self, partitions: Collection[int]) -> None:
        self.history.append(("revoked", tuple(sorted(partitions))))
        await self.slow_revoke.wait()
        for partition in partitions:
            del self._owners[partition]
        self.owned = set()

    async def stop_polling(self) -> None:
        """Stands still as a process that hangs."""
        self._job.cancel()
        await asyncio.gather(self._job, return_exceptions=True)

    async def leave(self) -> None:
        """Gives up what it owns and leaves the group."""
        await self.stop_polling()
        if self.owned:
            await self.on_revoked(tuple(self.owned))
        await self.consumer.stop()
