"""The assignment is sticky and even, and a group at rest is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.groups import assign
from ticketmaster.broker.embedded.storage import MemoryStorage
from ticketmaster.broker.port import Assignment, Consumer, TopicSpec
from ticketmaster.simulation.loop import VirtualClock, run_virtual

_CHANGES = st.lists(st.sets(st.sampled_from([f"member-{letter}" for letter in "abcdefgh"]), min_size=1), min_size=1, max_size=6)


@given(partitions=st.integers(1, 40), changes=_CHANGES)
def test_an_assignment_is_complete_even_and_moves_no_more_than_it_must(partitions: int, changes: list[set[str]]) -> None:
    owned: dict[str, set[int]] = {}
    for members in changes:
        before = {member: owned.get(member, set()) for member in sorted(members)}
        after = assign(partitions, before)

        assert sorted(partition for mine in after.values() for partition in mine) == list(range(partitions))
        sizes = [len(mine) for mine in after.values()]
        assert max(sizes) - min(sizes) <= 1
        # What can be kept at most: everybody its share, and as many as shares are one larger one more.
        share, more = divmod(partitions, len(members))
        can_stay = sum(min(len(mine), share) for mine in before.values())
        can_stay += min(more, sum(len(mine) > share for mine in before.values()))
        assert sum(len(after[member] & mine) for member, mine in before.items()) == can_stay
        owned = after


class Owner:
    """A member that notes when it was told what."""

    def __init__(self, broker: EmbeddedBroker, *, revoke_s: float = 0.0) -> None:
        self.history: list[tuple[float, str, int]] = []
        self.generations: list[int] = []
        self._revoke_s = revoke_s
        self.consumer: Consumer = broker.group_consumer("group", ["t"], self)
        self.job = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            await self.consumer.poll(500)

    def on_assigned(self, assignment: Assignment) -> None:
        self.history.append((asyncio.get_running_loop().time(), "assigned", len(assignment.partitions)))
        self.generations.append(assignment.generation)

    async def on_revoked(self, partitions: Collection[int]) -> None:
        self.history.append((asyncio.get_running_loop().time(), "revoked", len(partitions)))
        await asyncio.sleep(self._revoke_s)

    async def stop(self) -> None:
        self.job.cancel()
        await asyncio.gather(self.job, return_exceptions=True)
        await self.consumer.stop()


async def started() -> EmbeddedBroker:
    broker = EmbeddedBroker(MemoryStorage(), VirtualClock())
    await broker.start()
    await broker.create_topics([TopicSpec("t", 4)])
    return broker


def test_a_group_at_rest_is_left_alone() -> None:
    async def run() -> None:
        broker = await started()
        members = [Owner(broker), Owner(broker)]
        await asyncio.sleep(10)
        history = [list(member.history) for member in members]
        await asyncio.sleep(3_600)

        assert [member.history for member in members] == history
        for member in members:
            await member.stop()
        await broker.close()

    run_virtual(run())


def test_a_member_that_hangs_is_thrown_out_after_a_minute_and_may_come_back() -> None:
    async def run() -> None:
        broker = await started()
        hanging = Owner(broker, revoke_s=200)
        await asyncio.sleep(1)
        other = Owner(broker)
        await asyncio.sleep(58)
        assert other.history == []
        await asyncio.sleep(3)
        assert [what[1:] for what in other.history] == [("assigned", 4)]

        await asyncio.sleep(200)
        assert not hanging.job.done(), hanging.job.exception()
        assert [what[1:] for what in hanging.history] == [("assigned", 4), ("revoked", 4), ("assigned", 2)]
        assert hanging.generations[-1] == other.generations[-1]
        for member in (hanging, other):
            assert all(one < next_one for one, next_one in pairwise(member.generations))
            await member.stop()
        await broker.close()

    run_virtual(run())
