"""``ticketmaster trace``: one reservation's way through the topics on Kafka, or in a data directory."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ticketmaster.audit.trace import Progress, Trace, trace
from ticketmaster.bootstrap.kafka import reading_context
from ticketmaster.bootstrap.running import run
from ticketmaster.broker.embedded.snapshot import LogSnapshot
from ticketmaster.config.roles import Loaded
from ticketmaster.datadir import LOG_FILE, data_directory_in_use, partitions_of_data_directory
from ticketmaster.errors import UsageError
from ticketmaster.ticket.ids import canonical_id

__all__ = ["Trace", "run_directory_trace", "run_trace"]


def run_trace(loaded: Loaded, reservation_id: str, on_progress: Progress) -> Trace:
    """On Kafka. UsageError: it is no id, or Kafka or a topic is not there."""
    return run(_trace(loaded, _canonical(reservation_id), on_progress))


def run_directory_trace(directory: Path, reservation_id: str, on_progress: Progress) -> Trace:
    """In a data directory as it is now, whether or not a process uses it. UsageError: it is no id, or no data directory."""
    canonical = _canonical(reservation_id)
    partitions = partitions_of_data_directory(directory)
    with closing(LogSnapshot(directory / LOG_FILE, in_use=data_directory_in_use(directory))) as log:
        return run(trace(log, partitions, canonical, on_progress))


def _canonical(reservation_id: str) -> str:
    canonical = canonical_id(reservation_id)
    if canonical is None:
        raise UsageError(f"{reservation_id!r} is no reservation id: that is a UUID, as POST …/reservation returned it")
    return canonical


async def _trace(loaded: Loaded, reservation_id: str, on_progress: Progress) -> Trace:
    async with reading_context(loaded) as (broker, partitions, _):
        return await trace(broker, partitions, reservation_id, on_progress)
