"""A task: one partition of a role. Batches in, a commit plan out; what is committed is then applied."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from ticketmaster.broker.port import Batch, TopicPartition
from ticketmaster.state.overlay import Overlays
from ticketmaster.state.port import Steps
from ticketmaster.streams.dead_letters import dead_letter_topic, letter_value
from ticketmaster.streams.topology import CommitPlan, Outputs, Topology
from ticketmaster.streams.tracing import process_traced
from ticketmaster.telemetry.observer import DeadLetter
from ticketmaster.telemetry.tracing import NO_TRACER, Span, Tracer


class Undone(NamedTuple):
    """What a task has fetched of a source and not committed: how many records, and the time of the oldest ones."""

    records: int
    oldest_ms: int


class Task:
    """The synchronous half of a task; :class:`~ticketmaster.streams.runner.TaskRunner` moves the bytes."""

    def __init__(self, topology: Topology, partition: int, tracer: Tracer = NO_TRACER) -> None:
        self.partition = partition
        self.changelogs = {store.name: TopicPartition(store.changelog, partition) for store in topology.stores}
        self.sources = tuple(TopicPartition(topic, partition) for topic in topology.sources)
        self._topology = topology
        self._tracer = tracer
        self._queue: deque[Batch] = deque()
        # What the last plan was made from, until it is committed.
        self._in_plan: list[Batch] = []
        self._queued_records = 0
        # A record whose consequences can't be written, where it is and why: it is put aside the next time it comes.
        self._given_up: tuple[TopicPartition, int, str] | None = None
        self._letter_has_record = True
        self.is_timed = False
        """Whether a deadline had a part in the last plan."""

    def start(self, overlays: Overlays) -> None:
        """Begins to run on restored state, with nothing in the queue; :meth:`restored` is to follow."""
        self.overlays = overlays
        self._processor = self._topology.new_processor(self.partition)
        self.drop_queue()

    def restored(self) -> Steps:
        """Lets the processor rebuild what it keeps in memory."""
        return self._processor.restored({name: overlay.table for name, overlay in self.overlays.items()})

    @property
    def deadline_ms(self) -> int | None:
        """The next one, in the log's time."""
        return self._processor.deadline_ms

    @property
    def oldest_due_ms(self) -> int | None:
        """When the oldest thing was or will be due, in the log's time."""
        return self._processor.oldest_due_ms

    @property
    def open_deadlines(self) -> int:
        """How many there are."""
        return self._processor.open_deadlines

    def due_by(self, at_ms: int) -> int:
        """How many will have come at an instant of the log's time, at most."""
        return self._processor.due_by(at_ms)

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
        self.is_timed = False

    def decide(self, records_max: int, now_ms: int | None = None) -> CommitPlan:
        """The next transaction: of all that is queued, of up to ``records_max`` records, or of what the processor takes.

        Behind them comes what is due at ``now_ms``, in the log's time; None: deadlines wait.
        """
        outputs = Outputs()
        offsets: dict[TopicPartition, int] = {}
        letters: list[DeadLetter] = []
        spans: list[Span] = []
        taken = 0
        in_plan = self._in_plan = []
        while self._queue and taken < records_max:
            batch = self._next_batch(records_max - taken)
            left = None
            outputs.time_ms = batch.timestamp_ms
            if self._given_up and batch.offsets and self._given_up[:2] == (batch.source, batch.offsets[0]):
                letters += self._put_aside_given_up(batch, outputs)
            else:
                if batch.headers and self._tracer.enabled:
                    spans += process_traced(self._processor, batch, self.overlays, outputs, self._tracer)
                else:
                    self._processor.process(batch.source.topic, batch.records, self.overlays, outputs)
                if outputs.rejected:
                    letters += _put_aside(batch, outputs)
                if left := outputs.left:
                    batch = self._put_back(batch, *left)
            in_plan.append(batch)
            offsets[batch.source] = batch.next_offset
            taken += len(batch.records)
            if left:
                break
        self._queued_records -= taken
        deadline_ms = self._processor.deadline_ms
        self.is_timed = False
        if now_ms is not None and deadline_ms is not None and deadline_ms <= now_ms:
            self.is_timed = True
            self._processor.on_time(now_ms, self.overlays, outputs)
        if in_plan or self.is_timed:
            self._processor.end_transaction(self.overlays, outputs)
        for name, changelog in self.changelogs.items():
            if writes := self.overlays[name].open_writes:
                outputs[changelog] = list(writes.items())
        return CommitPlan(outputs, offsets, letters, spans)

    def _next_batch(self, records_max: int) -> Batch:
        """The first batch of the queue, or its first records; one that was given up comes alone."""
        batch = self._queue.popleft()
        if self._given_up and batch.source == self._given_up[0] and self._given_up[1] in batch.offsets:
            records_max = min(records_max, max(1, batch.offsets.index(self._given_up[1])))
        if len(batch.records) > records_max:
            batch, rest = batch.split(records_max)
            self._queue.appendleft(rest)
        return batch

    def give_up(self, reason: str) -> None:
        """The one record that the last plan was made from, or made a part of, can't be worked off: what comes of it can't be written."""
        batch = self._in_plan[-1]
        at = (batch.source, batch.offsets[0] if batch.offsets else batch.next_offset, reason)
        # Its letter was refused as well: then it goes without the record, which stays where it is as long as its topic keeps it.
        self._letter_has_record = self._given_up is None or self._given_up[:2] != at[:2]
        self._given_up = at

    def _put_aside_given_up(self, batch: Batch, outputs: Outputs) -> list[DeadLetter]:
        assert self._given_up is not None
        ((key, value),) = batch.records
        source, offset, reason = self._given_up
        letter = DeadLetter(source.topic, source.partition, offset, reason)
        record = (key, value) if self._letter_has_record else (None, None)
        outputs[_letters_of(source)].append((key, letter_value(letter, *record)))
        self._processor.give_up(source.topic, (key, value), self.overlays, outputs)
        return [letter]

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
        """The last plan is in the log; ``ends`` says where each partition's log ends behind it."""
        for name, changelog in self.changelogs.items():
            self.overlays[name].commit(ends.get(changelog))
        if self._given_up and any(self._given_up[:2] == (batch.source, *batch.offsets[:1]) for batch in self._in_plan):
            self._given_up = None
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
        outputs[_letters_of(source)].append((key, letter_value(letter, key, value)))
        letters.append(letter)
    outputs.rejected.clear()
    return letters


def _letters_of(source: TopicPartition) -> TopicPartition:
    return TopicPartition(dead_letter_topic(source.topic), source.partition)
