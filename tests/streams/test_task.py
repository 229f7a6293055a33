"""A task's decisions: what it may become, and what its next transaction is."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support.engine import CHANGELOG, COUNTS, MORE_WORDS, TOPOLOGY, WORDS, batch
from ticketmaster.broker.port import TopicPartition
from ticketmaster.state.memory import MemoryStore
from ticketmaster.state.overlay import Overlay
from ticketmaster.streams.task import LEGAL_MOVES, Task, TaskState, Undone

SIZES = TopicPartition("sizes", 0)


@pytest.fixture
def task() -> Task:
    task = Task(TOPOLOGY, 0)
    task.move_to(TaskState.FENCING)
    task.move_to(TaskState.RESTORING)
    task.start(Overlay(MemoryStore()))
    return task


@pytest.mark.parametrize(("start", "end"), list(product(TaskState, TaskState)))
def test_only_the_legal_moves_are_made(start: TaskState, end: TaskState) -> None:
    task = Task(TOPOLOGY, 0)
    task.state = start
    if end in LEGAL_MOVES[start]:
        task.move_to(end)
        assert task.state is end
    else:
        with pytest.raises(AssertionError, match=f"counting-0 can't go from {start.name} to {end.name}"):
            task.move_to(end)
        assert task.state is start


def test_a_task_runs_only_after_it_was_fenced_and_restored() -> None:
    ways_to_run = [start for start, ends in LEGAL_MOVES.items() if TaskState.RUNNING in ends]
    ways_to_restore = [start for start, ends in LEGAL_MOVES.items() if TaskState.RESTORING in ends]

    assert ways_to_run == [TaskState.RESTORING]
    assert ways_to_restore == [TaskState.FENCING]
    assert LEGAL_MOVES[TaskState.CLOSED] == frozenset()


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


def test_a_transaction_has_whole_batches_up_to_about_its_limit(task: Task) -> None:
    for number in range(4):
        task.queue(batch(WORDS, [b"a"] * 3, 3 * number))

    offsets: list[dict[TopicPartition, int]] = []
    while task.queued_records:
        plan = task.decide(5)
        task.committed({CHANGELOG: len(offsets)})
        offsets.append(plan.offsets)

    assert offsets == [{WORDS: 6}, {WORDS: 12}]


def test_nothing_queued_means_no_offsets(task: Task) -> None:
    assert task.decide(100).offsets == {}


def test_the_position_moves_when_the_changelog_does(task: Task) -> None:
    task.queue(batch(WORDS, [b"a"]))
    task.decide(100)
    assert task.overlay.position is None
    task.committed({COUNTS: 3, CHANGELOG: 8})
    assert task.overlay.position == 8
    task.committed({COUNTS: 4})
    assert task.overlay.position == 8


def test_a_task_that_starts_again_has_forgotten_its_queue(task: Task) -> None:
    task.queue(batch(WORDS, [b"a"]))
    task.move_to(TaskState.FENCING)
    task.move_to(TaskState.RESTORING)
    task.start(Overlay(MemoryStore()))

    assert task.queued_records == 0
    assert task.decide(100).offsets == {}
