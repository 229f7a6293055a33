"""Options that several commands have, so that they mean the same everywhere."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import click

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


# In a context's meta: the working directory was deleted under the shell that started us.
NO_DIRECTORY = "ticketmaster.no_directory"


class _File(click.Path):
    """A path; no path at all is most often a variable that is not set, and would mean the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty", param, ctx)
        if ctx and NO_DIRECTORY in ctx.meta and not Path(value).is_absolute():
            self.fail(f"{str(value)!r} is relative, and the working directory is gone: give an absolute path", param, ctx)
        return super().convert(value, param, ctx)


def _checked_host(_context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A host as others know it, an address of IPv6 in its shortest form and without the brackets that URLs need."""
    if value is None or (value == "" and option.name == "bind"):
        # What is no address at all is told by whoever listens.
        return value
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    with contextlib.suppress(ValueError):
        return IPv6Address(bare if "%" not in bare else "").compressed
    if not re.fullmatch(r"[\w.-]+", value):
        # A port is a thing of its own, and no URL can have the zone of an address.
        write = "write e.g. shop.example, 192.0.2.7 or 2001:db8::7, without a port"
        raise click.BadParameter(f"{value!r} is no host name and no address: {write}")
    return value


def _checked_networks(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(value) for value in values)
    except ValueError as reason:
        raise click.BadParameter(f"{reason}: write e.g. 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32") from reason


def _checked_origins(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """As browsers send them: scheme, host and port, in small letters, nothing behind."""
    for value in values:
        parts = re.fullmatch(r"(https?)://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::([0-9]{1,5}))?", value)
        if value != "*" and (not parts or (parts[1], parts[2]) in (("http", "80"), ("https", "443"))):
            write = "write it as browsers do, e.g. https://shop.example or http://localhost:3000: small letters, no path, no usual port"
            raise click.BadParameter(f"{value!r} is no origin: {write}")
    return values


AT_LEAST_1 = click.IntRange(min=1)
FILE = _File(path_type=Path)
PORT = click.IntRange(0, 65_535)


def combined(*decorators: Callable[[Any], Any]) -> Decorator:
    """Options as one decorator, shown in their order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def hostname(text: str) -> Callable[[Any], Any]:
    """The name of this machine, as others know it."""
    return click.option("-h", "--hostname", default="localhost", callback=_checked_host, help=text)


def bind(text: str, default: str | None = None) -> Callable[[Any], Any]:
    """Where to listen."""
    return click.option("--bind", default=default, callback=_checked_host, help=text)


def limit(name: str, default: int, text: str, most: int | None = None) -> Callable[[Any], Any]:
    """A limit of at least 1, and of ``most``."""
    return click.option(f"--{name}", default=default, type=click.IntRange(1, most), metavar="N", help=text)


LOG_LEVEL = click.option(
    "--log-level",
    default="info",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Log messages of this level and above, on stdout.",
)

CONFIG = click.option(
    "-c", "--config", "config_file", type=FILE, metavar="FILE", help="Java properties file; without it, a local Kafka and schema registry."
)

STREAM_CONFIG = click.option("-sc", "--stream-config", type=FILE, metavar="FILE", help="Properties that override those of -c.")

STATE_DIR = click.option(
    "-d",
    "--state-dir",
    default=Path("/tmp/kafka-streams"),  # noqa: S108 - the original's default; what is there is only a copy
    type=FILE,
    help="Directory for the state, created if it does not exist. Kafka has all of it: lost state is restored.",
)

GATEWAY_LIMITS = combined(
    limit("request-body-bytes-max", 1 << 20, "Maximum size of a request body."),
    limit("areas-per-event-max", 1_000, "Maximum areas of an event."),
    # Records of larger areas are refused by every role.
    limit("seats-per-area-max", 100_000, "Maximum seats of an area.", 1_000_000),
    limit("seats-per-event-max", 10_000_000, "Maximum seats of an event."),
    limit("seats-per-reservation-max", 1_000, "Maximum seats of a reservation."),
    limit("seats-per-user-max", 1_000, "Maximum seatsPerUserMax of an event. All seats of a user at it are one record.", 10_000),
    limit("waiting-requests-max", 200_000, "Maximum requests that wait for a decision or a change."),
    limit("commands-in-flight-max", 50_000, "Maximum commands that wait for the log."),
    limit("connections-max", 10_000, "Maximum open connections."),
    limit("idle-seconds", 620, "Close a connection after so long without traffic."),
    click.option(
        "--long-poll-ms", default=10_000, type=AT_LEAST_1, metavar="MS", help="Answer a request that waits for a decision after so long."
    ),
    click.option(
        "--drain-ms", default=5_000, type=click.IntRange(min=0), metavar="MS", help="At shutdown, wait so long for open requests."
    ),
    click.option(
        "--lame-duck-ms",
        default=500,
        type=click.IntRange(min=0),
        metavar="MS",
        help="At shutdown, accept requests for so long while health checks fail; each answer closes its connection.",
    ),
)

DOOR_OPTIONS = combined(
    click.option(
        "--tls-certificate",
        type=FILE,
        metavar="FILE",
        help="PEM file of a certificate and those that lead to its authority: the port speaks TLS then. Read again when it changes.",
    ),
    click.option("--tls-key", type=FILE, metavar="FILE", help="PEM file of its private key, without a password."),
    click.option(
        "--tokens",
        type=FILE,
        metavar="FILE",
        help="Tokens and what each may do, see `ticketmaster tokens`; read again when it changes. Without it everybody may do everything.",
    ),
    click.option(
        "--reservations-need-token",
        is_flag=True,
        help="With --tokens: to know a reservation's id is not enough to read, pay, extend and cancel it.",
    ),
    click.option(
        "--requests-per-second-per-client",
        default=0,
        type=click.IntRange(0, 1_000_000),
        metavar="N",
        help="Most requests a second from one address (of IPv6: one /64) without a token that is in force; 0 is no limit.",
    ),
    limit("limited-clients-max", 100_000, "Most clients of whom is kept how much they ask; those that came last."),
    click.option(
        "--cors-origin",
        multiple=True,
        callback=_checked_origins,
        metavar="ORIGIN",
        help="An origin whose pages may read answers, e.g. https://shop.example, or * for all; may be given several times.",
    ),
    click.option(
        "--forwarded-allow",
        multiple=True,
        callback=_checked_networks,
        metavar="ADDRESS",
        help="A proxy, or a network of them, that tells clients' addresses by X-Forwarded-For or Forwarded; may be given several times.",
    ),
)


LIST_OPTIONS = combined(
    click.option(
        "--list-reservations",
        is_flag=True,
        help="Take GET /v1/event/{eventId}/reservation. Whoever may ask it learns ids, and so may read, pay and cancel.",
    ),
    limit("listed-reservations-max", 1_000, "Most reservations of a page of that list."),
    limit("lists-in-flight-max", 32, "Most such pages that are being made, for clients and for other processes."),
)


RESERVATION_LIMITS = combined(
    limit(
        "cancel-reservations-max", 200, "Most reservations of a cancelled event that one transaction cancels: payments wait for it.", 5_000
    ),
    limit("cancel-rows-max", 5_000, "Most reservations that one transaction looks at to find those of a cancelled event.", 100_000),
    limit(
        "rules-wait-ms",
        60_000,
        "At the start, work without the rules of all events after so long: their areas refuse what was not checked.",
    ),
)


def metrics_port(*older_names: str) -> Callable[[Any], Any]:
    """Where operators ask."""
    text = "Port of GET /metrics and /v1/health_check for operators; 0 switches it off."
    return click.option("--metrics-port", *older_names, default=0, type=PORT, metavar="PORT", help=text)


HTTP_OPTIONS = combined(
    click.option(
        "-n", "--max-threads", default=0, type=click.IntRange(min=0), metavar="N", help="Maximum requests in flight; 0 means no limit."
    ),
    click.option("-s", "--selectors", default=1, type=click.IntRange(1, 64), metavar="N", help="I/O threads."),
    click.option("-r", "--request-logging", is_flag=True, help="Log every request."),
)
