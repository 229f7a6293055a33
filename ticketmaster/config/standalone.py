"""All that ``ticketmaster standalone`` is told. Every limit has its unit last in its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ticketmaster.config.doors import DoorConfig
from ticketmaster.config.telemetry import TelemetrySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StandaloneConfig:
    """The options of the command line, by their names there."""

    state_dir: Path
    port: int
    hostname: str
    bind: str
    max_threads: int
    selectors: int
    request_logging: bool
    metrics_port: int
    telemetry: TelemetrySettings
    doors: DoorConfig
    log_level: str
    partitions: int
    request_body_bytes_max: int
    areas_per_event_max: int
    seats_per_area_max: int
    seats_per_event_max: int
    seats_per_reservation_max: int
    seats_per_user_max: int
    waiting_requests_max: int
    commands_in_flight_max: int
    connections_max: int
    idle_seconds: int
    consumed_log_bytes_max: int
    long_poll_ms: int
    drain_ms: int
    lame_duck_ms: int
    list_reservations: bool
    listed_reservations_max: int
    lists_in_flight_max: int
    cancel_reservations_max: int
    cancel_rows_max: int
    rules_wait_ms: int
