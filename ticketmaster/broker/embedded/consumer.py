"""Reading the embedded broker: a reader of given partitions, and a member of a consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Protocol

from ticketmaster.broker.embedded.groups import Group
from ticketmaster.broker.port import Assignment, Batch, Membership, RebalanceListener, TopicPartition

_REJOIN_TIMEOUT_S = 60.0
# What a poll delivers is worked on in one go by whoever polls.
_POLL_BYTES_MAX = 1 << 20


class Readable(Protocol):
    """What a consumer needs of the broker."""

    def read(self, source: TopicPartition, offset: int, bytes_max: int, *, ahead: bool) -> tuple[list[Batch], int]:
        """(batches from ``offset`` on, their bytes), up to about ``bytes_max``; only durable ones, or ``ahead``."""

    def end(self, source: TopicPartition, *, ahead: bool) -> int:
        """Behind the last durable record, or behind the last one."""

    def raise_if_failed(self) -> None:
        """Fatal: the log is gone."""

    def add_reader(self, reader: Reader) -> None:
        """A reader wants to be woken when there is something new."""

    def remove_reader(self, reader: Reader) -> None:
        """A reader is gone."""

    def group(self, name: str, topics: Collection[str]) -> Group:
        """A consumer group."""


class Reader:
    """Reads given partitions, each from its position on."""

    def __init__(self, broker: Readable, positions: Mapping[TopicPartition, int], *, ahead: bool = False) -> None:
        """``ahead``: records that are not durable yet are delivered, too."""
        self._broker = broker
        self.ahead = ahead
        self.positions = dict(positions)
        # Where those go on that deliver nothing for a while.
        self._paused: dict[TopicPartition, int] = {}
        self._wake = asyncio.Event()
        broker.add_reader(self)

    def wake(self) -> None:
        """There may be something to read."""
        self._wake.set()

    async def poll(self, timeout_ms: int) -> list[Batch]:
        # A turn for all others, for there may be something at each poll for a long time. And before the fetch: nothing is awaited
        # between that and its delivery.
        await asyncio.sleep(0)
        found = self._fetch()
        if not found:
            await self._wait(timeout_ms / 1000)
            found = self._fetch()
        return found

    def _fetch(self) -> list[Batch]:
        self._broker.raise_if_failed()
        found: list[Batch] = []
        positions, left, last = self.positions, _POLL_BYTES_MAX, None
        for source, position in positions.items():
            follows = position
            batches, size = self._broker.read(source, position, left, ahead=self.ahead)
            for batch in batches:
                found.append(batch._replace(follows=follows))
                follows = batch.next_offset
            positions[source] = follows
            left -= size
            if left <= 0:
                last = source
                break
        if last:
            # The next poll asks it behind all others.
            positions[last] = positions.pop(last)
        return found

    async def _wait(self, timeout_s: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    def seek(self, source: TopicPartition, offset: int) -> None:
        self.positions[source] = offset
        self._paused.pop(source, None)
        self._wake.set()

    def pause(self, source: TopicPartition) -> None:
        if source in self.positions:
            self._paused[source] = self.positions.pop(source)

    def behind(self, source: TopicPartition) -> int:
        position = self.positions.get(source, self._paused.get(source))
        return 0 if position is None else self._broker.end(source, ahead=self.ahead) - position

    async def stop(self) -> None:
        self._broker.remove_reader(self)


class GroupMember(Reader):
    """Reads the partitions that its group assigns to it, once the owner says from where."""

    def __init__(
        self,
        broker: Readable,
        name: str,
        group: str,
        topics: Collection[str],
        listener: RebalanceListener,
        membership: Membership,
        *,
        ahead: bool,
    ) -> None:
        super().__init__(broker, {}, ahead=ahead)
        self._name = name
        self._group = broker.group(group, topics)
        self._topics = topics
        self._listener = listener
        self._address = membership.address
        self._owned: set[int] = set()
        self._generation = -1

    async def poll(self, timeout_ms: int) -> list[Batch]:
        self._broker.raise_if_failed()
        group = self._group
        if not group.has(self._name) or group.must_rejoin(self._name):
            await self._give_up()
            # That may have taken so long that the group has gone on without it.
            if not group.has(self._name):
                group.add(self._name, self.wake, self._address)
            asyncio.get_running_loop().call_later(_REJOIN_TIMEOUT_S, self._expel_the_missing, group.generation)
            group.rejoin(self._name)
        assigned = group.assigned(self._name)
        if assigned is None:
            await self._wait(timeout_ms / 1000)
            # While a rebalance goes on nothing is fetched, which would find that out.
            self._broker.raise_if_failed()
            return []
        if self._generation != group.generation:
            self._generation = group.generation
            self._owned = set(assigned)
            self._listener.on_assigned(Assignment(sorted(assigned), group.generation, group.owners))
            # At once: the listener's owner has partitions to open.
            return []
        return await super().poll(timeout_ms)

    async def _give_up(self) -> None:
        if self._owned:
            self.positions.clear()
            self._paused.clear()
            owned, self._owned = self._owned, set()
            await self._listener.on_revoked(sorted(owned))

    def _expel_the_missing(self, generation: int) -> None:
        if self._group.generation == generation:
            self._group.expel_the_missing()

    def expel(self) -> None:
        """The group goes on without this member, as it does without one whose heartbeats stop."""
        self._group.remove(self._name)

    def seek(self, source: TopicPartition, offset: int) -> None:
        if source.partition in self._owned:
            super().seek(source, offset)

    async def stop(self) -> None:
        await super().stop()
        self._group.remove(self._name)
