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
    poll_timeout_ms: int = 500
