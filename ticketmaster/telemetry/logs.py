"""Structured logs on stdout: for people on a terminal, JSON lines otherwise."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import TextIO, cast

import structlog

from ticketmaster.clock import SystemClock
from ticketmaster.printable import printable_lines
from ticketmaster.telemetry.observer import DeadLetter, Observer

_LOGGED_LETTERS_MAX = 10
_REPEATED_AFTER_S = 60.0
_KEYS_MAX = 1_000
# Without the values of variables: passwords, tokens and people's reservations are among them.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure_logs(level: str) -> None:
    """Sets up structlog for the process."""
    on_terminal = sys.stdout.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if on_terminal else "iso", utc=not on_terminal),
            *([structlog.processors.format_exc_info, _shown] if on_terminal else [_TRACEBACKS]),
            structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(_output()),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[LibraryHandler(SystemClock().monotonic_s)], level=logging.WARNING, force=True)


class _Lines:
    """Lines of a log. One that can't be written, on a full disk or to a reader that is gone, is lost, and nothing else."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._is_cut = False

    def write(self, text: str) -> None:
        """Writes a line. Nothing of it is kept, so that nothing fails later."""
        left = memoryview((f"\n{text}" if self._is_cut else text).encode(self._encoding, "backslashreplace"))
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
                self._is_cut = bool(left)
        except OSError:
            # Whoever would be told of it reads this log.
            pass

    def flush(self) -> None:
        """It is written already."""


def _output() -> TextIO:
    try:
        lines = _Lines(sys.stdout.fileno(), sys.stdout.encoding)
    except io.UnsupportedOperation:
        # It is no file, but a place in memory.
        return sys.stdout
    return cast("TextIO", lines)


def _shown(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What goes to a terminal: names of strangers stand in events."""
    return {name: printable_lines(value) if isinstance(value, str) else value for name, value in event.items()}


class OccasionalLog:
    """What comes again and again while something is away: logged at once, then at most once a minute.

    The field ``repeated`` says how often it was held back since it was last logged.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._log = structlog.get_logger()
        self._clock_s = clock_s
        # Of each key: when it is due again, and how often it was held back.
        self._due: dict[Hashable, tuple[float, int]] = {}

    def log(self, level: int, key: Hashable, event: str, **facts: object) -> None:
        """Logs an event with its facts, unless one of the same ``key`` was logged less than a minute ago."""
        now = self._clock_s()
        due_s, repeated = self._due.get(key, (now, 0))
        if now < due_s:
            self._due[key] = due_s, repeated + 1
            return
        if len(self._due) >= _KEYS_MAX:
            self._due.clear()
        self._due[key] = now + _REPEATED_AFTER_S, 0
        more = {"repeated": repeated} if repeated else {}
        self._log.log(level, event, **facts, **more)


class LibraryHandler(logging.Handler):
    """Warnings and errors of the libraries, as lines like all others.

    A client of Kafka writes hundreds of equal lines a second while a broker is away.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        super().__init__()
        self._occasional = OccasionalLog(clock_s)

    def emit(self, record: logging.LogRecord) -> None:
        more = {"exc_info": record.exc_info} if record.exc_info else {}
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a text and values that don't go together are the library's mistake, and no reason to fail
            message = str(record.msg)
        # Texts are equal or not before their values are put in.
        key = record.name, str(record.msg)
        self._occasional.log(record.levelno, key, "library", logger=record.name, message=message, **more)


class LogObserver(Observer):
    """Logs what happens to tasks."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._occasional = OccasionalLog(SystemClock().monotonic_s)

    def _warn(self, event: str, *key: str, **facts: str) -> None:
        self._occasional.log(logging.WARNING, (event, *key), event, **facts)

    def partitions_assigned(self, application_id: str, partitions: Sequence[int], generation: int) -> None:
        self._log.debug("partitions_assigned", role=application_id, partitions=list(partitions), generation=generation)

    def reading_failed(self, application_id: str, reason: str) -> None:
        self._warn("reading_failed", application_id, role=application_id, reason=reason)

    def commands_not_acknowledged(self, reason: str) -> None:
        self._warn("commands_not_acknowledged", reason=reason)

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
        self._warn("task_restarted", task, reason, task=task, reason=reason)

    def records_lost(self, task: str, topic: str, records: int) -> None:
        self._log.error("records_lost", task=task, topic=topic, records=records, reason="retention removed them before they were read")

    def records_repeated(self, task: str, sources: str) -> None:
        self._log.warning(
            "offsets_missing", task=task, reads=sources, reason="the task has state and its group no offsets; what it did is not done twice"
        )

    def records_dropped(self, application_id: str, topic: str, records: int) -> None:
        self._warn("records_dropped", application_id, topic, role=application_id, topic=topic, reason="they do not follow, and come again")

    def state_not_written(self, task: str, reason: str) -> None:
        self._warn("state_not_written", task, reason, task=task, reason=reason)

    def task_migrated(self, task: str, reason: str) -> None:
        self._warn("task_migrated", task, reason, task=task, reason=reason)
