"""Errors, named by what the caller must do about them. Foreign errors are translated at the adapter and chained."""

from __future__ import annotations


class TicketmasterError(Exception):
    """Base of every error this package raises on purpose."""


class Retriable(TicketmasterError):
    """It did not happen and may work later: rebuild the task, or answer 503."""


class NotAllowed(Retriable):
    """The broker's operator does not allow it: it works as soon as they do. The text says what was refused, and readiness shows it."""


class Refused(TicketmasterError):
    """The broker will not take these records, however often they are sent: says topic, size and setting."""

    def __init__(self, text: str, source: tuple[str, int], keys: tuple[bytes, ...] = ()) -> None:
        """``source`` is the records' topic and partition, ``keys`` are theirs: other records of that partition may be taken."""
        super().__init__(text)
        self.source = source
        self.keys = keys


class TaskMigrated(TicketmasterError):
    """Another process owns the task now: close it, keep the process."""


class TaskCorrupted(TicketmasterError):
    """The local state can't be trusted: drop it and restore from the changelog."""


class Fatal(TicketmasterError):
    """The process can't go on: say why, stop cleanly, exit with 1."""


class UsageError(TicketmasterError):
    """The operator must change something: one line on stderr, exit with 2."""


class InvalidRecord(TicketmasterError):
    """A record's bytes are not what its schema says."""
