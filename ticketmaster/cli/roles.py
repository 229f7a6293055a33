"""``ticketmaster ticket``, ``reservation`` and ``event``: the three roles on Kafka, with the original's flags."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ticketmaster.cli.options import (
    CONFIG,
    DOOR_OPTIONS,
    FILE,
    GATEWAY_LIMITS,
    HTTP_OPTIONS,
    LIST_OPTIONS,
    LOG_LEVEL,
    PORT,
    RESERVATION_LIMITS,
    STATE_DIR,
    STREAM_CONFIG,
    bind,
    combined,
    hostname,
    metrics_port,
)

if TYPE_CHECKING:
    from ticketmaster.config.roles import RoleConfig

_LOOPBACK = "127.0.0.1"
_LOOPBACK_6 = "::1"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - chosen only by an operator who gives this machine a name for others
_EVERYWHERE_6 = "::"

_STREAM_ROLE = combined(
    STATE_DIR,
    CONFIG,
    STREAM_CONFIG,
    click.option("--workers", default=1, type=click.IntRange(1, 256), metavar="N", help="Processes to run, each a member of the group."),
    metrics_port("--health-port"),
    bind("Address of the metrics port; 0.0.0.0 is every interface.", _LOOPBACK),
    LOG_LEVEL,
)


def _role_config(options: dict[str, Any], *, workers: int, bind: str, producer_config: Path | None = None) -> RoleConfig:
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.config.roles import RoleConfig, load_properties  # noqa: PLC0415
    from ticketmaster.config.telemetry import read_telemetry  # noqa: PLC0415

    loaded = load_properties(options.pop("config_file"), options.pop("stream_config"), producer_config)
    return RoleConfig(
        kafka=loaded.kafka,
        registry=loaded.registry,
        streams=loaded.streams,
        notes=loaded.notes,
        config_file=loaded.config_file,
        state_dir=options.pop("state_dir"),
        log_level=options.pop("log_level"),
        workers=workers,
        metrics_port=options.pop("metrics_port"),
        telemetry=read_telemetry(os.environ),
        bind=bind,
    )


def _listens_at(hostname: str) -> str:
    """Where nothing else is said: where others reach a process of this name."""
    if ":" in hostname:
        return hostname if hostname == _LOOPBACK_6 else _EVERYWHERE_6
    return _LOOPBACK if hostname == "localhost" else _EVERYWHERE


@click.command()
@hostname("Name by which other ticket processes reach this machine.")
@click.option("-p", "--port", default=4403, type=PORT, help="Port to listen on; 0 takes a free one.")
@bind("Address to listen on.  [default: 127.0.0.1 if the hostname is localhost, else 0.0.0.0; ::1 or :: if it is an address of IPv6]")
@STATE_DIR
@CONFIG
@STREAM_CONFIG
@click.option("-pc", "--producer-config", type=FILE, metavar="FILE", help="Producer properties that override those of -c.")
@HTTP_OPTIONS
@click.option("-a", "--acceptors", default=1, type=click.IntRange(1, 256), metavar="N", help="Processes that share the port.")
@metrics_port()
@LOG_LEVEL
@GATEWAY_LIMITS
@LIST_OPTIONS
@DOOR_OPTIONS
@click.option(
    "--peer-secret-file",
    type=FILE,
    metavar="FILE",
    help="A secret of all ticket processes: without it nobody reaches /internal/. Read again when it changes.",
)
def ticket(**options: Any) -> None:
    """Run the ticket role on Kafka: the HTTP gateway, and the table of reservations."""
    from ticketmaster.bootstrap.ticket import run_ticket  # noqa: PLC0415
    from ticketmaster.cli.banner import show_ready  # noqa: PLC0415
    from ticketmaster.config.doors import door_config  # noqa: PLC0415
    from ticketmaster.config.roles import TicketConfig  # noqa: PLC0415

    address = options.pop("bind") or _listens_at(options["hostname"])
    role = _role_config(options, workers=options.pop("acceptors"), bind=address, producer_config=options.pop("producer_config"))
    config = TicketConfig(role=role, doors=door_config(options), **options)
    sys.exit(run_ticket(config, sys.argv[1:], lambda url: show_ready(url, role.state_dir)))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_STREAM_ROLE
@RESERVATION_LIMITS
def reservation(**options: Any) -> None:
    """Run the reservation role on Kafka: the life of each reservation."""
    from ticketmaster.bootstrap.stream_roles import run_reservation  # noqa: PLC0415
    from ticketmaster.cli.banner import show_role_ready  # noqa: PLC0415
    from ticketmaster.config.roles import ReservationConfig  # noqa: PLC0415

    role = _stream_role_config(options)
    sys.exit(run_reservation(ReservationConfig(role=role, **options), sys.argv[1:], lambda: show_role_ready(role.state_dir)))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_STREAM_ROLE
def event(**options: Any) -> None:
    """Run the event role on Kafka: the seats of each area."""
    from ticketmaster.bootstrap.stream_roles import run_event  # noqa: PLC0415
    from ticketmaster.cli.banner import show_role_ready  # noqa: PLC0415

    role = _stream_role_config(options)
    sys.exit(run_event(role, sys.argv[1:], lambda: show_role_ready(role.state_dir)))


def _stream_role_config(options: dict[str, Any]) -> RoleConfig:
    return _role_config(options, workers=options.pop("workers"), bind=options.pop("bind"))
