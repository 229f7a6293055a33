"""The engine's limits and intervals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Defaults that suit a sale; all apply to one task."""

    transaction_records_max: int = 5_000
    queued_records_max: int = 20_000
    write_behind_records: int = 4_000
    write_behind_interval_ms: int = 1_000
    restart_backoff_ms: int = 100
    # After another producer of the same task was seen: longer than the group takes to tell who owns the partition.
    migrated_backoff_ms: int = 1_000
    # The longer a transaction's records took to gather, the longer the next ones may; embedded, the broker does this for all.
    commit_us_per_record: float = 0.0
    commit_interval_max_ms: int = 20
    poll_timeout_ms: int = 500
