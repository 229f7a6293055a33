"""What a spike is asked to do, and which combinations make no sense."""

from __future__ import annotations

import math
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

IN_FLIGHT_DEFAULT = 4_000
HTTP2_CLIENTS_DEFAULT = 4
# libcurl looks for an idle connection by walking over all of a client's: 1,000 HTTP/1.1 connections in one client cost
# about 20 µs a request more than 64.
HTTP1_CONNECTIONS_PER_CLIENT = 64
# Every process keeps who owns which seat, four bytes a seat.
SEATS_TOTAL_MAX = 50_000_000
AWAIT_HOLDS_DEFAULT_S = 900.0
RELEASE_DEFAULT_S = 10.0


class BadOptionError(Exception):
    """The options contradict each other or the machine; the text is one line."""


@dataclass(frozen=True, slots=True)
class Options:
    """One spike. `rate_per_s` None is a closed loop: the next request leaves when an earlier one is decided."""

    url: str
    env: str
    http2: bool
    areas: int
    rows: int
    cols: int
    seats_max: int
    requests: int
    clients: int
    processes: int
    in_flight: int
    rate_per_s: float | None
    seed: int
    sleep_s: float
    timeout_s: float
    profile: Path | None = None
    hold_seconds: int | None = None
    pay: float = 0.0
    cancel: float = 0.0
    await_holds_s: float = AWAIT_HOLDS_DEFAULT_S
    release_s: float = RELEASE_DEFAULT_S
    # 0: the event has no window.
    opens_in_s: int = 0

    @property
    def gives_back(self) -> bool:
        """Whether seats may be free again after they were sold."""
        return self.hold_seconds is not None or self.cancel > 0


def base_url(host: str) -> str:
    """The server's URL without a path, from `host:port` or `http://host:port`.

    Raises `BadOptionError` for anything else: TLS, a path, a port that is no port.
    """
    try:
        parts = urlsplit(host if "://" in host else f"http://{host}")
        port = parts.port or 80
    except ValueError as error:
        raise BadOptionError(f"--host {host!r}: {error}") from None
    if parts.scheme != "http" or not parts.hostname or parts.username or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadOptionError(f"--host {host!r} is neither host:port nor http://host:port")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"http://{name}:{port}"


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_default(env: str) -> int:
    """Half the cores in the environment `local`, where the server needs the others; every core in any other one."""
    return max(1, cores() // 2) if env == "local" else cores()


def complete(  # noqa: PLR0913 - one argument per option
    *,
    host: str,
    env: str,
    http2: bool,
    areas: int,
    rows: int,
    cols: int,
    seats_max: int,
    requests: int,
    clients: int | None,
    processes: int | None,
    in_flight: int,
    rate_per_s: float | None,
    seed: int | None,
    sleep_s: float,
    timeout_s: float,
    profile: Path | None,
    hold_seconds: int | None = None,
    pay: float = 0.0,
    cancel: float = 0.0,
    await_holds_s: float = AWAIT_HOLDS_DEFAULT_S,
    release_s: float = RELEASE_DEFAULT_S,
    opens_in_s: int = 0,
) -> Options:
    """Fill in what was not given. Raises `BadOptionError` for what can't be done."""
    in_flight = min(in_flight, requests)
    for name, number in (
        ("--rate", rate_per_s), ("--sleep", sleep_s), ("--timeout-s", timeout_s),
        ("--pay", pay), ("--cancel", cancel), ("--await-holds-s", await_holds_s), ("--release-s", release_s),
    ):  # fmt: skip
        if number is not None and math.isnan(number):
            raise BadOptionError(f"{name} is not a number")
    if pay + cancel > 1:
        raise BadOptionError(f"--pay {pay:g} and --cancel {cancel:g} are shares of the same reservations, and more than 1")
    if areas * rows * cols > SEATS_TOTAL_MAX:
        raise BadOptionError(f"{areas} areas of {rows} x {cols} are more than {SEATS_TOTAL_MAX} seats")
    if clients is None:
        clients = HTTP2_CLIENTS_DEFAULT if http2 else math.ceil(in_flight / HTTP1_CONNECTIONS_PER_CLIENT)
        clients = min(max(clients, processes or processes_default(env)), in_flight)
    if clients > in_flight:
        raise BadOptionError(f"-c {clients} clients can't share {in_flight} requests in flight")
    if processes is None:
        processes = min(processes_default(env), clients)
    if processes > clients:
        raise BadOptionError(f"--processes {processes} needs at least as many clients: -c {clients}, --in-flight {in_flight}")
    return Options(
        url=base_url(host),
        env=env,
        http2=http2,
        areas=areas,
        rows=rows,
        cols=cols,
        seats_max=seats_max,
        requests=requests,
        clients=clients,
        processes=processes,
        in_flight=in_flight,
        rate_per_s=rate_per_s,
        seed=secrets.randbits(32) if seed is None else seed,
        sleep_s=sleep_s,
        timeout_s=timeout_s,
        profile=profile,
        hold_seconds=hold_seconds,
        pay=pay,
        cancel=cancel,
        await_holds_s=await_holds_s,
        release_s=release_s,
        opens_in_s=opens_in_s,
    )
