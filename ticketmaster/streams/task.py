"""A task: one partition of a role. Batches in, a commit plan out; what is committed is then applied."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from ticketmaster.broker.port import Batch, TopicPartition
from ticketmaster.state.overlay import Overlay
from ticketmaster.streams.dead_letters import dead_letter_topic, letter_value
from ticketmaster.streams.topology import CommitPlan, Outputs, Topology
from ticketmaster.streams.tracing import process_traced
from ticketmaster.telemetry.observer import DeadLetter
from ticketmaster.telemetry.tracing import NO_TRACER, Span, Tracer


class TaskState(Enum):
    """Where a task stands."""

    CREATED = auto()
    FENCING = auto()
    RESTORING = auto()
    RUNNING = auto()
    CLOSED = auto()


# Fence, then restore, then run, in that order: a predecessor's late commit must fail before its changelog is read to the end.
LEGAL_MOVES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.CREATED: frozenset({TaskState.FENCING, TaskState.CLOSED}),
    TaskState.FENCING: frozenset({TaskState.RESTORING, TaskState.FENCING, TaskState.CLOSED}),
    TaskState.RESTORING: frozenset({TaskState.RUNNING, TaskState.FENCING, TaskState.CLOSED}),
    TaskState.RUNNING: frozenset({TaskState.FENCING, TaskState.CLOSED}),
    TaskState.CLOSED: frozenset(),
}


class Undone(NamedTuple):
    """What a task has fetched of a source and not committed: how many records, and the time of the oldest ones."""

    records: int
    oldest_ms: int


class Task:
    """The synchronous half of a task; :class:`~ticketmaster.streams.runner.TaskRunner` moves the bytes."""

    def __init__(self, topology: Topology, partition: int, tracer: Tracer = NO_TRACER) -> None:
        self.partition = partition
        self.changelog = TopicPartition(topology.changelog, partition)
        self.sources = tuple(TopicPartition(topic, partition) for topic in topology.sources)
        self.state = TaskState.CREATED
        self._topology = topology
        self._tracer = tracer
        self._queue: deque[Batch] = deque()
        # What the last plan was made from, until it is committed.
        self._in_plan: list[Batch] = []
        self._queued_records = 0

    def move_to(self, state: TaskState) -> None:
        """Moves on, by a legal move."""
        if state not in LEGAL_MOVES[self.state]:
            raise AssertionError(f"task {self._topology.application_id}-{self.partition} can't go from {self.state.name} to {state.name}")
        self.state = state

    def start(self, overlay: Overlay) -> None:
        """Begins to run on restored state, with nothing in the queue."""
        self.move_to(TaskState.RUNNING)
        self.overlay = overlay
        self._processor = self._topology.new_processor(self.partition)
        self.drop_queue()

    @property
    def queued_records(self) -> int:
        """How many records wait."""
        return self._queued_records

    def queue(self, batch: Batch) -> None:
        """Takes records that :meth:`decide` will look at."""
        self._queue.append(batch)
        self._queued_records += len(batch.records)

    def drop_queue(self) -> None:
        """Forgets what waits: it will be read again."""
        self._queue.clear()
        self._in_plan = []
        self._queued_records = 0

    def decide(self, records_max: int) -> CommitPlan:
        """The next transaction: of all that is queued, of batches up to about ``records_max`` records, or of what the processor takes."""
        outputs = Outputs()
        offsets: dict[TopicPartition, int] = {}
        letters: list[DeadLetter] = []
        spans: list[Span] = []
        process, overlay = self._processor.process, self.overlay
        taken = 0
        in_plan = self._in_plan = []
        while self._queue and taken < records_max:
            batch = self._queue.popleft()
            if batch.headers and self._tracer.enabled:
                spans += process_traced(self._processor, batch, overlay, outputs, self._tracer)
            else:
                process(batch.source.topic, batch.records, overlay, outputs)
            if outputs.rejected:
                letters += _put_aside(batch, outputs)
            left = outputs.left
            if left:
                batch = self._put_back(batch, *left)
            in_plan.append(batch)
            offsets[batch.source] = batch.next_offset
            taken += len(batch.records)
            if left:
                break
        self._queued_records -= taken
        self._processor.end_transaction(overlay, outputs)
        if overlay.open_writes:
            outputs[self.changelog] = list(overlay.open_writes.items())
        return CommitPlan(outputs, offsets, letters, spans)

    def _put_back(self, batch: Batch, at: int, rest: bytes | None) -> Batch:
        """What a transaction has taken of a batch; the rest waits for the next one, behind what has come from other sources."""
        assert at or rest is not None or self._in_plan, "a processor has left everything"
        taken, left = batch.split(at)
        if rest is not None:
            left = left._replace(records=[(left.records[0][0], rest), *left.records[1:]])
        same = [queued for queued in self._queue if queued.source == batch.source]
        others = [queued for queued in self._queue if queued.source != batch.source]
        self._queue = deque([*others, left, *same])
        return taken

    def committed(self, ends: Mapping[TopicPartition, int]) -> None:
        """The last plan is durable; ``ends`` says where each partition's log ends behind it."""
        self.overlay.commit(ends.get(self.changelog))
        self._in_plan = []

    @property
    def in_plan(self) -> dict[str, int]:
        """How many records of each topic the last plan was made from, until it is committed."""
        counts: dict[str, int] = {}
        for batch in self._in_plan:
            topic = batch.source.topic
            counts[topic] = counts.get(topic, 0) + len(batch.records)
        return counts

    @property
    def undone(self) -> dict[TopicPartition, Undone]:
        """What is fetched and not committed."""
        found: dict[TopicPartition, Undone] = {}
        for batch in (*self._in_plan, *self._queue):
            known = found.get(batch.source)
            oldest_ms = known.oldest_ms if known else batch.timestamp_ms
            found[batch.source] = Undone((known.records if known else 0) + len(batch.records), oldest_ms)
        return found


def _put_aside(batch: Batch, outputs: Outputs) -> list[DeadLetter]:
    """Sends what was rejected of a batch to its dead-letter topic, in the same transaction."""
    source, letters = batch.source, []
    for at, reason in outputs.rejected:
        key, value = batch.records[at]
        letter = DeadLetter(source.topic, source.partition, batch.offsets[at], reason)
        outputs[TopicPartition(dead_letter_topic(source.topic), source.partition)].append((key, letter_value(letter, key, value)))
        letters.append(letter)
    outputs.rejected.clear()
    return letters
