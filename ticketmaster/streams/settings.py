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
    # What fails again and again waits twice as long each time, up to the second.
    restart_backoff_ms: int = 100
    restart_backoff_max_ms: int = 5_000
    # After another producer of the same task was seen: longer than the group takes to tell who owns the partition.
    migrated_backoff_ms: int = 1_000
    # How long records may gather under load.
    commit_interval_max_ms: int = 100
    poll_timeout_ms: int = 4_000
    # How long the group waits for its members when it deals out the partitions anew, and a little more.
    rebalance_max_ms: int = 25_000
    # How long a table that nobody waits for, as the filter's, lets its next records gather.
    table_rest_ms: int = 100
    # How old a table is at most by which seats are refused; the broker is asked four times as often whether it has all.
    table_age_max_ms: int = 2_000
    # How long work waits for a table that it is to begin behind.
    table_wait_max_ms: int = 60_000
    # How many rows of a store are looked at in one go, behind the work, to see whether they are what was written; and the pause behind.
    check_rows_max: int = 1_000
    check_rest_ms: int = 50


# The embedded broker lets records gather itself, for all at once.
EMBEDDED = StreamSettings(commit_interval_max_ms=0)
