"""Runs one task: takes the partition over, then commits one transaction after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from ticketmaster.broker.port import Batch, TopicPartition, TransactionalProducer
from ticketmaster.errors import Fatal, Refused, Retriable, TicketmasterError
from ticketmaster.state.overlay import Overlays
from ticketmaster.state.port import StateStores
from ticketmaster.streams.alarm import Alarm
from ticketmaster.streams.jobs import take_steps
from ticketmaster.streams.lifecycle import PartitionState
from ticketmaster.streams.log_clock import LogClock
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.partition import Lag, PartitionWork, Surroundings
from ticketmaster.streams.task import Task
from ticketmaster.streams.topology import CommitPlan, Topology
from ticketmaster.telemetry.tracing import NOT_TRACED, Kind, Span

_SOON_MS = 60_000
# A client learns who leads at least this often, twice over.
_DOUBT_S = 60.0


class TaskRunner(PartitionWork):
    """The asynchronous half of a task."""

    def __init__(
        self,
        topology: Topology,
        partition: int,
        around: Surroundings,
        open_stores: Callable[[], StateStores],
        pace: Pace,
        clock: LogClock,
    ) -> None:
        self.task = Task(topology, partition, around.observer.tracer)
        super().__init__(around, partition, self.task.changelogs, open_stores)
        self._topology = topology
        self._pace = pace
        self._clock = clock
        self._alarm = Alarm(clock, self._wake.set)
        self._producer: TransactionalProducer | None = None
        # What the group has committed, as the task that starts was told.
        self._committed: dict[TopicPartition, int] = {}
        # Where each source goes on, behind what is committed; those of them that the group does not have yet; and where those go on
        # that the queue's limit has paused.
        self._positions: dict[TopicPartition, int] = {}
        self._uncommitted: dict[TopicPartition, int] = {}
        self._paused: dict[TopicPartition, int] = {}
        # Since when it is told of sources that end before what is committed.
        self._doubts_since_s: float | None = None
        # A transaction that fails is tried again with half of its records, and those behind it with more again.
        self._records_max = self._settings.transaction_records_max

    def deliver(self, batch: Batch) -> None:
        """Queues what was fetched; past the limit the partition delivers nothing until the queue is worked off."""
        if not self.serving or not self._takes(batch):
            return
        if not batch.records:
            # Markers of transactions only move on where the next batch must follow: they are worth no transaction.
            if batch.source in self._paused:
                self._paused[batch.source] = batch.next_offset
            return
        self.task.queue(batch)
        self._wake.set()
        if self.task.queued_records > self._settings.queued_records_max:
            self._paused[batch.source] = batch.next_offset
            self._consumer.pause(batch.source)

    def outlives(self, *, straight_back: bool) -> bool:
        # With a generation in between, somebody else may have worked on the partition.
        return straight_back

    async def _fence(self) -> Mapping[TopicPartition, int]:
        # Offsets behind the fence: what a predecessor can still commit is in them.
        if self._producer:
            await self._producer.stop()
        self._producer = self._broker.transactional_producer(self.name)
        self._check_assigned()
        await self._producer.start()
        self._check_assigned()
        self._committed = await self._producer.committed(self._topology.application_id, self.task.sources)
        self._check_assigned()
        self._starts = await self._broker.start_offsets(self.task.sources)
        self._ends = await self._broker.end_offsets(self.task.sources)
        self._check_assigned()
        return await self._producer.ends_of(list(self._changelogs.values()))

    async def _look_over(self, overlays: Overlays) -> None:
        """Where the sources go on. What the group has committed need not be there any more: neither the offset, nor the records."""
        has_state = any(overlay.position for overlay in overlays.values())
        forgotten = []
        for source in self.task.sources:
            offset, start, end = self._committed.get(source), self._starts[source], self._ends[source]
            if offset is not None and offset > end and self._doubts():
                raise Retriable(f"{source.topic}-{source.partition} is said to end at {end}, before {offset}, which is committed")
            if offset is None or offset > end:
                # Never committed, expired, or of a topic that was made anew.
                self._positions[source] = start
                if has_state and end > start:
                    forgotten.append(source)
            elif offset < start:
                self._observer.records_lost(self.name, source.topic, start - offset)
                self._positions[source] = start
            else:
                self._positions[source] = offset
        if forgotten:
            await self._repeat(forgotten, overlays)
        self.task.start(overlays)
        await take_steps(self.task.restored(), self._check_assigned)

    def _doubts(self) -> bool:
        """Whether it is too soon to believe that what was worked off is not there any more."""
        now_s = asyncio.get_running_loop().time()
        self._doubts_since_s = now_s if self._doubts_since_s is None else self._doubts_since_s
        return now_s - self._doubts_since_s < _DOUBT_S

    async def _repeat(self, forgotten: list[TopicPartition], overlays: Overlays) -> None:
        """The records of these sources come again though there is state that was made of them. Fatal: that would do harm."""
        named = ", ".join(f"{source.topic}-{source.partition} from {self._positions[source]}" for source in forgotten)
        tables = {name: overlay.table for name, overlay in overlays.items()}
        look = self._topology.against_repeating(tables, [source.topic for source in forgotten])
        if objection := await take_steps(look, self._check_assigned):
            raise Fatal(f"{self.name} has state, but its group has no committed offsets for {named}: {objection}")
        self._observer.records_repeated(self.name, named)

    def _begin(self, overlays: Overlays) -> None:
        self._doubts_since_s = None
        self._uncommitted = {source: at for source, at in self._positions.items() if self._committed.get(source) != at}

    def _seek(self) -> None:
        self._paused.clear()
        self._following.seek(self._positions)
        self._alarm.set(self.task.deadline_ms)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            await self._transact()

    async def _transact(self) -> None:
        """One transaction of what waits and what is due, if there is anything."""
        task, settings, loop = self.task, self._settings, asyncio.get_running_loop()
        self._raise_found()
        queued = task.queued_records
        plan = task.decide(self._records_max, self._deadlines_until_ms())
        self._pace.note(queued - task.queued_records, loop.time())
        if plan.dead_letters:
            self._observer.dead_letters(self.name, plan.dead_letters)
        if not task.queued_records:
            self._wake.clear()
            self._resume_paused()
        if not plan.is_empty:
            await self._commit(plan)
        self._set_alarm(plan)
        if plan.is_empty:
            return
        await self._write_behind_if_due()
        # Not while more waits than one transaction takes.
        if task.queued_records < settings.transaction_records_max and (rest_s := self._pace.rest_s(loop.time())):
            await asyncio.sleep(rest_s)

    def _deadlines_until_ms(self) -> int | None:
        """The log's time, if deadlines may be worked off now. After a failure they go without records, so that it is seen which fails."""
        if not self.serving or (self._records_max < self._settings.transaction_records_max and self.task.queued_records):
            return None
        return self._alarm.now_ms()

    def _set_alarm(self, plan: CommitPlan) -> None:
        """Wakes the task for its next deadline; ``plan`` is in the log."""
        if self.task.is_timed:
            self._alarm.worked_off()
        self._clock.note(plan.outputs.time_ms)
        self._alarm.set(self.task.deadline_ms if self.serving else None)

    async def _commit(self, plan: CommitPlan) -> None:
        assert self._producer is not None
        group, loop = self._topology.application_id, asyncio.get_running_loop()
        async with self._committing:
            began, records = loop.time(), self.task.in_plan
            # At first those of all sources: from then on one without is known to have lost it.
            offsets = {**self._uncommitted, **plan.offsets}
            with self._span(plan, records):
                ends = await self._producer.commit(plan.outputs, offsets, group, plan.outputs.headers)
            self.task.committed(ends)
            self._positions.update(plan.offsets)
            self._uncommitted = {}
        self._failures = 0
        self._records_max = min(2 * self._records_max, self._settings.transaction_records_max)
        self._observer.transaction_committed(group, records, plan.outputs.outcomes, loop.time() - began, plan.outputs.changes)

    def _note_failure(self, reason: TicketmasterError) -> None:
        """What failed may have been too much, or one record of it can't be written: the next transaction shows it, with fewer."""
        planned, is_timed = self.task.in_plan, self.task.is_timed
        if isinstance(reason, Refused):
            if is_timed:
                # Whether it is this that is refused will be seen when records go on without it.
                self._alarm.refused()
            elif planned and self._records_max == 1:
                self.task.give_up(str(reason))
            if planned:
                # Found out step by step, each with fewer records: no step is a failure of its own.
                self._failures = 0
        if planned:
            self._records_max = max(1, min(self._records_max, sum(planned.values())) // 2)

    def _span(self, plan: CommitPlan, records: Mapping[str, int]) -> Span:
        """The transaction's own span, where it serves traced records: a child of the first one's, linked to those of all others."""
        if not plan.spans:
            return NOT_TRACED
        first, *others = (span.headers for span in plan.spans)
        attributes: dict[str, str | int] = {"ticketmaster.task": self.name, "messaging.batch.message_count": sum(records.values())}
        return self._observer.tracer.start(f"transaction {self.name.partition('-')[0]}", Kind.PRODUCER, first, attributes, others)

    def _resume_paused(self) -> None:
        while self._paused:
            self._consumer.seek(*self._paused.popitem())

    @property
    def open_deadlines(self) -> int:
        """How many there are, while the partition is served."""
        return self.task.open_deadlines if self.serving else 0

    @property
    def due_soon(self) -> int:
        """How many come within a minute, at most, while the partition is served."""
        return self.task.due_by(self._clock.now_ms() + _SOON_MS) if self.serving else 0

    @property
    def overdue_ms(self) -> int:
        """How long ago the oldest thing was due, while the partition is served; 0: there is none, or it lies ahead."""
        due_ms = self.task.oldest_due_ms if self.serving else None
        return 0 if due_ms is None else max(self._clock.now_ms() - due_ms, 0)

    def lags(self) -> Iterator[Lag]:
        """How far each source is behind its log, while the partition is served: before that nobody here knows."""
        if not self.serving:
            return
        undone = self.task.undone
        for source in self.task.sources:
            records, oldest_ms = undone.get(source, (0, None))
            yield Lag(source, records + self._consumer.behind(source), oldest_ms)

    def _drop(self) -> None:
        if self.state is PartitionState.RUNNING:
            self.task.drop_queue()
        if not self._found:
            self._wake.clear()
        self._alarm.set(None)
        self._paused.clear()

    async def _end(self) -> None:
        if self._producer:
            await self._producer.stop()
