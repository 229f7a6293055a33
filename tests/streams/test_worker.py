"""A role at work: taken over in the right order, started over after trouble, stopped without loss. All on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.consuming import committed, read_records, until
from tests.support.engine import (
    CHANGELOG,
    MORE_WORDS,
    PARTITIONS,
    SETTINGS,
    TOPOLOGY,
    WORDS,
    FragileStores,
    batch,
)
from tests.support.working import OneTask, Work, counting, on_virtual_time
from ticketmaster.broker.port import Assignment, Batch, TopicPartition
from ticketmaster.errors import Fatal, Retriable, TaskCorrupted
from ticketmaster.streams.lifecycle import PartitionState
from ticketmaster.streams.settings import StreamSettings


def test_what_comes_is_counted_committed_and_kept() -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await until(lambda: worker.ready, "ready")
        await work.send(WORDS, [b"a", b"b", b"a"])
        await work.send(MORE_WORDS, [b"a"])
        await work.counted(4)

        assert sorted(await work.counts()) == sorted(counting([b"a", b"b", b"a", b"a"]))
        assert await committed(work.broker, TOPOLOGY.application_id, WORDS) == 3
        assert await committed(work.broker, TOPOLOGY.application_id, MORE_WORDS) == 1
        await work.stop()
        assert dict(work.stores[0].items()) == dict(await read_records(work.broker, CHANGELOG)) == {b"a": b"3", b"b": b"1"}
        assert work.stores[0].checkpoint() == (await work.broker.end_offsets([CHANGELOG]))[CHANGELOG]

    on_virtual_time(test)


@pytest.mark.parametrize(("interval_max_ms", "transactions_min", "transactions_max"), [(0, 60, 200), (100, 5, 40)])
def test_under_load_the_records_of_a_transaction_gather(interval_max_ms: int, transactions_min: int, transactions_max: int) -> None:
    async def test(work: Work) -> None:
        worker = work.start(StreamSettings(commit_interval_max_ms=interval_max_ms))
        await until(lambda: worker.ready, "ready")
        for _ in range(100):
            await work.send(WORDS, [b"a"] * 100)
            await asyncio.sleep(0.01)
        await work.counted(10_000)

        sizes = [value for _, value in await read_records(work.broker, TopicPartition("sizes", 0))]
        assert transactions_min < len(sizes) < transactions_max

    on_virtual_time(test)


def test_a_partition_is_fenced_before_its_offsets_are_read_and_those_before_its_changelog() -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await until(lambda: worker.ready, "ready")

        for number in range(PARTITIONS):
            steps = [step for step, partition in work.broker.steps if partition == number]
            assert steps == ["started", "committed", "end of words", "end of counts-changelog", "end of counts-changelog"]

    on_virtual_time(test)


def test_a_worker_that_is_started_again_goes_on_where_it_stopped() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a", b"b"])
        await work.counted(2)
        await work.stop()
        await work.send(WORDS, [b"a"])
        work.stores = {number: FragileStores() for number in range(PARTITIONS)}
        work.start()
        await work.counted(3)

        assert await work.counts() == counting([b"a", b"b", b"a"])
        # Each partition by itself, in no order.
        assert sorted(work.notes.restored) == [0, 0, 0, 2]

    on_virtual_time(test)


@pytest.mark.parametrize(
    "failure", [Retriable("the broker is busy"), TaskCorrupted("a page is damaged")], ids=lambda failure: type(failure).__name__
)
def test_a_task_that_fails_starts_over_and_loses_and_repeats_nothing(failure: Exception) -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await work.send(WORDS, [b"a", b"b"])
        await work.counted(2)
        work.broker.failures = [failure, failure]
        await work.send(WORDS, [b"a", b"a"])
        await work.counted(4)

        assert await work.counts() == counting([b"a", b"b", b"a", b"a"])
        assert work.notes.restarted == [str(failure)] * 2
        assert worker.ready

    on_virtual_time(test)


def test_a_task_that_waits_to_start_over_is_not_ready_and_is_stopped_cleanly() -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        work.broker.failures = [Retriable("the broker is busy")]
        await work.send(WORDS, [b"a"])
        await until(lambda: bool(work.notes.restarted), "the task fails")
        assert not worker.ready
        await until(lambda: work.stores[0].opened == 0, "it has let go of its store")
        assert not worker.ready

        await work.stop()
        assert work.stores[0].opened == 0

    on_virtual_time(test)


def test_a_damaged_store_is_cleared_and_restored_from_the_changelog() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a", b"b"])
        await work.counted(2)
        await work.stop()
        work.start()
        await until(lambda: len(work.notes.restored) == 2 * PARTITIONS, "the second worker has its partitions")
        work.stores[0].damaged = True
        await work.send(WORDS, [b"b"])
        await work.counted(3)

        assert await work.counts() == counting([b"a", b"b", b"b"])
        assert work.notes.restarted == ["the store is damaged"]
        assert work.stores[0].cleared >= 1
        assert not work.stores[0].damaged

    on_virtual_time(test)


def test_a_task_that_was_taken_over_closes_and_leaves_the_others_alone() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        # Another process takes over partition 0 without the group.
        thief = work.broker.transactional_producer("counting-0")
        await thief.start()
        await work.send(WORDS, [b"a"])
        await work.send(TopicPartition("words", 1), [b"b"])
        await work.counted(1, partition=1)
        await until(lambda: bool(work.notes.migrated), "the task is told")

        assert await work.counts() == counting([b"a"])
        assert (work.stores[0].opened, work.stores[1].opened) == (0, 1)
        assert work.notes.restarted == []
        assert not work.jobs[0].done()

    on_virtual_time(test)


@pytest.mark.parametrize("key", [b"fail", b"fatal"])
def test_a_defect_or_a_fatal_error_ends_the_worker_and_closes_its_stores(key: bytes) -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        if key == b"fatal":
            work.broker.failures = [Fatal("the disk is full")]
        await work.send(WORDS, [key])

        with pytest.raises(RuntimeError if key == b"fail" else Fatal):
            await asyncio.wait_for(work.jobs[0], 10)
        assert dict(work.stores[0].items()) == {b"a": b"1"}

    on_virtual_time(test)


def test_a_worker_that_joins_takes_over_a_partition_without_loss() -> None:
    async def test(work: Work) -> None:
        work.start()
        sent = {0: [b"a", b"b"] * 30, 1: [b"c"] * 60}
        for number in range(30):
            for partition, keys in sent.items():
                await work.send(TopicPartition("words", partition), keys[2 * number : 2 * number + 2])
            if number == 10:
                work.start()
            if number == 20:
                await work.stop(work.jobs[0])
        for partition, keys in sent.items():
            await work.counted(60, partition)
            assert await work.counts(partition) == counting(keys)
        assert [len(partitions) for partitions in work.notes.assigned] == [2, 1, 1, 2]
        # What comes straight back is kept: nothing is restored but what is new to a worker.
        assert len(work.notes.restored) == 2 + 1 + 1

    on_virtual_time(test)


def test_a_partition_that_somebody_else_may_have_had_meanwhile_is_restored_again() -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await work.send(TopicPartition("words", 0), [b"a"])
        await work.counted(1)
        (owned,) = work.notes.assigned
        restored = len(work.notes.restored)

        await worker.member.on_revoked(owned)
        # The group has had a generation without this worker.
        worker.member.on_assigned(Assignment(owned, 10, {}))
        await until(lambda: len(work.notes.restored) == restored + len(owned), "all are restored")

    on_virtual_time(test)


def test_a_partition_is_given_up_only_when_its_commit_has_ended() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        work.broker.gate.clear()
        await work.send(WORDS, [b"a"])
        await asyncio.sleep(1)
        # More than may be queued, and all of the next transaction: the partition is paused, and goes on just when it is given up.
        await work.send(WORDS, [b"a"] * 11)
        await asyncio.sleep(1)
        work.start()
        await asyncio.sleep(10)
        assert work.notes.assigned == [(0, 1)]

        work.broker.gate.set()
        await work.counted(13)
        assert await work.counts() == counting([b"a"] * 13)
        assert [len(partitions) for partitions in work.notes.assigned] == [2, 1, 1]
        assert not any(job.done() for job in work.jobs), [job.exception() for job in work.jobs if job.done()]

    on_virtual_time(test)


def test_a_worker_that_is_stopped_while_it_gives_up_a_partition_leaves_nothing_running() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        work.broker.gate.clear()
        await work.send(WORDS, [b"a"])
        await asyncio.sleep(1)
        work.start()
        await asyncio.sleep(1)
        # The first worker is asked to give up, and waits for its commit: now it is told to stop.
        stopping = asyncio.create_task(work.stop(work.jobs[0]))
        await asyncio.sleep(1)
        work.broker.gate.set()
        await stopping
        await work.counted(2)

        assert await work.counts() == counting([b"a"] * 2)

    on_virtual_time(test)


def test_a_partition_is_paused_when_too_much_is_queued_and_goes_on_when_it_is_worked_off() -> None:
    async def test(work: Work) -> None:
        one = OneTask(work)
        await one.running()
        assert one.consumer.sought == [(WORDS, 0), (MORE_WORDS, 0)]
        one.consumer.sought.clear()
        work.broker.gate.clear()
        # Ten may wait. The two that come on the heels of the one too many were fetched already: they are taken as well.
        for offset in range(0, 18, 3):
            one.runner.deliver(batch(WORDS, [b"a"] * 3, offset))
        one.runner.deliver(batch(MORE_WORDS, [b"b"], 0))
        await asyncio.sleep(1)
        assert set(one.consumer.paused) == {WORDS, MORE_WORDS}
        assert one.consumer.sought == []

        work.broker.gate.set()
        await work.counted(19)
        assert sorted(one.consumer.sought) == [(MORE_WORDS, 1), (WORDS, 18)]
        assert len(work.broker.commits) > 2
        one.consumer.paused.clear()
        one.runner.deliver(batch(WORDS, [b"a"] * 3, 18))
        await work.counted(22)
        assert one.consumer.paused == []
        assert await work.counts() == counting([b"a"] * 18 + [b"b"] + [b"a"] * 3)
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_a_partition_that_was_paused_goes_on_behind_markers_that_came_with_what_was_fetched() -> None:
    async def test(work: Work) -> None:
        await work.send(WORDS, [b"a"] * 13)
        one = OneTask(work)
        await one.running()
        one.consumer.sought.clear()
        work.broker.gate.clear()
        one.runner.deliver(batch(WORDS, [b"a"] * 11, 0))
        assert one.consumer.paused == [WORDS]
        one.runner.deliver(Batch(WORDS, [], [], 12, 0, follows=11))
        work.broker.gate.set()
        await work.counted(11)
        await asyncio.sleep(1)
        assert one.consumer.sought == [(WORDS, 12)]

        one.runner.deliver(batch(WORDS, [b"a"], 12))
        await work.counted(12)
        assert (work.notes.dropped, await committed(work.broker, TOPOLOGY.application_id, WORDS)) == (0, 13)
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_what_is_delivered_before_a_task_runs_is_not_taken() -> None:
    async def test(work: Work) -> None:
        one = OneTask(work)
        one.runner.deliver(batch(WORDS, [b"a"]))
        await one.running()
        await asyncio.sleep(1)
        assert await work.counts() == []
        await one.runner.stop(one.job)
        one.runner.deliver(batch(WORDS, [b"a"]))

        assert one.runner.state is PartitionState.CLOSED
        assert one.runner.task.queued_records == 0

    on_virtual_time(test)


def test_a_task_that_starts_over_seeks_what_was_committed() -> None:
    async def test(work: Work) -> None:
        await work.send(WORDS, [b"a"] * 6)
        one = OneTask(work)
        await one.running()
        one.runner.deliver(batch(WORDS, [b"a"] * 3, 0))
        await work.counted(3)
        work.broker.failures = [Retriable("the broker is busy")]
        one.consumer.sought.clear()
        one.runner.deliver(batch(WORDS, [b"a"] * 3, 3))
        await until(lambda: bool(one.consumer.sought), "the task seeks")

        assert one.consumer.sought == [(WORDS, 3), (MORE_WORDS, 0)]
        assert one.runner.task.queued_records == 0
        one.runner.deliver(batch(WORDS, [b"a"] * 3, 3))
        await work.counted(6)
        assert await work.counts() == counting([b"a"] * 6)
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_a_store_leaves_out_a_value_only_when_the_one_that_supersedes_it_is_durable() -> None:
    async def test(work: Work) -> None:
        work.start()
        for number, word in enumerate((b"a", b"b")):
            await work.send(WORDS, [word])
            await work.counted(number + 1)
            await asyncio.sleep(SETTINGS.write_behind_interval_ms / 1000)
        work.broker.storage.gate.clear()
        sending = asyncio.create_task(work.send(WORDS, [b"a"]))
        await asyncio.sleep(1)

        # The second a is counted, and the store is due. Were the power lost now, a restoration would find the first one only.
        assert work.broker.commits[-1] == {WORDS: 3}
        assert dict(work.stores[0].items()) == dict((await read_records(work.broker, CHANGELOG))[: work.stores[0].checkpoint() or 0])
        work.broker.storage.gate.set()
        await sending
        await until(lambda: bool(work.stores[0].writes), "the store is written")
        assert (dict(work.stores[0].items()), work.stores[0].checkpoint()) == ({b"b": b"1"}, 2)

    on_virtual_time(test)


def test_the_store_is_written_behind_in_bulk_and_never_ahead_of_the_log() -> None:
    async def test(work: Work) -> None:
        work.start()
        for number in range(200):
            await work.send(WORDS, [b"%d" % number])
            await work.counted(number + 1)
            end = (await work.broker.end_offsets([CHANGELOG]))[CHANGELOG]
            assert (work.stores[0].checkpoint() or 0) <= end

        # Two seconds and more have passed: some writes, not one for each transaction.
        assert 1 <= len(work.stores[0].writes) < 20

    on_virtual_time(test)
