"""The observer port: the engine and the roles tell what happens; the base class does nothing with it."""

from __future__ import annotations

from collections.abc import Sequence


class Observer:
    """Called at most once a batch, never once a record. Its methods must not raise."""

    def partitions_assigned(self, application_id: str, partitions: Sequence[int], generation: int) -> None:
        """A role's process owns these partitions now."""

    def task_restored(self, task: str, records: int) -> None:
        """A task serves its partition, after reading ``records`` of its changelog."""

    def task_restarted(self, task: str, reason: str) -> None:
        """A task failed and takes its partition over again."""

    def task_migrated(self, task: str, reason: str) -> None:
        """Another process has taken a task's partition."""
