"""Structured logs on stdout: for people on a terminal, JSON lines otherwise."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import structlog

from ticketmaster.telemetry.observer import Observer


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

    def task_restored(self, task: str, records: int) -> None:
        self._log.debug("task_restored", task=task, records=records)

    def task_restarted(self, task: str, reason: str) -> None:
        self._log.warning("task_restarted", task=task, reason=reason)

    def task_migrated(self, task: str, reason: str) -> None:
        self._log.warning("task_migrated", task=task, reason=reason)
