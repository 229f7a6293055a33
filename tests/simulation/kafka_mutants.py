"""Bugs of the adapter of Kafka, to be planted."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from typing import Any

from aiokafka.errors import KafkaError

from tests.simulation import role_mutants
from tests.simulation.planting import Mutants, replaced
from ticketmaster.broker.kafka import assignor, consumer, private
from ticketmaster.broker.kafka import protocol as requests
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.consumer import KafkaGroupMember
from ticketmaster.broker.kafka.protocol import Written
from ticketmaster.broker.kafka.transactions import KafkaTransactionalProducer
from ticketmaster.broker.port import Assignment, Batch, Membership, RebalanceListener, TopicPartition
from ticketmaster.errors import Retriable
from ticketmaster.streams.following import Following
from ticketmaster.streams.member import Member
from ticketmaster.streams.runner import TaskRunner
from ticketmaster.ticket.commands import Commands
from ticketmaster.wire import topics

MUTANTS = Mutants()
mutant = MUTANTS.add
# The kinds of faults that show a bug best, where not all of them are wanted.
SHOWN_BY = {
    "an end that is not answered is taken as done": ("brokers", "connections", "network"),
    "offsets are asked for without a write in front": ("brokers", "connections", "power"),
    "whoever claims to lead is asked where changelogs end": ("deposed", "processes"),
    "what is revoked is not awaited": ("rebalances", "clocks"),
    "a stale batch is worked off": ("rebalances", "foreign"),
    "nobody remembers who holds a seat": ("offsets",),
    "a note that can't be written keeps a member from its partitions": ("rebalances", "disks"),
    "one partition that can't be written fails all": ("replicas",),
    "holds begin by the clocks of hosts": ("clocks",),
}
# Faults that were found by reading, or on a real broker, before the simulator had a Kafka.
FOUND = Mutants()
found = FOUND.add

# Transactions.


@mutant("each producer has a transactional id of its own")
def _no_fencing() -> AbstractContextManager[Any]:
    create, numbers = KafkaBroker.transactional_producer, count()
    return replaced(KafkaBroker, "transactional_producer", lambda self, name: create(self, f"{name}-{next(numbers)}"))


@mutant("offsets are committed in a transaction of their own")
def _offsets_outside() -> AbstractContextManager[Any]:
    commit = KafkaTransactionalProducer.commit

    async def commit_twice(self: Any, outputs: Any, offsets: Any, group: str, *more: Any) -> Any:
        ends = await commit(self, outputs, {}, group, *more)
        await commit(self, {}, offsets, group)
        return ends

    return replaced(KafkaTransactionalProducer, "commit", commit_twice)


@mutant("a batch that was refused is taken as written")
def _refusal_ignored() -> AbstractContextManager[Any]:
    written = requests.written

    def always_written(answer: Any) -> dict[TopicPartition, Written]:
        return {source: outcome._replace(code=0) for source, outcome in written(answer).items()}

    return replaced(requests, "written", always_written)


@mutant("a transaction is committed before its records are acknowledged")
def _not_awaited() -> AbstractContextManager[Any]:
    write = KafkaTransactionalProducer._write

    async def write_beside(self: Any, batches: Any) -> dict[TopicPartition, int]:
        job = asyncio.ensure_future(write(self, batches))
        await asyncio.wait({job}, timeout=0.01)
        return job.result() if job.done() else {}

    return replaced(KafkaTransactionalProducer, "_write", write_beside)


@mutant("an end that is not answered is taken as done")
def _unanswered_end() -> AbstractContextManager[Any]:
    end = KafkaTransactionalProducer._end

    async def end_anyway(self: Any, *, commits: bool) -> None:
        with suppress(KafkaError):
            await end(self, commits=commits)

    return replaced(KafkaTransactionalProducer, "_end", end_anyway)


@mutant("what was written to ask for offsets is committed")
def _asked_for_good() -> AbstractContextManager[Any]:
    end = KafkaTransactionalProducer._end

    async def end_well(self: Any, *, commits: bool) -> None:
        await end(self, commits=True)

    return replaced(KafkaTransactionalProducer, "_end", end_well)


@mutant("offsets are asked for without a write in front")
def _asked_too_early() -> AbstractContextManager[Any]:
    async def committed(self: Any, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        async with self._in_transaction():
            offsets: dict[TopicPartition, int] | None = None
            attempt = 0
            while offsets is None:
                await self._coordinator(self._group(group))
                offsets = await self._offsets(group, sources, attempt)
                attempt += 1
        return offsets

    return replaced(KafkaTransactionalProducer, "committed", committed)


@mutant("whoever claims to lead is asked where changelogs end")
def _ends_by_hearsay() -> AbstractContextManager[Any]:
    async def nothing_known(_: Any, _logs: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {}

    return replaced(KafkaTransactionalProducer, "ends_of", nothing_known)


@mutant("a log is said to end behind its records")
def _ends_late() -> AbstractContextManager[Any]:
    write = KafkaTransactionalProducer._write

    async def write_more(self: Any, batches: Any) -> dict[TopicPartition, int]:
        # The marker stands behind the records: it takes two to miss one.
        return {source: end + 2 for source, end in (await write(self, batches)).items()}

    return replaced(KafkaTransactionalProducer, "_write", write_more)


# Reading.


@mutant("what was not committed is read")
def _uncommitted() -> AbstractContextManager[Any]:
    create = consumer.new_consumer
    return replaced(consumer, "new_consumer", lambda settings, **how: create(settings, **how, isolation_level="read_uncommitted"))


@mutant("the end of a log is found too early")
def _high_water_off() -> AbstractContextManager[Any]:
    end_offsets = KafkaBroker.end_offsets

    async def too_early(self: KafkaBroker, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {source: max(end - 3, 0) for source, end in (await end_offsets(self, sources)).items()}

    return replaced(KafkaBroker, "end_offsets", too_early)


@mutant("a reader begins a record too late")
def _sought_too_far() -> AbstractContextManager[Any]:
    seek = KafkaGroupMember.seek
    return replaced(KafkaGroupMember, "seek", lambda self, source, offset: seek(self, source, offset + (offset > 0)))


@mutant("topics are created by asking for them")
def _created_by_asking() -> AbstractContextManager[Any]:
    return replaced(private, "MetadataRequest", type(None))


# The group.


@mutant("the assignor gives one partition to all")
def _assigned_to_all() -> AbstractContextManager[Any]:
    assign = assignor.assign

    def assign_to_all(partitions: int, claims: Any) -> dict[str, list[int]]:
        return {member: sorted({0, *owned}) for member, owned in assign(partitions, claims).items()}

    @contextmanager
    def both() -> Iterator[None]:
        # Fencing would hide it: whoever is fenced begins anew, and fences the other one.
        with replaced(assignor, "assign", assign_to_all), _no_fencing():
            yield

    return both()


@mutant("the assignor forgets a partition")
def _never_assigned() -> AbstractContextManager[Any]:
    assign = assignor.assign

    def assign_fewer(partitions: int, claims: Any) -> dict[str, list[int]]:
        return {member: owned if len(claims) == 1 else owned[:-1] for member, owned in assign(partitions, claims).items()}

    return replaced(assignor, "assign", assign_fewer)


@mutant("whatever comes back is taken for what comes straight back")
def _always_straight_back() -> AbstractContextManager[Any]:
    on_assigned = Member.on_assigned

    def straight_back(self: Member[Any], assignment: Assignment) -> None:
        self._generation = assignment.generation - 1
        on_assigned(self, assignment)

    @contextmanager
    def both() -> Iterator[None]:
        with replaced(Member, "on_assigned", straight_back), _no_fencing():
            yield

    return both()


@mutant("a task that comes straight back does not seek")
def _no_seek() -> AbstractContextManager[Any]:
    def resume(self: TaskRunner) -> None:
        self._assigned.set()

    return replaced(TaskRunner, "resume", resume)


@mutant("what is revoked is not awaited")
def _revoked_beside() -> AbstractContextManager[Any]:
    on_revoked, jobs = KafkaGroupMember.on_partitions_revoked, set[Any]()

    async def revoke_beside(self: KafkaGroupMember, revoked: Collection[object]) -> None:
        jobs.add(asyncio.ensure_future(on_revoked(self, revoked)))

    return replaced(KafkaGroupMember, "on_partitions_revoked", revoke_beside)


@mutant("a member does not hear of what it is given")
def _not_told() -> AbstractContextManager[Any]:
    on_assigned, told = KafkaGroupMember.on_partitions_assigned, [0]

    def sometimes(self: KafkaGroupMember, assigned: Collection[Any]) -> None:
        told[0] += 1
        if told[0] % 7:
            on_assigned(self, assigned)

    return replaced(KafkaGroupMember, "on_partitions_assigned", sometimes)


# What was found without the simulator.


class _Late:
    """A consumer that hands over late what it has fetched, as one does that asks for a schema first."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    async def poll(self, timeout_ms: int) -> list[Batch]:
        batches: list[Batch] = await self._consumer.poll(timeout_ms)
        if any(batch.offsets[0] % 5 == 0 for batch in batches if batch.records):
            await asyncio.sleep(1.0)
        return batches


@found("a stale batch is worked off")
def _stale() -> AbstractContextManager[Any]:
    group_consumer = KafkaBroker.group_consumer

    @contextmanager
    def both() -> Iterator[None]:
        late = replaced(KafkaBroker, "group_consumer", lambda *how, **more: _Late(group_consumer(*how, **more)))
        with late, replaced(Following, "takes", lambda *_: True):
            yield

    return both()


@found("nobody remembers who holds a seat")
def _no_holder() -> AbstractContextManager[Any]:
    return role_mutants.MUTANTS["nobody knows who holds a seat"]()


@found("a note that can't be written keeps a member from its partitions")
def _note_swallowed() -> AbstractContextManager[Any]:
    group_consumer = KafkaBroker.group_consumer

    def deaf(
        self: KafkaBroker, group: str, topics: Collection[str], listener: RebalanceListener, membership: Membership, **more: Any
    ) -> Any:
        failed = [False]

        def on_joined(member_id: str) -> None:
            failed[0] = False
            try:
                if membership.on_joined:
                    membership.on_joined(member_id)
            except OSError:
                failed[0] = True

        class Listener:
            on_revoked = listener.on_revoked

            def on_assigned(self, assignment: Assignment) -> None:
                if not failed[0]:
                    listener.on_assigned(assignment)

        return group_consumer(self, group, topics, Listener(), membership._replace(on_joined=on_joined), **more)

    return replaced(KafkaBroker, "group_consumer", deaf)


@found("one partition that can't be written fails all")
def _all_fail() -> AbstractContextManager[Any]:
    send, failed_at_s = Commands._send, [-1.0]

    async def send_all_or_none(self: Commands, source: TopicPartition, gathered: Any) -> dict[TopicPartition, Any]:
        failures = await send(self, source, gathered)
        now_s = asyncio.get_running_loop().time()
        if failures:
            failed_at_s[0] = now_s
        elif 0 <= now_s - failed_at_s[0] < 5:
            failures = {source: Retriable("another partition was not acknowledged")}
        return failures

    return replaced(Commands, "_send", send_all_or_none)


@found("holds begin by the clocks of hosts")
def _many_clocks() -> AbstractContextManager[Any]:
    payments = topics.CHANGE_RESERVATION
    return replaced(topics, "ALL_TOPICS", tuple(topic._replace(timed_by_log=topic == payments) for topic in topics.ALL_TOPICS))
