"""``ticketmaster standalone``: the whole system in one process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ticketmaster.config.standalone import StandaloneConfig

_AT_LEAST_1 = click.IntRange(min=1)


def _limit(name: str, default: int, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(f"--{name}", default=default, type=_AT_LEAST_1, metavar="N", help=text)


@click.command()
@click.option("-p", "--port", default=4403, type=click.IntRange(0, 65_535), help="Port to listen on; 0 takes a free one.")
@click.option(
    "-d",
    "--state-dir",
    default=Path("./data"),
    type=click.Path(path_type=Path),
    help="Directory of the log and the state; created if need be.",
)
@click.option("-h", "--hostname", default="localhost", help="Name of this machine in the addresses that are shown.")
@click.option("--bind", default="127.0.0.1", help="Address to listen on; 0.0.0.0 is every interface.")
@click.option("-n", "--max-threads", default=0, type=click.IntRange(min=0), metavar="N", help="Most requests in flight; 0 is no limit.")
@click.option("-s", "--selectors", default=1, type=click.IntRange(1, 64), metavar="N", help="I/O threads.")
@click.option("-r", "--request-logging", is_flag=True, help="Log every request.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), help="What is logged on stdout.")
@click.option(
    "--partitions",
    default=1,
    type=click.IntRange(1, 1_000),
    metavar="N",
    help="Partitions of every topic; for good, once the directory exists.",
)
@_limit("request-body-bytes-max", 1 << 20, "Largest request body.")
@_limit("areas-per-event-max", 1_000, "Most areas of an event.")
@_limit("seats-per-area-max", 100_000, "Most seats of an area.")
@_limit("seats-per-event-max", 10_000_000, "Most seats of an event.")
@_limit("seats-per-reservation-max", 1_000, "Most seats of a reservation.")
@_limit("waiting-requests-max", 200_000, "Most long polls that wait for a decision.")
@_limit("commands-in-flight-max", 50_000, "Most commands that wait for the disk.")
@_limit("connections-max", 10_000, "Most open connections.")
@_limit("consumed-log-bytes-max", 256 << 20, "Bytes kept of commands that are worked off, per partition.")
@click.option("--long-poll-ms", default=10_000, type=_AT_LEAST_1, metavar="MS", help="How long a request waits for a decision.")
@click.option(
    "--drain-ms", default=5_000, type=click.IntRange(min=0), metavar="MS", help="How long open requests are waited for at the end."
)
def standalone(**options: Any) -> None:
    """Run the whole system in one process, on an embedded broker: no Kafka, no Java, no Docker."""
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.standalone import run_standalone  # noqa: PLC0415
    from ticketmaster.cli.banner import show_ready  # noqa: PLC0415

    config = StandaloneConfig(**options)
    sys.exit(run_standalone(config, lambda port: show_ready(config, port)))
