"""``ticketmaster standalone``: the whole system in one process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from ticketmaster.cli.options import (
    DOOR_OPTIONS,
    FILE,
    GATEWAY_LIMITS,
    HTTP_OPTIONS,
    LIST_OPTIONS,
    LOG_LEVEL,
    PORT,
    RESERVATION_LIMITS,
    bind,
    hostname,
    limit,
    metrics_port,
)
from ticketmaster.config.doors import door_config
from ticketmaster.config.standalone import StandaloneConfig
from ticketmaster.config.telemetry import read_telemetry
from ticketmaster.urls import host_and_port


@click.command()
@click.option("-p", "--port", default=4403, type=PORT, help="Port to listen on; 0 takes a free one.")
@click.option(
    "-d", "--state-dir", default=Path("./data"), type=FILE, help="Directory for the log and the state, created if it does not exist."
)
@hostname("Name of this machine in the addresses that it shows.")
@bind("Address to listen on; 0.0.0.0 means every interface.  [default: 127.0.0.1, or ::1 if the hostname is an address of IPv6]")
@HTTP_OPTIONS
@metrics_port()
@LOG_LEVEL
@click.option(
    "--partitions",
    default=1,
    type=click.IntRange(1, 1_000),
    metavar="N",
    help="Partitions of every topic. Can't be changed once the directory exists.",
)
@limit("consumed-log-bytes-max", 256 << 20, "Bytes of processed commands to keep, per topic and partition.")
@GATEWAY_LIMITS
@LIST_OPTIONS
@RESERVATION_LIMITS
@DOOR_OPTIONS
def standalone(**options: Any) -> None:
    """Run the whole system in one process, on an embedded broker: no Kafka, no Java, no Docker."""
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.standalone import run_standalone  # noqa: PLC0415
    from ticketmaster.cli.banner import show_ready  # noqa: PLC0415

    host = options["hostname"]
    if options["bind"] is None:
        options["bind"] = "::1" if ":" in host else "127.0.0.1"
    config = StandaloneConfig(telemetry=read_telemetry(os.environ), doors=door_config(options), **options)
    sys.exit(run_standalone(config, lambda port: show_ready(f"{config.doors.scheme}://{host_and_port(host, port)}", config.state_dir)))
