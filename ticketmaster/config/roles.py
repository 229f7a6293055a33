"""All that ``ticketmaster ticket``, ``reservation`` and ``event`` are told: options of the command line and properties files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.config.doors import DoorConfig
from ticketmaster.config.kafka import merged, read_kafka, read_registry, read_streams
from ticketmaster.config.properties import read_properties
from ticketmaster.config.telemetry import TelemetrySettings
from ticketmaster.config.unused import unused
from ticketmaster.config.values import Values
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.wire.registry_settings import RegistrySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleConfig:
    """What the three roles have in common."""

    kafka: KafkaSettings
    registry: RegistrySettings
    streams: StreamSettings
    state_dir: Path
    workers: int
    log_level: str
    # Of all that the process listens on.
    bind: str
    # 0: none.
    metrics_port: int
    telemetry: TelemetrySettings
    # What of the properties files has no meaning here, and why; for the log.
    notes: tuple[str, ...]
    # None: no file was named, the local defaults are in force.
    config_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketConfig:
    """The ticket role; every limit has its unit last in its name, as in ``standalone``."""

    role: RoleConfig
    doors: DoorConfig
    hostname: str
    port: int
    max_threads: int
    selectors: int
    request_logging: bool
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
    long_poll_ms: int
    drain_ms: int
    lame_duck_ms: int
    list_reservations: bool
    listed_reservations_max: int
    lists_in_flight_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationConfig:
    """The reservation role; the limits as in ``standalone``."""

    role: RoleConfig
    cancel_reservations_max: int
    cancel_rows_max: int
    rules_wait_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What properties files come to; the fields as in :class:`RoleConfig`."""

    kafka: KafkaSettings
    registry: RegistrySettings
    streams: StreamSettings
    notes: tuple[str, ...]
    config_file: Path | None


def load_properties(config_file: Path | None, stream_config: Path | None = None, producer_config: Path | None = None) -> Loaded:
    """The settings of ``-c``, overridden by ``-sc``, overridden by ``-pc``; without ``-c`` those of a local Kafka and registry.

    UsageError: a file can't be read, or a value is wrong; the error names file, line and key.
    """
    config, stream, producer = (read_properties(file) if file else {} for file in (config_file, stream_config, producer_config))
    values, notes = Values(merged(config, stream, producer)), list[str]()
    kafka, registry, streams = read_kafka(values, notes), read_registry(values, notes), read_streams(values)
    return Loaded(kafka=kafka, registry=registry, streams=streams, notes=(*notes, *unused(values)), config_file=config_file)
