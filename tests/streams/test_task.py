"""A task's decisions: what it may become, and what its next transaction is."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support.engine import CHANGELOG, COUNTS, COUNTS_STORE, MORE_WORDS, TOPOLOGY, WORDS, batch
from ticketmaster.broker.port import Batch, TopicPartition
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.streams.lifecycle import LEGAL_MOVES, Lifecycle, PartitionState
from ticketmaster.streams.task import Task, Undone, split
from ticketmaster.telemetry.observer import DeadLetter

LETTERS = TopicPartition("words.dlq", 0)
SIZES = TopicPartition("sizes", 0)


@pytest.fixture
def task() -> Task:
    task = Task(TOPOLOGY, 0)
    task.start(Overlays(MemoryStores(), (COUNTS_STORE,)))
    return task


@pytest.mark.parametrize(("start", "end"), list(product(PartitionState, PartitionState)))
def test_only_the_legal_moves_are_made(start: PartitionState, end: PartitionState) -> None:
    lifecycle = Lifecycle("counting-0")
    lifecycle.state = start
    if end in LEGAL_MOVES[start]:
        lifecycle.move_to(end)
        assert lifecycle.state is end
    else:
        with pytest.raises(AssertionError, match=f"counting-0 can't go from {start.name} to {end.name}"):
            lifecycle.move_to(end)
        assert lifecycle.state is start


def test_a_task_runs_only_after_it_was_fenced_and_restored() -> None:
    ways_to_run = [start for start, ends in LEGAL_MOVES.items() if PartitionState.RUNNING in ends]
    ways_to_restore = [start for start, ends in LEGAL_MOVES.items() if PartitionState.RESTORING in ends]

    assert ways_to_run == [PartitionState.RESTORING]
    assert ways_to_restore == [PartitionState.FENCING]
    assert LEGAL_MOVES[PartitionState.CLOSED] == frozenset()


def test_a_plan_has_the_outputs_the_changelog_and_the_offsets(task: Task) -> None:
    task.queue(batch(WORDS, [b"a", b"b", b"a"], 7))
    task.queue(batch(MORE_WORDS, [b"a"], 3))

    plan = task.decide(100)

    assert plan.outputs == {
        COUNTS: [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"a", b"3")],
        SIZES: [(b"size", b"4")],
        CHANGELOG: [(b"a", b"3"), (b"b", b"1")],
    }
    assert plan.offsets == {WORDS: 10, MORE_WORDS: 4}
    assert task.queued_records == 0


def test_what_is_undone_is_what_was_fetched_and_not_committed(task: Task) -> None:
    for number in range(3):
        task.queue(batch(WORDS, [b"a"] * 3, 3 * number)._replace(timestamp_ms=1_000 + number))
    task.queue(batch(MORE_WORDS, [b"a"])._replace(timestamp_ms=5))

    assert task.undone == {WORDS: Undone(9, 1_000), MORE_WORDS: Undone(1, 5)}
    # A plan that is not committed changes nothing of that.
    task.decide(6)
    assert task.undone == {WORDS: Undone(9, 1_000), MORE_WORDS: Undone(1, 5)}
    assert task.in_plan == {WORDS.topic: 6}
    task.committed({})
    assert task.undone == {WORDS: Undone(3, 1_002), MORE_WORDS: Undone(1, 5)}
    task.drop_queue()
    assert task.undone == {}


def test_a_transaction_has_so_many_records_and_splits_batches_for_it(task: Task) -> None:
    for number in range(4):
        headers = {2: [("n", b"%d" % number)]}
        task.queue(batch(WORDS, [b"%d" % (3 * number + at) for at in range(3)], 3 * number)._replace(headers=headers))

    offsets: list[dict[TopicPartition, int]] = []
    counted = []
    while task.queued_records:
        plan = task.decide(5)
        task.committed({CHANGELOG: len(offsets)})
        offsets.append(plan.offsets)
        counted.append([key for key, _ in plan.outputs[COUNTS]])

    assert offsets == [{WORDS: 5}, {WORDS: 10}, {WORDS: 12}]
    assert counted == [[b"%d" % number for number in part] for part in (range(5), range(5, 10), range(10, 12))]


def test_a_split_batch_keeps_the_headers_of_its_records_and_tells_what_it_follows() -> None:
    whole = Batch(WORDS, [(b"%d" % at, b"") for at in range(4)], [3, 5, 6, 9], 12, 7, {0: [("a", b"")], 3: [("d", b"")]}, 2)

    head, rest = split(whole, 3)

    assert head == Batch(WORDS, whole.records[:3], [3, 5, 6], 9, 7, {0: [("a", b"")]}, 2)
    assert rest == Batch(WORDS, whole.records[3:], [9], 12, 7, {0: [("d", b"")]}, 9)


def test_a_record_that_is_given_up_is_put_aside_alone_and_told(task: Task) -> None:
    task.queue(batch(WORDS, [b"poison"], 5))
    task.decide(1)
    task.give_up("too large")
    task.drop_queue()
    task.queue(batch(WORDS, [b"a", b"poison", b"b"], 4))

    plans = []
    while task.queued_records:
        plans.append(task.decide(100))
        task.committed({})

    counts = [record for plan in plans for record in plan.outputs[COUNTS]]
    assert counts == [(b"a", b"1"), (b"poison", b"given up"), (b"b", b"1")]
    ((letter,),) = [plan.dead_letters for plan in plans if plan.dead_letters]
    assert letter == DeadLetter("words", 0, 5, "too large")
    ((key, value),) = [record for plan in plans for record in plan.outputs.get(LETTERS, [])]
    assert key == b"poison"
    assert b"cG9pc29u" in (value or b"")


def test_a_letter_that_is_refused_too_goes_without_its_record(task: Task) -> None:
    for _ in range(2):
        task.queue(batch(WORDS, [b"poison"], 5))
        task.decide(1)
        task.give_up("too large")
        task.drop_queue()
    task.queue(batch(WORDS, [b"poison"], 5))

    ((_, value),) = task.decide(1).outputs[LETTERS]
    assert b"cG9pc29u" not in (value or b"")
    assert b'"offset": 5' in (value or b"")


def test_nothing_queued_means_no_offsets(task: Task) -> None:
    assert task.decide(100).offsets == {}


def test_the_position_moves_when_the_changelog_does(task: Task) -> None:
    task.queue(batch(WORDS, [b"a"]))
    task.decide(100)
    assert task.overlays[COUNTS_STORE].position is None
    task.committed({COUNTS: 3, CHANGELOG: 8})
    assert task.overlays[COUNTS_STORE].position == 8
    task.committed({COUNTS: 4})
    assert task.overlays[COUNTS_STORE].position == 8


def test_a_task_that_starts_again_has_forgotten_its_queue(task: Task) -> None:
    task.queue(batch(WORDS, [b"a"]))
    task.start(Overlays(MemoryStores(), (COUNTS_STORE,)))

    assert task.queued_records == 0
    assert task.decide(100).offsets == {}
