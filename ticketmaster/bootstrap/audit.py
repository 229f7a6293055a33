"""``ticketmaster audit``: a sale on Kafka, or in a data directory, read and compared with itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import NamedTuple

import uvloop

from ticketmaster.audit.reading import Log, Progress, not_worked_off, read_books, removed_unread
from ticketmaster.audit.report import Finding, Report
from ticketmaster.audit.stores import damaged, read_stored, store_finding
from ticketmaster.bootstrap.kafka import data_id_of, reading_context
from ticketmaster.broker.embedded.snapshot import LogSnapshot
from ticketmaster.broker.port import TopicPartition
from ticketmaster.config.roles import Loaded
from ticketmaster.datadir import LOG_FILE, partitions_of_data_directory
from ticketmaster.errors import TaskCorrupted, UsageError
from ticketmaster.wire import topics

_LOGS = {
    (topics.EVENT_SERVICE, "AreaStatus"): topics.AREA_CHANGELOG,
    (topics.RESERVATION_SERVICE, "Reservation"): topics.RESERVATION_CHANGELOG,
    (topics.TICKET_SERVICE, "Reservation"): topics.USER_RESERVATION,
}


class AuditResult(NamedTuple):
    """What the books come to, how many stores were compared, and what does not add up in either."""

    report: Report
    stores: int
    findings: list[Finding]


def run_audit(loaded: Loaded, state_dir: Path | None, settle_ms: int, on_progress: Progress) -> AuditResult:
    """Audits all topics on Kafka, and with a state directory the stores in it. UsageError: Kafka or a topic is not there."""
    return uvloop.run(_audit(loaded, state_dir, settle_ms, on_progress))


def run_directory_audit(directory: Path, on_progress: Progress) -> AuditResult:
    """Audits a data directory as it is now, whether or not a process uses it. UsageError: it is none."""
    return uvloop.run(_audit_directory(directory, on_progress))


async def _audit(loaded: Loaded, state_dir: Path | None, settle_ms: int, on_progress: Progress) -> AuditResult:
    async with reading_context(loaded) as (broker, partitions, ids):
        report = (await read_books(broker, partitions, settle_ms, on_progress)).close()
        lost = await removed_unread(broker, partitions)
        # Only those of this cluster and these schema ids: no role would use others any more.
        stores = _stores(state_dir, f"*/{await data_id_of(broker, ids)}/*/*/*.db", -5) if state_dir else []
        if state_dir and not stores:
            raise UsageError(f"{state_dir} has no state of this cluster: name the -d that the roles have, or leave it out")
        found = [await _compared(store, lambda: nullcontext(broker)) for store in stores]
    return AuditResult(report, len(stores), [*report.findings, *filter(None, (lost, *found))])


async def _audit_directory(directory: Path, on_progress: Progress) -> AuditResult:
    partitions = partitions_of_data_directory(directory)

    def snapshot() -> AbstractContextManager[LogSnapshot]:
        return closing(LogSnapshot(directory / LOG_FILE))

    with snapshot() as log:
        books = await read_books(log, partitions, 0, on_progress)
        report = books.close(await not_worked_off(log, partitions, books))
        lost = await removed_unread(log, partitions)
    stores = _stores(directory / "state", "*.db", -3)
    found = [await _compared(store, snapshot) for store in stores]
    return AuditResult(report, len(stores), [*report.findings, *filter(None, (lost, *found))])


async def _compared(store: _Store, open_log: Callable[[], AbstractContextManager[Log]]) -> Finding | None:
    """What a store and its log differ in. The log is opened second: where a role is at work it must not be the older one."""
    try:
        stored = read_stored(store.file)
    except TaskCorrupted as reason:
        return damaged(reason)
    with open_log() as log:
        return await store_finding(log, stored, store.source)


class _Store(NamedTuple):
    """A file of state, and the log that it is a copy of."""

    file: Path
    source: TopicPartition


def _stores(folder: Path, pattern: str, application_at: int) -> list[_Store]:
    """The files ``<partition>/<store>.db`` of our roles, anywhere below a folder.

    ``application_at`` is where in the path the application's id stands.
    """
    found = []
    for file in sorted(folder.rglob(pattern)):
        application_id, partition = file.parts[application_at], file.parts[-2]
        log = _LOGS.get((application_id, file.stem))
        if log and partition.isdecimal():
            found.append(_Store(file, TopicPartition(log.name, int(partition))))
    return found
