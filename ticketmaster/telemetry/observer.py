"""The observer port: the engine and the roles tell what happens; the base class does nothing with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ticketmaster.telemetry.metrics import Histogram
from ticketmaster.telemetry.tracing import NO_TRACER, Tracer


class DeadLetter(NamedTuple):
    """A record that can't be read: where it is, and why."""

    topic: str
    partition: int
    offset: int
    reason: str


class Observer:
    """Called at most once a batch, never once a record. Its methods must not raise."""

    tracer: Tracer = NO_TRACER
    """Who traces."""
    decision_durations: Histogram | None = None
    """Takes the seconds from each POST to its decision, if anybody wants them."""

    def partitions_assigned(self, application_id: str, partitions: Sequence[int], generation: int) -> None:
        """A role's process owns these partitions now."""

    def transaction_committed(
        self, application_id: str, records: Mapping[str, int], outcomes: Mapping[str, int], duration_s: float, changes: Mapping[str, int]
    ) -> None:
        """A transaction is in the log: so many records of each topic were worked off, and so many reservations decided with each outcome.

        An outcome is the reason of a failure, "" of a success. ``changes`` are of reservations that were decided before, by kind.
        """

    def records_applied(self, application_id: str, topic: str, records: int) -> None:
        """A table has taken records of its topic."""

    def reading_failed(self, application_id: str, reason: str) -> None:
        """The broker did not deliver; it is asked again."""

    def commands_not_acknowledged(self, reason: str) -> None:
        """The log has not taken commands, or has not said so."""

    def task_restoring(self, task: str, records: int, part: float) -> None:
        """A task's restoration takes long: it has read ``records``, about this part (0 to 1) of all."""

    def dead_letters(self, task: str, letters: Sequence[DeadLetter]) -> None:
        """A task has put aside records that it can't read."""

    def task_restored(self, task: str, records: int) -> None:
        """A task serves its partition, after reading ``records`` of its changelog."""

    def task_restarted(self, task: str, reason: str) -> None:
        """A task failed and takes its partition over again."""

    def task_migrated(self, task: str, reason: str) -> None:
        """Another process has taken a task's partition."""

    def records_dropped(self, application_id: str, topic: str, records: int) -> None:
        """A consumer delivered what did not follow; it was not worked off, and comes again in its place."""

    def records_lost(self, task: str, topic: str, records: int) -> None:
        """Retention has removed so many records, by their offsets, before a task has read them."""

    def records_repeated(self, task: str, sources: str) -> None:
        """A task with state has no committed offsets for these sources (topic, partition and offset in words), and reads them again."""

    def state_not_written(self, task: str, reason: str) -> None:
        """A task's stores could not be written when they were closed: the next one restores more of the changelogs."""
