"""Structured logs on stdout: for people on a terminal, JSON lines otherwise."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import structlog

from ticketmaster.telemetry.observer import DeadLetter, Observer

_LOGGED_LETTERS_MAX = 10


def configure_logs(level: str) -> None:
    """Sets up structlog for the process."""
    on_terminal = sys.stdout.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if on_terminal else "iso", utc=not on_terminal),
            *([] if on_terminal else [structlog.processors.dict_tracebacks]),
            structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )


class LogObserver(Observer):
    """Logs what happens to tasks."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def partitions_assigned(self, application_id: str, partitions: Sequence[int], generation: int) -> None:
        self._log.debug("partitions_assigned", role=application_id, partitions=list(partitions), generation=generation)

    def reading_failed(self, application_id: str, reason: str) -> None:
        self._log.warning("reading_failed", role=application_id, reason=reason)

    def task_restoring(self, task: str, records: int, part: float) -> None:
        self._log.info("task_restoring", task=task, records=records, percent=round(100 * part))

    def dead_letters(self, task: str, letters: Sequence[DeadLetter]) -> None:
        for letter in letters[:_LOGGED_LETTERS_MAX]:
            self._log.warning("dead_letter", task=task, **letter._asdict())
        if len(letters) > _LOGGED_LETTERS_MAX:
            self._log.warning("dead_letters", task=task, more=len(letters) - _LOGGED_LETTERS_MAX)

    def task_restored(self, task: str, records: int) -> None:
        self._log.debug("task_restored", task=task, records=records)

    def task_restarted(self, task: str, reason: str) -> None:
        self._log.warning("task_restarted", task=task, reason=reason)

    def task_migrated(self, task: str, reason: str) -> None:
        self._log.warning("task_migrated", task=task, reason=reason)
