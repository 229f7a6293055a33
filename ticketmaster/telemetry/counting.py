"""An observer that counts what happens, and logs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ticketmaster.telemetry import metrics
from ticketmaster.telemetry.logs import LogObserver
from ticketmaster.telemetry.metrics import Histogram, Metrics, Readings
from ticketmaster.telemetry.observer import DeadLetter

_SERVICE = "-service"
SUCCESS = ""


class CountingObserver(LogObserver):
    """Counts into the metrics of a process of ``role``; in one process of all roles, of the role that is named."""

    def __init__(self, numbers: Metrics, role: str) -> None:
        super().__init__()
        self._metrics = numbers
        self._role = role
        self._restored: dict[str, float] = {}
        self._transactions: dict[str, tuple[Histogram, Histogram]] = {}
        numbers.watch(metrics.RESTORATION, self._restoration)

    def _restoration(self) -> Readings:
        return [((self._role_of(task), task), part) for task, part in self._restored.items()]

    def _role_of(self, name: str) -> str:
        """Of an application id, or of a task, which begins with one; else it is this process."""
        role, service, _ = name.partition(_SERVICE)
        return role if service else self._role

    def transaction_committed(
        self, application_id: str, records: Mapping[str, int], outcomes: Mapping[str, int], duration_s: float, changes: Mapping[str, int]
    ) -> None:
        role, add = self._role_of(application_id), self._metrics.add
        if role not in self._transactions:
            self._transactions[role] = (
                self._metrics.histogram(metrics.TRANSACTION_DURATION, role),
                self._metrics.histogram(metrics.TRANSACTION_RECORDS, role),
            )
        durations, sizes = self._transactions[role]
        durations.observe(duration_s)
        sizes.observe(sum(records.values()))
        for topic, count in records.items():
            add(metrics.RECORDS, count, role, topic)
        for reason, count in outcomes.items():
            add(metrics.DECISIONS, count, role, "success" if reason == SUCCESS else "failed", reason)
        for change, count in changes.items():
            add(metrics.CHANGES, count, role, change)

    def records_applied(self, application_id: str, topic: str, records: int) -> None:
        self._metrics.add(metrics.RECORDS, records, self._role_of(application_id), topic)

    def partitions_assigned(self, application_id: str, partitions: Sequence[int], generation: int) -> None:
        super().partitions_assigned(application_id, partitions, generation)
        self._metrics.add(metrics.REBALANCES, 1, self._role_of(application_id))
        owned = {f"{application_id}-{partition}" for partition in partitions}
        ours = f"{application_id}-"
        self._restored = {task: part for task, part in self._restored.items() if task in owned or not task.startswith(ours)}

    def reading_failed(self, application_id: str, reason: str) -> None:
        super().reading_failed(application_id, reason)
        self._metrics.add(metrics.READS_FAILED, 1, self._role_of(application_id))

    def commands_not_acknowledged(self, reason: str) -> None:
        super().commands_not_acknowledged(reason)
        self._metrics.add(metrics.COMMANDS_FAILED, 1, "ticket")

    def task_restoring(self, task: str, records: int, part: float) -> None:
        super().task_restoring(task, records, part)
        self._restored[task] = part

    def task_restored(self, task: str, records: int) -> None:
        super().task_restored(task, records)
        self._restored[task] = 1.0
        self._metrics.add(metrics.RESTORED_RECORDS, records, self._role_of(task))

    def dead_letters(self, task: str, letters: Sequence[DeadLetter]) -> None:
        super().dead_letters(task, letters)
        for letter in letters:
            self._metrics.add(metrics.DEAD_LETTERS, 1, self._role_of(task), letter.topic)

    def task_restarted(self, task: str, reason: str) -> None:
        super().task_restarted(task, reason)
        self._restored[task] = 0.0
        self._metrics.add(metrics.TASKS_RESTARTED, 1, self._role_of(task))

    def records_dropped(self, application_id: str, topic: str, records: int) -> None:
        super().records_dropped(application_id, topic, records)
        self._metrics.add(metrics.RECORDS_DROPPED, records, self._role_of(application_id), topic)

    def records_lost(self, task: str, topic: str, records: int) -> None:
        super().records_lost(task, topic, records)
        self._metrics.add(metrics.RECORDS_LOST, records, self._role_of(task), topic)

    def records_repeated(self, task: str, sources: str) -> None:
        super().records_repeated(task, sources)
        self._metrics.add(metrics.OFFSETS_MISSING, 1, self._role_of(task))

    def task_migrated(self, task: str, reason: str) -> None:
        super().task_migrated(task, reason)
        self._metrics.add(metrics.TASKS_FENCED, 1, self._role_of(task))
