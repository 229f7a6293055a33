"""A role at work when it is given too much, too little or nothing it can write. All on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tests.support.consuming import committed, read_records, until
from tests.support.engine import (
    CHANGELOG,
    MORE_WORDS,
    TOPOLOGY,
    WORDS,
    batch,
)
from tests.support.working import OneTask, Work, counting, on_virtual_time
from ticketmaster.broker.port import TopicPartition
from ticketmaster.errors import Fatal, Retriable, TaskCorrupted
from ticketmaster.state.port import StateTable, Steps, Update
from ticketmaster.streams.topology import Look

# What a consumer delivers that it should not.


def test_what_was_fetched_before_a_partition_came_back_is_dropped() -> None:
    async def test(work: Work) -> None:
        await work.send(WORDS, [b"a"] * 6)
        one = OneTask(work)
        await one.running()
        one.runner.deliver(batch(WORDS, [b"a"] * 3, 0))
        await work.counted(3)
        stale = batch(WORDS, [b"a"] * 3, 3)
        await one.runner.suspend()
        one.runner.deliver(stale)
        one.runner.resume()
        # The same again, as it is fetched after the seek; then what was fetched before comes late.
        one.runner.deliver(batch(WORDS, [b"a"] * 3, 3))
        one.runner.deliver(stale)
        one.runner.deliver(batch(WORDS, [b"a"] * 2, 0))
        await work.counted(6)
        await asyncio.sleep(1)

        assert await work.counts() == counting([b"a"] * 6)
        assert work.notes.dropped == 3 + 2
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_what_comes_too_early_is_dropped_and_what_should_come_is_sought() -> None:
    async def test(work: Work) -> None:
        await work.send(WORDS, [b"%d" % number for number in range(9)])
        one = OneTask(work)
        await one.running()
        one.consumer.sought.clear()
        one.runner.deliver(batch(WORDS, [b"6", b"7", b"8"], 6))
        assert one.consumer.sought == [(WORDS, 0)]
        one.runner.deliver(batch(WORDS, [b"%d" % number for number in range(6)], 0))
        one.runner.deliver(batch(WORDS, [b"6", b"7", b"8"], 6))
        await work.counted(9)

        assert [key for key, _ in await work.counts()] == [b"%d" % number for number in range(9)]
        assert (work.notes.dropped, work.notes.restarted) == (3, [])
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_a_task_whose_next_records_the_log_has_no_more_starts_over_and_tells_how_many_are_lost() -> None:
    async def test(work: Work) -> None:
        await work.send(WORDS, [b"a"])
        one = OneTask(work)
        await one.running()
        one.runner.deliver(batch(WORDS, [b"a"], 0))
        await work.counted(1)
        await work.send(WORDS, [b"lost", b"lost", b"b"])
        work.broker.starts[WORDS] = 3
        for _ in range(2):
            one.runner.deliver(batch(WORDS, [b"b"], 3))
        await until(lambda: bool(work.notes.lost), "the task has seen it")
        await until(lambda: one.runner.serving, "it goes on")
        one.runner.deliver(batch(WORDS, [b"b"], 3))
        await work.counted(2)

        assert work.notes.lost == [("words", 2)]
        assert await work.counts() == counting([b"a", b"b"])
        assert await committed(work.broker, TOPOLOGY.application_id, WORDS) == 4
        await one.runner.stop(one.job)

    on_virtual_time(test)


# What a group has forgotten.


def test_a_task_with_state_whose_group_has_no_offsets_says_so_and_reads_again() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        await work.stop()
        work.broker.forget_offsets()
        work.start()
        await work.counted(2)

        assert work.notes.repeated == ["words-0 from 0"]

    on_virtual_time(test)


def test_a_task_without_state_begins_without_a_word_and_one_that_read_nothing_of_a_source_has_its_offset() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        # Committed with the first transaction, so that to have none means that it was lost.
        assert await committed(work.broker, TOPOLOGY.application_id, MORE_WORDS) == 0
        await work.send(MORE_WORDS, [b"a"])
        await work.stop()
        work.start()
        await work.counted(2)

        assert (work.notes.repeated, work.notes.lost) == ([], [])

    on_virtual_time(test)


def against(_tables: Mapping[str, StateTable], topics: Sequence[str]) -> Look:
    yield
    return f"not {topics}: run `mend`"


def test_a_task_whose_records_must_not_be_read_again_ends_with_what_mends_it() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        await work.stop()
        work.broker.forget_offsets()
        work.topology = replace(TOPOLOGY, against_repeating=against)
        work.start()

        with pytest.raises(Fatal, match=r"counting-0 has state, but .* words-0 from 0: not \['words'\]: run `mend`"):
            await asyncio.wait_for(work.jobs[1], 10)
        assert await work.counts() == counting([b"a"])

    on_virtual_time(test)


def test_an_offset_behind_the_end_of_a_log_that_was_made_anew_is_none() -> None:
    async def test(work: Work) -> None:
        work.broker._consumed[WORDS][TOPOLOGY.application_id] = 7
        await work.send(WORDS, [b"a"])
        work.start()
        await work.counted(1)

        assert await work.counts() == counting([b"a"])

    on_virtual_time(test)


def test_a_log_that_is_said_to_end_before_what_is_committed_is_not_taken_for_a_new_one() -> None:
    async def test(work: Work) -> None:
        work.start()
        await work.send(WORDS, [b"a", b"b"])
        await work.counted(2)
        await work.stop()
        work.broker.ends = {WORDS: 1}
        await work.send(WORDS, [b"a"])
        work.start()
        await asyncio.sleep(10)
        assert (await work.counts(), work.notes.repeated) == (counting([b"a", b"b"]), [])

        work.broker.ends.clear()
        await work.counted(3)
        assert (await work.counts(), work.notes.repeated) == (counting([b"a", b"b", b"a"]), [])

    on_virtual_time(test)


# Trouble while letting go, and while taking over.


@pytest.mark.parametrize("failure", [TaskCorrupted("a page is damaged"), Fatal("the disk is full")])
def test_a_store_that_cant_be_written_when_a_task_starts_over_is_restored_and_ends_nothing(failure: Exception) -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        writing = work.stores[0].writing

        def refuse(_: object) -> None:
            work.stores[0].writing = writing  # type: ignore[method-assign]
            raise failure

        work.stores[0].writing = refuse  # type: ignore[method-assign, assignment]
        work.broker.failures = [Retriable("the outcome is unknown")]
        await work.send(WORDS, [b"a"])
        await work.counted(2)

        assert not work.jobs[0].done()
        assert worker.ready
        assert work.notes.not_written == [str(failure)]
        assert await work.counts() == counting([b"a", b"a"])

    on_virtual_time(test)


def test_a_task_that_is_closed_stops_its_producer_whatever_its_store_does() -> None:
    async def test(work: Work) -> None:
        def refuse(_: object) -> None:
            raise TaskCorrupted("a page is damaged")

        one = OneTask(work)
        await one.running()
        await work.send(WORDS, [b"a"])
        one.runner.deliver(batch(WORDS, [b"a"], 0))
        await work.counted(1)
        work.stores[0].writing = refuse  # type: ignore[method-assign, assignment]
        await one.runner.stop(one.job)

        assert work.broker.steps[-1] == ("stopped", 0)

    on_virtual_time(test)


def test_a_task_that_is_suspended_while_it_takes_over_does_not_fence_its_successor() -> None:
    async def test(work: Work) -> None:
        await work.send(WORDS, [b"a"])
        one = OneTask(work)
        await one.running()
        work.broker.failures, work.broker.slow_stop = [Retriable("the outcome is unknown")], True
        one.runner.deliver(batch(WORDS, [b"a"], 0))
        # It starts over, and its old producer takes its time to stop.
        await asyncio.sleep(0.3)
        await one.runner.suspend()
        successor = work.broker.transactional_producer("counting-0")
        await successor.start()
        await asyncio.sleep(5)

        await successor.commit({}, {WORDS: 0}, TOPOLOGY.application_id)
        work.broker.slow_stop = False
        one.runner.resume()
        await one.running()
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_a_restoration_ends_when_its_task_is_suspended() -> None:
    async def test(work: Work) -> None:
        await work.broker.producer().send({CHANGELOG: [(b"%d" % number, b"1") for number in range(5_000)]})
        writing, suspended = work.stores[0].writing, asyncio.Event()

        def writing_and_telling(updates: Mapping[str, Update]) -> Steps:
            yield from writing(updates)
            suspended.set()

        work.stores[0].writing = writing_and_telling  # type: ignore[method-assign]
        one = OneTask(work)
        await suspended.wait()
        await one.runner.suspend()
        await asyncio.sleep(1)
        assert (work.stores[0].opened, len(work.stores[0].writes) < 5) == (0, True)

        one.runner.resume()
        await one.running()
        assert len(list(work.stores[0].items())) == 5_000
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_damage_that_is_found_behind_the_work_is_mended() -> None:
    async def test(work: Work) -> None:
        worker = work.start()
        await work.send(WORDS, [b"a"])
        await work.counted(1)
        work.stores[0].found = True
        work.broker.failures = [Retriable("so that it is opened again")]
        await work.send(WORDS, [b"a"])
        await work.counted(2)
        await until(lambda: work.stores[0].cleared > 0 and worker.ready, "the damage is found and mended")

        assert await work.counts() == counting([b"a", b"a"])

    on_virtual_time(test)


# What can't be written.


def test_a_transaction_that_fails_is_tried_again_with_half_of_its_records() -> None:
    async def test(work: Work) -> None:
        await work.send(WORDS, [b"a"] * 5)
        work.broker.failures = [Retriable("it takes too long")] * 2
        work.start()
        await work.counted(5)

        sizes = [int(value or 0) for _, value in await read_records(work.broker, TopicPartition("sizes", 0))]
        assert sizes == [1, 2, 2]
        assert await work.counts() == counting([b"a"] * 5)

    on_virtual_time(test)


def test_a_record_whose_consequences_are_refused_is_put_aside_and_the_others_are_worked_off() -> None:
    async def test(work: Work) -> None:
        keys = [b"a", b"b", b"poison", b"c", b"d"]
        work.broker.poison = b"poison"
        worker = work.start()
        await work.send(WORDS, keys)
        await work.counted(5)

        assert await work.counts() == [(b"a", b"1"), (b"b", b"1"), (b"poison", b"given up"), (b"c", b"1"), (b"d", b"1")]
        assert [(letter.offset, letter.reason) for letter in work.notes.letters] == [(2, "counts: 9 bytes")]
        assert worker.ready

    on_virtual_time(test)
