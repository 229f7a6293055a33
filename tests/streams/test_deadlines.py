"""A role with deadlines: they come in the log's time, and cost nothing until then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tests.support.consuming import committed, until
from tests.support.engine import (
    COUNTS,
    COUNTS_STORE,
    HOLDING,
    MORE_WORDS,
    PARTITIONS,
    SETTINGS,
    TOPOLOGY,
    WORDS,
    FragileStores,
    HoldingProcessor,
    batch,
)
from tests.support.working import OneTask, Work, on_virtual_time
from ticketmaster.broker.port import Batch, Pair, TopicPartition
from ticketmaster.errors import Retriable
from ticketmaster.simulation.loop import VirtualLoop
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.state.port import StateTable, Steps
from ticketmaster.streams.lifecycle import PartitionState
from ticketmaster.streams.log_clock import LogClock
from ticketmaster.streams.task import Task
from ticketmaster.streams.topology import Outputs, Stores

# From a deadline to what comes of it.
SOON_S = 0.1


def now_s() -> float:
    return asyncio.get_running_loop().time()


def held(keys: Mapping[bytes, int], offset: int = 0, source: TopicPartition = WORDS) -> Batch:
    """Keys to be held, as a consumer delivers them."""
    return batch(source, list(keys), offset)._replace(records=[(key, b"%d" % until_ms) for key, until_ms in keys.items()])


async def ended(work: Work, count: int, partition: int = 0) -> list[bytes]:
    """The keys whose holds have ended, once there are ``count`` of them."""
    while len(await work.ended(partition)) < count:
        assert now_s() < 1_000, f"only {await work.ended(partition)} have ended"
        await asyncio.sleep(0.05)
    return await work.ended(partition)


async def running(work: Work) -> OneTask:
    """One task that holds."""
    work.topology = HOLDING
    one = OneTask(work)
    await one.running()
    return one


# One transaction.


def holding() -> Task:
    task = Task(HOLDING, 0)
    task.start(Overlays(MemoryStores(), (COUNTS_STORE,)))
    return task


def test_a_processor_is_told_the_time_of_the_records_that_it_processes() -> None:
    task = holding()
    task.queue(held({b"a": 1})._replace(timestamp_ms=17))
    task.queue(held({b"b": 1}, source=MORE_WORDS)._replace(timestamp_ms=5))

    assert task.decide(100).outputs[COUNTS] == [(b"a", b"held at 17"), (b"b", b"held at 5")]


def test_what_is_due_comes_behind_the_records_and_in_their_transaction() -> None:
    task = holding()
    task.queue(held({b"a": 10, b"b": 20, b"c": 30}))

    plan = task.decide(100, 20)

    assert plan.outputs[COUNTS] == [(b"a", b"held at 0"), (b"b", b"held at 0"), (b"c", b"held at 0"), (b"a", b"ended"), (b"b", b"ended")]
    assert (plan.offsets, plan.is_empty, task.is_timed, task.deadline_ms) == ({WORDS: 3}, False, True, 30)


def test_a_transaction_of_what_is_due_has_no_offsets_and_one_in_which_nothing_is_due_is_empty() -> None:
    task = holding()
    task.queue(held({b"a": 10}))
    task.decide(100)
    task.committed({})

    assert task.decide(100, 9).is_empty
    assert task.decide(100).is_empty
    plan = task.decide(100, 10)
    assert (plan.outputs[COUNTS], plan.offsets, plan.is_empty) == ([(b"a", b"ended")], {}, False)
    task.committed({})
    assert task.decide(100, 11).is_empty


# In the log's time.


def test_a_task_that_sleeps_is_woken_when_its_deadline_has_come() -> None:
    async def test(work: Work) -> None:
        work.topology = HOLDING
        work.start()
        await work.hold({b"later": 120_000, b"soon": 60_000})
        await asyncio.sleep(60.0 - now_s() - 0.01)
        assert await work.ended() == []
        await asyncio.sleep(0.01 + SOON_S)
        assert await work.ended() == [b"soon"]
        await asyncio.sleep(60.0)
        assert await work.ended() == [b"soon", b"later"]

        # Nothing was read for them.
        assert work.broker.commits[-2:] == [{}, {}]
        assert await committed(work.broker, TOPOLOGY.application_id, WORDS) == 2

    on_virtual_time(test)


def test_a_worker_tells_how_long_its_oldest_deadline_is_overdue() -> None:
    async def test(work: Work) -> None:
        work.topology = HOLDING
        worker = work.start()
        assert worker.overdue_ms == 0
        await work.hold({b"a": 10_000, b"b": 20_000})
        await asyncio.sleep(9.0 - now_s())
        assert worker.overdue_ms == 0
        work.broker.gate.clear()
        await asyncio.sleep(4.0)
        # Of what a transaction is under way about nothing is known to be over.
        assert worker.overdue_ms == 0
        await asyncio.sleep(12.0)
        assert worker.overdue_ms == pytest.approx(5_000, abs=10)
        work.broker.gate.set()
        assert await ended(work, 2) == [b"a", b"b"]
        assert worker.overdue_ms == 0

    on_virtual_time(test)


def test_a_deadline_that_has_passed_when_it_is_set_comes_at_once() -> None:
    async def test(work: Work) -> None:
        one = await running(work)
        await asyncio.sleep(10.0)
        one.runner.deliver(held({b"a": 5_000}))
        await work.hold({b"a": 5_000})
        await asyncio.sleep(SOON_S)

        assert await work.ended() == [b"a"]
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_to_sleep_until_a_deadline_costs_nothing() -> None:
    async def test(work: Work) -> None:
        one = await running(work)
        await work.hold({b"a": 7_200_000})
        one.runner.deliver(held({b"a": 7_200_000}))
        await asyncio.sleep(1.0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        before = loop.steps
        await asyncio.sleep(3_600.0)

        # A look at the clock every ten seconds.
        assert loop.steps - before < 400
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_many_deadlines_share_transactions_of_a_bounded_size_and_records_have_their_turn_in_between() -> None:
    async def test(work: Work) -> None:
        work.topology = HOLDING
        worker = work.start()
        await until(lambda: worker.ready, "ready")
        keys = {b"%02d" % number: 30_000 for number in range(30)}
        for number in range(0, 30, 3):
            await work.hold(dict(list(keys.items())[number : number + 3]))
        await asyncio.sleep(30.0 - now_s() - 0.05)
        before = len(work.broker.commits)
        for number in range(100):
            await work.hold({b"more %d" % number: 90_000})
            await asyncio.sleep(0.002)
        assert await ended(work, 30) == list(keys)

        told = [key for key, _ in await work.counts()]
        first, last = told.index(b"00", 30), told.index(b"29", 30)
        assert sum(key.startswith(b"more") for key in told[first:last]) > 5
        assert [offsets for offsets in work.broker.commits[before:] if offsets], "records and deadlines share transactions"
        assert len(work.broker.commits) - before < 130

    on_virtual_time(test)


@pytest.mark.parametrize("set_by_s", [3_600.0, -3_600.0], ids=["forward", "back"])
def test_a_clock_that_is_set_by_an_hour_moves_a_deadline_by_some_seconds_at_most(set_by_s: float) -> None:
    async def test(work: Work) -> None:
        work.topology = HOLDING
        work.start()
        await work.hold({b"a": 600_000})
        await asyncio.sleep(10.0)
        work.broker.clock.set_by_s = set_by_s
        await work.hold({b"b": 300_000})
        await ended(work, 2)

        assert now_s() == pytest.approx(600.0, abs=8.0)

    on_virtual_time(test)


def test_a_deadline_that_passes_while_the_machine_sleeps_comes_soon_after() -> None:
    async def test(work: Work) -> None:
        work.topology = HOLDING
        work.start()
        await work.hold({b"a": 3_600_000})
        await asyncio.sleep(10.0)
        work.broker.clock.slept_s = 7_200.0
        await asyncio.sleep(10.0 + SOON_S)

        assert await work.ended() == [b"a"]

    on_virtual_time(test)


def test_a_task_on_a_host_whose_clock_lags_goes_by_the_records() -> None:
    async def test(work: Work) -> None:
        one = await running(work)
        await work.hold({b"a": 3_700_000, b"b": 3_800_000})
        # An hour later than this host thinks.
        one.runner.deliver(held({b"a": 3_700_000, b"b": 3_800_000})._replace(timestamp_ms=3_610_000))
        await asyncio.sleep(90.0 + SOON_S)

        assert await work.ended() == [b"a"]
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_the_log_s_clock_is_never_before_a_record_that_was_seen_and_never_goes_back() -> None:
    host_ms = 1_000
    clock = LogClock(lambda: host_ms)
    clock.note(900)
    assert clock.now_ms() == 1_000
    clock.note(5_000)
    assert clock.now_ms() == 5_000
    host_ms = 1_500
    clock.note(5_200)
    assert clock.now_ms() == 5_500


# Over restarts and rebalances.


def test_a_task_that_starts_knows_its_deadlines_before_its_first_record() -> None:
    order: list[str] = []

    class Noting(HoldingProcessor):
        def restored(self, tables: Mapping[str, StateTable]) -> Steps:
            order.append("begins")
            yield from super().restored(tables)
            order.append(f"knows {[key.decode() for _, key in self._holds]}")

        def process(self, *arguments: object) -> None:
            order.append("processes")
            super().process(*arguments)  # type: ignore[arg-type]

    async def test(work: Work) -> None:
        work.topology = replace(HOLDING, new_processor=Noting)
        await work.hold({b"a": 60_000, b"b": 60_000})
        one = OneTask(work)
        await one.running()
        one.runner.deliver(held({b"a": 60_000, b"b": 60_000}))
        await asyncio.sleep(1.0)
        work.broker.failures = [Retriable("the broker is busy")]
        await work.hold({b"c": 60_000})
        one.runner.deliver(held({b"c": 60_000}, 2))
        await until(lambda: bool(work.notes.restarted), "it fails")
        await until(lambda: one.runner.serving, "it goes on")
        await asyncio.sleep(1.0)
        assert order == ["begins", "knows []", "processes", "processes", "begins", "knows ['a', 'b']"]
        one.runner.deliver(held({b"c": 60_000}, 2))
        assert sorted(await ended(work, 3)) == [b"a", b"b", b"c"]
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_a_role_that_is_started_again_ends_what_was_due_while_it_was_away() -> None:
    async def test(work: Work) -> None:
        work.topology = HOLDING
        work.start()
        await work.hold({b"a": 60_000, b"b": 900_000})
        await work.counted(2)
        await work.stop()
        await asyncio.sleep(600.0)
        work.stores = {number: FragileStores() for number in range(PARTITIONS)}
        worker = work.start()
        await until(lambda: worker.ready, "ready")
        await asyncio.sleep(SOON_S)

        assert await work.ended() == [b"a"]
        assert dict(work.stores[0].items()).keys() == {b"a", b"b"}
        await work.stop()
        assert dict(work.stores[0].items()).keys() == {b"b"}

    on_virtual_time(test)


def test_a_task_that_is_suspended_in_its_sleep_does_nothing_until_it_is_back() -> None:
    async def test(work: Work) -> None:
        one = await running(work)
        await work.hold({b"a": 60_000})
        one.runner.deliver(held({b"a": 60_000}))
        await asyncio.sleep(10.0)
        await one.runner.suspend()
        await asyncio.sleep(100.0)
        assert await work.ended() == []
        one.runner.resume()
        await asyncio.sleep(SOON_S)

        assert await work.ended() == [b"a"]
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_a_task_that_is_suspended_while_it_rebuilds_its_deadlines_begins_anew() -> None:
    begun: list[int] = []

    class Slow(HoldingProcessor):
        def restored(self, tables: Mapping[str, StateTable]) -> Steps:
            begun.append(0)
            while len(begun) == 1:
                yield
            yield from super().restored(tables)

    async def test(work: Work) -> None:
        work.topology = replace(HOLDING, new_processor=Slow)
        one = OneTask(work)
        # No time passes while it is at work.
        while not begun:
            await asyncio.sleep(0)
        await one.runner.suspend()
        await asyncio.sleep(1.0)
        assert (work.stores[0].opened, one.runner.state) == (0, PartitionState.FENCING)
        one.runner.resume()
        await one.running()

        assert len(begun) == 2
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_a_partition_that_moves_in_its_sleep_ends_what_it_holds_once() -> None:
    async def test(work: Work) -> None:
        work.topology = HOLDING
        work.start()
        for partition in range(PARTITIONS):
            source = TopicPartition("words", partition)
            await work.hold({b"%d" % number: 30_000 + 1_000 * number for number in range(20)}, source)
        await asyncio.sleep(35.5 - now_s())
        # Another process has a disk of its own.
        work.stores = {number: FragileStores() for number in range(PARTITIONS)}
        work.start()
        await asyncio.sleep(5.0)
        await work.stop(work.jobs[0])
        for partition in range(PARTITIONS):
            assert await ended(work, 20, partition) == [b"%d" % number for number in range(20)]
        await asyncio.sleep(60.0)

        assert [len(await work.ended(partition)) for partition in range(PARTITIONS)] == [20, 20]

    on_virtual_time(test)


# In trouble.


@pytest.mark.parametrize("failures", [1, 4])
def test_what_is_due_is_tried_again_when_its_transaction_fails(failures: int) -> None:
    async def test(work: Work) -> None:
        work.topology = HOLDING
        worker = work.start()
        await work.hold({b"a": 10_000, b"b": 10_000, b"c": 10_000, b"d": 10_000})
        await asyncio.sleep(5.0)
        work.broker.failures = [Retriable("the broker is busy")] * failures
        assert await ended(work, 4) == [b"a", b"b", b"c", b"d"]

        assert work.notes.restarted == ["the broker is busy"] * failures
        assert worker.ready
        assert dict(work.stores[0].items()).keys() <= {b"a", b"b", b"c", b"d"}

    on_virtual_time(test)


class Poisonous(HoldingProcessor):
    """What ends with b"poison" can't be written."""

    def on_time(self, now_ms: int, stores: Stores, outputs: Outputs) -> None:
        before = len(outputs[COUNTS])
        super().on_time(now_ms, stores, outputs)
        if any(key == b"poison" for key, _ in outputs[COUNTS][before:]):
            outputs[COUNTS].append((b"!", b"1"))


def test_of_a_deadline_whose_outcome_is_refused_no_record_is_given_up_and_records_go_on() -> None:
    async def test(work: Work) -> None:
        work.topology = replace(HOLDING, new_processor=Poisonous)
        work.broker.poison = b"!"
        work.start()
        await work.hold({b"poison": 10_000})
        for number in range(400):
            await work.hold({b"%d" % number: 900_000})
            await asyncio.sleep(0.1)
        await work.counted(401)

        told = await work.counts()
        assert [key for key, _ in told] == [b"poison", *(b"%d" % number for number in range(400))]
        assert work.notes.letters == []
        # It is tried ever more rarely.
        assert 3 < len(work.notes.restarted) < 15
        work.broker.poison = b""
        assert await ended(work, 1) == [b"poison"]

    on_virtual_time(test)


class PoisonousRecords(HoldingProcessor):
    """To hold b"poison" can't be written."""

    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        super().process(topic, records, stores, outputs)
        if any(key == b"poison" for key, _ in records):
            outputs[COUNTS].append((b"!", b"1"))


@pytest.mark.parametrize("records_max", [1, 5])
def test_a_record_whose_outcome_is_refused_is_given_up_also_while_there_is_always_something_due(records_max: int) -> None:
    async def test(work: Work) -> None:
        work.topology = replace(HOLDING, new_processor=PoisonousRecords)
        work.broker.poison = b"!"
        work.start(replace(SETTINGS, transaction_records_max=records_max))
        keys = [b"poison" if number == 200 else b"%d" % number for number in range(400)]
        for number, key in enumerate(keys):
            await work.hold({key: 1_000 + 10 * number})
            await asyncio.sleep(0.01)
        assert sorted(await ended(work, 399)) == sorted({*keys} - {b"poison"})

        assert [letter.offset for letter in work.notes.letters] == [200]
        assert (b"poison", b"given up") in await work.counts()

    on_virtual_time(test)


class Idle(HoldingProcessor):
    """Does nothing about what is due."""

    called = 0

    def on_time(self, now_ms: int, stores: Stores, outputs: Outputs) -> None:
        Idle.called += 1


class Fickle(Idle):
    """Nor has it the same deadline twice."""

    @property
    def deadline_ms(self) -> int | None:
        return 1_000 + Idle.called if self._holds else None


@pytest.mark.parametrize("processor", [Idle, Fickle])
def test_a_processor_that_does_nothing_about_its_deadline_is_asked_again_after_a_rest(processor: type[HoldingProcessor]) -> None:
    async def test(work: Work) -> None:
        work.topology = replace(HOLDING, new_processor=processor)
        one = OneTask(work)
        await one.running()
        Idle.called = 0
        await work.hold({b"a": 1_000})
        one.runner.deliver(held({b"a": 1_000}))
        commits = len(work.broker.commits)
        await asyncio.sleep(11.0)

        assert 100 < Idle.called < 2_500
        assert len(work.broker.commits) - commits == 1
        await one.runner.stop(one.job)

    on_virtual_time(test)


def test_processors_without_deadlines_have_none() -> None:
    task = Task(TOPOLOGY, 0)
    task.start(Overlays(MemoryStores(), (COUNTS_STORE,)))

    assert task.deadline_ms is None
    assert list(task.restored()) == []
    assert task.decide(10, 1).is_empty
