"""``ticketmaster audit``: a sale on Kafka, or in a data directory, read and compared with itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import NamedTuple

from ticketmaster.audit.reading import Log, Progress, not_worked_off, read_books, removed_unread
from ticketmaster.audit.report import Finding, Report
from ticketmaster.audit.stores import damaged, read_stored, store_finding
from ticketmaster.bootstrap.kafka import data_id_of, reading_context
from ticketmaster.bootstrap.running import run
from ticketmaster.bootstrap.stores import Store, stores_below
from ticketmaster.broker.embedded.snapshot import LogSnapshot
from ticketmaster.clock import SystemClock
from ticketmaster.config.roles import Loaded
from ticketmaster.datadir import LOG_FILE, STATE, data_directory_in_use, is_in_use, partitions_of_data_directory
from ticketmaster.errors import TaskCorrupted, UsageError
from ticketmaster.statedir import slot_lock


def in_lines(say: Callable[[str], None], interval_s: float) -> Progress:
    """Progress as lines of text: one each ``interval_s`` at most, none before that time is over."""
    clock = SystemClock()
    last_s = clock.monotonic_s()

    def on_progress(what: str, records: int, total: int, done: int) -> None:
        nonlocal last_s
        if clock.monotonic_s() - last_s >= interval_s:
            last_s = clock.monotonic_s()
            say(f"{what}: {records:,} records, {100 * done // total} %" if total else what)

    return on_progress


class AuditResult(NamedTuple):
    """What the books come to, how many stores were compared, and what does not add up in either."""

    report: Report
    stores: int
    findings: list[Finding]


def run_audit(loaded: Loaded, state_dir: Path | None, settle_ms: int, on_progress: Progress) -> AuditResult:
    """Audits all topics on Kafka, and with a state directory the stores in it. UsageError: Kafka or a topic is not there."""
    return run(_audit(loaded, state_dir, settle_ms, on_progress))


def run_directory_audit(directory: Path, on_progress: Progress) -> AuditResult:
    """Audits a data directory as it is now, whether or not a process uses it. UsageError: it is none."""
    return run(_audit_directory(directory, on_progress))


async def _audit(loaded: Loaded, state_dir: Path | None, settle_ms: int, on_progress: Progress) -> AuditResult:
    async with reading_context(loaded) as (broker, partitions, ids):
        books = await read_books(broker, partitions, settle_ms, on_progress)
        on_progress("checking", 0, 0, 0)
        report = books.close()
        lost = await removed_unread(broker, partitions)
        # Only those of this cluster and these schema ids: no role would use others any more.
        stores = stores_below(state_dir, f"*/{await data_id_of(broker, ids)}/*/*/*.db", -5) if state_dir else []
        if state_dir and not stores:
            raise UsageError(f"{state_dir} has no state of this cluster: name the -d that the roles have, or leave it out")
        found = await _compared_all(stores, lambda store: is_in_use(slot_lock(store)), lambda: nullcontext(broker), on_progress)
    return AuditResult(report, len(stores), [*report.findings, *filter(None, (lost, *found))])


async def _audit_directory(directory: Path, on_progress: Progress) -> AuditResult:
    partitions = partitions_of_data_directory(directory)

    def snapshot() -> AbstractContextManager[LogSnapshot]:
        return closing(LogSnapshot(directory / LOG_FILE, in_use=data_directory_in_use(directory)))

    with snapshot() as log:
        books = await read_books(log, partitions, 0, on_progress)
        on_progress("checking", 0, 0, 0)
        report = books.close(await not_worked_off(log, partitions, books))
        lost = await removed_unread(log, partitions)
    stores = stores_below(directory / STATE, "*.db", -3)
    found = await _compared_all(stores, lambda _: data_directory_in_use(directory), snapshot, on_progress)
    return AuditResult(report, len(stores), [*report.findings, *filter(None, (lost, *found))])


async def _compared_all(
    stores: Sequence[Store], in_use: Callable[[Path], bool], open_log: Callable[[], AbstractContextManager[Log]], on_progress: Progress
) -> list[Finding]:
    """What all stores and their logs differ in. A damaged file with several stores is one finding."""
    found: list[Finding] = []
    for store in stores:
        finding = await _compared(store, in_use(store.file), open_log, on_progress)
        if finding and finding not in found:
            found.append(finding)
    return found


async def _compared(
    store: Store,
    in_use: bool,  # noqa: FBT001
    open_log: Callable[[], AbstractContextManager[Log]],
    on_progress: Progress,
) -> Finding | None:
    """What a store and its log differ in. The log is opened second: where a role is at work it must not be the older one."""
    try:
        stored = read_stored(store.file, store.number, store.name, in_use=in_use)
    except TaskCorrupted as reason:
        return damaged(reason)
    with open_log() as log:
        return await store_finding(log, stored, store.source, on_progress)
