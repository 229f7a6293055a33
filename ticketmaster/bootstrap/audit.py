"""``ticketmaster audit``: a sale on Kafka, read and compared with itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvloop

from ticketmaster.audit.reading import read_books
from ticketmaster.audit.report import Finding, Totals
from ticketmaster.audit.stores import store_finding
from ticketmaster.bootstrap.kafka import data_id_of, reading_context
from ticketmaster.broker.port import TopicPartition
from ticketmaster.config.roles import Loaded
from ticketmaster.wire import topics

_LOGS = {
    (topics.EVENT_SERVICE, "AreaStatus"): topics.AREA_CHANGELOG,
    (topics.RESERVATION_SERVICE, "Reservation"): topics.RESERVATION_CHANGELOG,
    (topics.TICKET_SERVICE, "Reservation"): topics.USER_RESERVATION,
}


class AuditResult(NamedTuple):
    """What was counted, how many stores were compared, and what does not add up."""

    totals: Totals
    stores: int
    findings: list[Finding]


def run_audit(loaded: Loaded, state_dir: Path | None, settle_ms: int, on_progress: Callable[[int], None]) -> AuditResult:
    """Audits all topics, and with a state directory the stores of stopped roles in it. UsageError: Kafka or a topic is not there."""
    return uvloop.run(_audit(loaded, state_dir, settle_ms, on_progress))


async def _audit(loaded: Loaded, state_dir: Path | None, settle_ms: int, on_progress: Callable[[int], None]) -> AuditResult:
    async with reading_context(loaded) as (broker, partitions, ids):
        report = (await read_books(broker, partitions, settle_ms, on_progress)).close()
        findings = report.findings
        stores = _stores(state_dir, await data_id_of(broker, ids)) if state_dir else []
        for file, log in stores:
            finding = await store_finding(broker, file, log)
            if finding:
                findings.append(finding)
    return AuditResult(report.totals, len(stores), findings)


def _stores(state_dir: Path, data_id: str) -> list[tuple[Path, TopicPartition]]:
    """The files ``<application>/<data>/<slot>/<partition>/<store>.db`` anywhere below a folder, and the log that each is a copy of.

    Only those of this cluster and these schema ids: no role would use others any more.
    """
    found = []
    for file in sorted(state_dir.rglob(f"*/{data_id}/*/*/*.db")):
        application_id, partition = file.parts[-5], file.parts[-2]
        log = _LOGS.get((application_id, file.stem))
        if log and partition.isdecimal():
            found.append((file, TopicPartition(log.name, int(partition))))
    return found
