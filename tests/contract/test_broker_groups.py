"""What a broker's consumer groups promise: each partition has one owner, who is told before and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.consuming import Member, records_of, until
from ticketmaster.broker.port import Broker, TopicPartition, TopicSpec

Join = Callable[[str], Member]


class Members:
    """A group under test."""

    def __init__(self, broker: Broker, group: str, topic: str) -> None:
        self._broker = broker
        self._group = group
        self.topic = topic
        self.owners: dict[int, str] = {}
        self.joined: list[Member] = []

    def join(self, name: str, *, start: dict[TopicPartition, int] | None = None) -> Member:
        member = Member(name, self._broker, self._group, [self.topic], self.owners, start)
        self.joined.append(member)
        return member

    async def settled(self, *members: Member) -> None:
        """Waits until these, and only these, own everything, in one generation."""

        def shared() -> bool:
            generations = {member.generations[-1] if member.generations else None for member in members}
            owned = [partition for member in members for partition in member.owned]
            return sorted(owned) == [0, 1, 2, 3] and len(generations) == 1

        await until(shared, f"{[member.name for member in members]} own all partitions")
        self.check()

    def check(self) -> None:
        assert [conflict for member in self.joined for conflict in member.conflicts] == []


@pytest.fixture
async def members(broker: Broker, group: str, topic: str) -> AsyncIterator[Members]:
    """A group without members."""
    members = Members(broker, group, topic)
    yield members
    members.check()
    for member in members.joined:
        await member.stop_polling()
    for member in members.joined:
        await member.consumer.stop()


async def test_one_member_owns_everything(members: Members) -> None:
    only = members.join("only")
    await members.settled(only)

    assert only.history == [("assigned", (0, 1, 2, 3))]


async def test_members_share_the_partitions_evenly(members: Members) -> None:
    joined = [members.join(name) for name in "abc"]
    await members.settled(*joined)

    assert sorted(len(member.owned) for member in joined) == [1, 1, 2]


async def test_members_that_exceed_the_partitions_own_nothing(members: Members) -> None:
    joined = [members.join(name) for name in "abcdef"]
    await members.settled(*joined)

    assert sorted(len(member.owned) for member in joined) == [0, 0, 1, 1, 1, 1]


async def test_a_member_that_joins_takes_over_a_share(members: Members) -> None:
    first = members.join("first")
    await members.settled(first)
    second = members.join("second")
    await members.settled(first, second)

    assert len(first.owned) == len(second.owned) == 2
    assert [what for what, _ in first.history] == ["assigned", "revoked", "assigned"]
    assert first.history[1] == ("revoked", (0, 1, 2, 3))


async def test_a_partition_is_given_on_only_when_its_owner_has_returned_from_on_revoked(members: Members) -> None:
    first = members.join("first")
    await members.settled(first)
    first.slow_revoke.clear()
    second = members.join("second")
    await until(lambda: len(first.history) == 2, "the first member is asked to give up")
    await asyncio.sleep(0.05)
    assert second.history == []

    first.slow_revoke.set()
    await members.settled(first, second)


async def test_the_partitions_of_a_member_that_stops_move(members: Members) -> None:
    first, second = members.join("first"), members.join("second")
    await members.settled(first, second)

    await second.leave()

    await members.settled(first)


async def test_the_last_member_may_leave_and_another_one_come(members: Members) -> None:
    first = members.join("first")
    await members.settled(first)
    await first.leave()
    second = members.join("second")
    await members.settled(second)

    assert second.generations[0] > first.generations[-1]


async def test_a_member_keeps_what_it_may_when_others_come_and_go(members: Members) -> None:
    first, second = members.join("first"), members.join("second")
    await members.settled(first, second)
    owned = set(first.owned)

    await second.leave()
    await members.settled(first)
    third = members.join("third")
    await members.settled(first, third)

    assert first.history[-1][1] != ()
    assert len(first.owned) == len(owned) == 2


async def test_generations_grow_and_members_alternate_between_assigned_and_revoked(members: Members) -> None:
    joined = []
    for name in "abcd":
        joined.append(members.join(name))
        await members.settled(*joined)
    while len(joined) > 1:
        await joined.pop(0).leave()
        await members.settled(*joined)

    for member in members.joined:
        assert member.generations == sorted(set(member.generations))
        owning = False
        for what, partitions in member.history:
            if what == "revoked":
                assert owning
                owning = False
            else:
                assert not owning
                owning = bool(partitions)


async def test_an_assigned_partition_delivers_nothing_before_it_is_sought(broker: Broker, members: Members) -> None:
    sources = [TopicPartition(members.topic, number) for number in range(4)]
    await broker.producer().send({source: [(b"k", b"%d" % source.partition)] for source in sources})
    member = members.join("only")
    await members.settled(member)
    await asyncio.sleep(0.05)
    assert member.batches == []

    member.consumer.seek(sources[1], 0)
    await until(lambda: bool(member.batches), "the partition that was sought is delivered")
    assert records_of(member.batches) == [(b"k", b"1")]


async def test_a_member_reads_from_where_it_seeks_and_goes_on(broker: Broker, members: Members) -> None:
    source = TopicPartition(members.topic, 3)
    await broker.producer().send({source: [(b"k", b"%d" % number) for number in range(10)]})
    member = members.join("only", start={})
    await until(lambda: len(records_of(member.batches)) == 10, "all is delivered")
    fourth = [offset for batch in member.batches for offset in batch.offsets][4]
    await member.leave()

    again = members.join("again", start={source: fourth})
    await until(lambda: len(records_of(again.batches)) == 6, "the rest is delivered")
    await broker.producer().send({source: [(b"k", b"10")]})
    await until(lambda: len(records_of(again.batches)) == 7, "what comes is delivered")
    assert records_of(again.batches) == [(b"k", b"%d" % number) for number in range(4, 11)]


async def test_a_partition_delivers_nothing_after_it_was_revoked_until_it_is_sought_again(broker: Broker, members: Members) -> None:
    first = members.join("first", start={})
    await members.settled(first)
    first._start = None  # it seeks no more
    second = members.join("second")
    await members.settled(first, second)

    await broker.producer().send({TopicPartition(members.topic, number): [(b"k", b"v")] for number in range(4)})
    await asyncio.sleep(0.05)

    assert first.batches == second.batches == []


async def test_a_seek_that_comes_after_the_partition_was_revoked_has_no_effect(broker: Broker, members: Members) -> None:
    first = members.join("first")
    await members.settled(first)
    first.slow_revoke.clear()
    second = members.join("second")
    await until(lambda: first.history[-1][0] == "revoked", "the first member is asked to give up")

    first.consumer.seek(TopicPartition(members.topic, 0), 0)
    first.slow_revoke.set()
    await members.settled(first, second)
    await broker.producer().send({TopicPartition(members.topic, number): [(b"k", b"v")] for number in range(4)})
    await asyncio.sleep(0.05)

    assert first.batches == []


async def test_a_paused_partition_is_delivered_again_after_a_seek(broker: Broker, members: Members) -> None:
    source = TopicPartition(members.topic, 0)
    member = members.join("only", start={})
    await members.settled(member)
    member.consumer.pause(source)
    await broker.producer().send({source: [(b"k", b"v")]})
    await asyncio.sleep(0.05)
    assert member.batches == []

    member.consumer.seek(source, 0)
    await until(lambda: records_of(member.batches) == [(b"k", b"v")], "the partition is delivered")


async def test_groups_do_not_disturb_each_other(broker: Broker, members: Members, group: str) -> None:
    other = Members(broker, f"{group}-other", members.topic)
    mine, theirs = members.join("mine", start={}), other.join("theirs", start={})
    await members.settled(mine)
    await other.settled(theirs)

    await broker.producer().send({TopicPartition(members.topic, 0): [(b"k", b"v")]})
    for member in (mine, theirs):
        await until(lambda member=member: records_of(member.batches) == [(b"k", b"v")], f"{member.name} reads")  # type: ignore[misc]
    await theirs.leave()


async def test_a_group_owns_the_same_partitions_of_all_its_topics(broker: Broker, topic: str, group: str) -> None:
    more = f"{topic}-more"
    await broker.create_topics([TopicSpec(more, 4)])
    sources = [TopicPartition(name, number) for name in (topic, more) for number in range(4)]
    await broker.producer().send({source: [(b"k", b"v")] for source in sources})
    owners: dict[int, str] = {}
    joined = [Member(name, broker, group, [topic, more], owners, {}) for name in "ab"]

    await until(lambda: sum(len(set(m.owned)) for m in joined) == 4 and all(len(m.owned) == 2 for m in joined), "both own a half")
    # The first member may have read all before the second one came.
    for member in joined:
        await until(
            lambda member=member: (
                {TopicPartition(name, number) for name in (topic, more) for number in member.owned}  # type: ignore[misc]
                <= {batch.source for batch in member.batches}
            ),
            f"{member.name} reads what it owns",
        )
        await member.leave()


async def test_every_member_is_told_where_the_owner_of_each_partition_is(broker: Broker, topic: str, group: str) -> None:
    owners: dict[int, str] = {}
    joined = [Member(name, broker, group, [topic], owners) for name in "ab"]

    await until(lambda: all(set(member.addresses.values()) == {"a:1", "b:1"} for member in joined), "both know of both")
    expected = {partition: f"{name}:1" for partition, name in owners.items()}
    assert [member.addresses for member in joined] == [expected, expected]
    for member in joined:
        await member.leave()
