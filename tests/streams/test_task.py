"""A task's decisions: what it may become, and what its next transaction is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import pytest

from tests.support.engine import CHANGELOG, COUNTS, COUNTS_STORE, MORE_WORDS, TOPOLOGY, WORDS, batch
from ticketmaster.broker.port import Batch, Headers, Pair, TopicPartition
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.streams.lifecycle import LEGAL_MOVES, Lifecycle, PartitionState
from ticketmaster.streams.task import Task, Undone
from ticketmaster.streams.topology import Outputs, Processor, Stores
from ticketmaster.telemetry.observer import DeadLetter
from ticketmaster.telemetry.tracing import NO_TRACER, Kind, Span, Tracer

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

    head, rest = whole.split(3)

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


class Always(Tracer):
    """Traces all that has a parent."""

    enabled = True

    def start(
        self,
        name: str,
        kind: Kind,
        parent: Headers,
        attributes: Mapping[str, str | int] | None = None,
        links: Sequence[Headers] = (),
        start_ns: int | None = None,
    ) -> Span:
        return Span()


class Sparing(Processor):
    """Takes two records a transaction; of a record in several parts, as b"x+y", one part."""

    def __init__(self, partition: int) -> None:
        self._taken = 0

    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        for at, (key, value) in enumerate(records):
            assert value is not None
            if self._taken == 2:
                outputs.leave(at)
                return
            self._taken += 1
            part, more, rest = value.partition(b"+")
            outputs[COUNTS].append((key, part))
            if more:
                outputs.leave(at, rest)
                return

    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        """Tells which one it was."""
        outputs[COUNTS].append((record[0], b"given up"))

    def end_transaction(self, stores: Stores, outputs: Outputs) -> None:
        """The next one may take as many."""
        self._taken = 0


def sparing_task(tracer: Tracer = NO_TRACER) -> Task:
    task = Task(replace(TOPOLOGY, new_processor=Sparing), 0, tracer)
    task.start(Overlays(MemoryStores(), (COUNTS_STORE,)))
    return task


VALUES = [b"1", b"2+3+4", b"5", b"6", b"7"]


def queued(task: Task) -> None:
    """Two batches, the second with gaps."""
    records = [(b"k%d" % number, value) for number, value in enumerate(VALUES)]
    task.queue(Batch(WORDS, records[:3], range(3), 3, 0, {1: [("traceparent", b"t")]}))
    task.queue(Batch(WORDS, records[3:], [7, 9], 12, 0))


@pytest.mark.parametrize("traced", [False, True])
def test_what_a_processor_leaves_is_in_the_next_transactions_each_record_whole_before_its_offset_is_passed(*, traced: bool) -> None:
    task = sparing_task(Always() if traced else NO_TRACER)
    queued(task)

    done: list[tuple[list[bytes | None], dict[TopicPartition, int]]] = []
    left = []
    while task.queued_records:
        plan = task.decide(100)
        done.append(([value for _, value in plan.outputs[COUNTS]], plan.offsets))
        left.append(task.queued_records)
        task.committed({})

    assert done == [
        ([b"1", b"2"], {WORDS: 1}),
        ([b"3"], {WORDS: 1}),
        ([b"4", b"5"], {WORDS: 7}),
        ([b"6", b"7"], {WORDS: 12}),
    ]
    assert left == [4, 4, 2, 0]


def test_other_sources_go_on_before_what_was_left_and_each_keeps_its_order() -> None:
    task = sparing_task()
    queued(task)
    for offset in (0, 1):
        task.queue(Batch(MORE_WORDS, [(b"other", b"other %d" % offset)], [offset], offset + 1, 0))

    done = []
    while task.queued_records:
        done.append([value for _, value in task.decide(100).outputs[COUNTS]])
        task.committed({})

    assert done == [[b"1", b"2"], [b"other 0", b"other 1"], [b"3"], [b"4", b"5"], [b"6", b"7"]]


def test_of_a_transaction_that_fails_nothing_is_left_over() -> None:
    task = sparing_task()
    queued(task)
    task.decide(100)
    task.start(Overlays(MemoryStores(), (COUNTS_STORE,)))
    queued(task)

    assert [value for _, value in task.decide(100).outputs[COUNTS]] == [b"1", b"2"]


def test_a_record_that_is_given_up_in_parts_is_put_aside_whole() -> None:
    task = sparing_task()
    queued(task)
    task.decide(100)
    task.committed({})
    # Of the second record only a part was taken, which is refused.
    task.decide(1)
    task.give_up("too large")
    task.drop_queue()
    task.queue(Batch(WORDS, [(b"k1", b"2+3+4"), (b"k2", b"5")], range(1, 3), 3, 0))

    counts = []
    while task.queued_records:
        plan = task.decide(100)
        task.committed({})
        counts += plan.outputs[COUNTS]
    assert counts == [(b"k1", b"given up"), (b"k2", b"5")]


def test_a_processor_that_leaves_everything_is_a_defect() -> None:
    task = sparing_task()
    queued(task)
    task._processor._taken = 2  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="has left everything"):
        task.decide(100)


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
