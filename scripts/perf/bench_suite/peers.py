"""The same sale over HTTP/1.1 here and in what people would use instead: PostgreSQL, or Redis, behind a Python web framework.

A closed loop: each client asks for seats, waits for the decision, and asks again. Everything that answers has made it durable: one process
here, PostgreSQL with its defaults for durability, Redis with an append-only file that is synced before each answer.
"""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from scripts.errors import MissingError
from scripts.kafka.clusters import free_ports
from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.figures import Kind, Notebook
from scripts.perf.bench_suite.load import HOST, ROOT, Measured, Sale, Say, areas, sell
from scripts.perf.bench_suite.processes import POLL_S, START_TIMEOUT_S, cpu_s, is_healthy, serving, stop
from scripts.perf.peers.kit import Kit, installed

_OURS: Final = "ticketmaster"
_PEERS: Final = ("PostgreSQL", "Redis")
CLIENTS: Final = (1_024, 128, 32, 8)
_AREAS: Final = 100
_WARM_UP: Final = 3_000
_WARM_UP_CLIENTS: Final = 128
# Beside PostgreSQL's defaults, of which fsync and full_page_writes stay as they are: memory as its documents advise, and few checkpoints.
_SETTINGS: Final = {
    "listen_addresses": HOST,
    "shared_buffers": "1GB",
    "effective_cache_size": "8GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "16MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
}


class Plan(NamedTuple):
    """How much is measured: rounds, reservations of a sale, and clients at a time, some of ``CLIENTS``."""

    runs: int
    requests: int
    clients: Sequence[int]


def _kinds() -> Iterator[Kind]:
    for clients in CLIENTS:
        for name in (_OURS, *_PEERS):
            yield Kind(f"{clients} clients, {name}: CPU per reservation", "µs")
            yield Kind(f"{clients} clients, {name}: reservations per s", "/s")
            yield Kind(f"{clients} clients, {name}: POST to decision, p50", "ms")
            yield Kind(f"{clients} clients, {name}: POST to decision, p99", "ms")
        for name in _PEERS:
            yield Kind(f"{clients} clients, {name} / {_OURS}: CPU", "×")
            yield Kind(f"{clients} clients, {_OURS} / {name}: reservations per s", "×")


KINDS: tuple[Kind, ...] = tuple(_kinds())


class _Peer:
    """A web app and its database, as `sell` measures them."""

    def __init__(self, port: int, processes: Mapping[str, psutil.Process]) -> None:
        self.port = port
        self._processes = processes

    def cpus_s(self) -> dict[str, float]:
        return {name: cpu_s(process) for name, process in self._processes.items()}


def measure(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """Each round sells at each, one after the other: what changes on the machine meets them all. Skipped where a part is missing."""
    try:
        kit = installed()
    except MissingError as error:
        say(f"peers: skipped: {error}")
        return
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        servers: dict[str, Measured] = {_OURS: stack.enter_context(serving(folder / _OURS))}
        database, analyse = stack.enter_context(_postgres(kit, folder))
        servers["PostgreSQL"] = stack.enter_context(_app(kit, folder, "on_postgres", database))
        servers["Redis"] = stack.enter_context(_app(kit, folder, "on_redis", stack.enter_context(_redis(kit, folder))))
        for name, server in servers.items():
            say(f"peers: warming up {name}")
            _sell(server, _WARM_UP, _WARM_UP_CLIENTS)
        # Plans are made from the statistics of a table in use.
        analyse()
        for run in range(1, plan.runs + 1):
            for clients in plan.clients:
                _round(servers, plan.requests, clients, notes, lambda text, run=run: say(f"peers, run {run} of {plan.runs}: {text}"))  # type: ignore[misc]


def _round(servers: Mapping[str, Measured], requests: int, clients: int, notes: Notebook, say: Say) -> None:
    cpus_us, rates = {}, {}
    for name, server in servers.items():
        say(f"{clients} clients, {name}")
        sale = _sell(server, requests, clients)
        cpus_us[name], rates[name] = sum(sale.cpu_us.values()), sale.per_s
        notes.note(f"{clients} clients, {name}: CPU per reservation", cpus_us[name])
        notes.note(f"{clients} clients, {name}: reservations per s", rates[name])
        for percent in ("p50", "p99"):
            notes.note(f"{clients} clients, {name}: POST to decision, {percent}", sale.decision_ms(percent))
    for name in _PEERS:
        notes.note(f"{clients} clients, {name} / {_OURS}: CPU", cpus_us[name] / cpus_us[_OURS])
        notes.note(f"{clients} clients, {_OURS} / {name}: reservations per s", rates[_OURS] / rates[name])


def _sell(server: Measured, requests: int, clients: int) -> Sale:
    loop = ("-n", str(requests), "--in-flight", str(clients))
    return sell(server, *loop, *areas(_AREAS), http2=False)


class _Database(NamedTuple):
    """A server, and where the app finds it."""

    process: psutil.Process
    env: Mapping[str, str]


@contextmanager
def _postgres(kit: Kit, folder: Path) -> Iterator[tuple[_Database, Callable[[], object]]]:
    """PostgreSQL, and what renews its statistics. It refuses to run as root: then it runs as a user who owns nothing else here."""
    user = None if os.getuid() else _other_user()
    with tempfile.TemporaryDirectory(prefix="ticketmaster-bench-") as name:
        if user is not None:
            os.chown(name, user, -1)
        make = ("-D", f"{name}/data", "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums")
        subprocess.run(
            [kit.postgres / "initdb", *make], check=True, user=user, cwd=name, stdout=subprocess.DEVNULL, timeout=START_TIMEOUT_S
        )
        (port,) = free_ports(1)
        settings = [text for key, value in _SETTINGS.items() for text in ("-c", f"{key}={value}")]
        command = [str(kit.postgres / "postgres"), "-D", f"{name}/data", "-p", str(port), "-k", name, *settings]
        with _running(command, folder / "postgres.log", lambda: _listens(port), user=user) as process:
            analyse = [str(kit.postgres / "psql"), "-q", "-h", HOST, "-p", str(port), "-U", "bench", "-c", "ANALYZE", "postgres"]
            database = _Database(process, {"DATABASE_URL": f"postgresql://bench@{HOST}:{port}/postgres"})
            yield database, lambda: subprocess.run(analyse, check=True, timeout=START_TIMEOUT_S)


def _other_user() -> int:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise BenchError("PostgreSQL refuses to run as root, and there is no other user")


@contextmanager
def _redis(kit: Kit, folder: Path) -> Iterator[_Database]:
    (port,) = free_ports(1)
    data = folder / "redis"
    data.mkdir()
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
    command = ["redis-server", "--port", str(port), "--bind", HOST, "--dir", str(data), *durable]
    # Debian's program does what its first argument calls it.
    options = {"executable": kit.redis.path, "env": kit.redis.environment}
    with _running(command, folder / "redis.log", lambda: _listens(port), **options) as process:
        yield _Database(process, {"REDIS_PORT": str(port)})


@contextmanager
def _app(kit: Kit, folder: Path, module: str, database: _Database) -> Iterator[Measured]:
    """The web app of a database: one worker, which fills one of two cores, as the database does the other."""
    (port,) = free_ports(1)
    server = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning", "--host", HOST, "--port", str(port))
    command = [str(kit.python), "-m", "uvicorn", *server, f"scripts.perf.peers.{module}:app"]
    options = {"cwd": ROOT, "env": {**os.environ, **database.env}}
    with _running(command, folder / f"{module}.log", lambda: is_healthy(port), **options) as process:
        yield _Peer(port, {"app": process, "database": database.process})


@contextmanager
def _running(command: Sequence[str], log: Path, answers: Callable[[], bool], **options: Any) -> Iterator[psutil.Process]:  # noqa: ANN401 - Popen's
    """A server that answers, gone at the end of the block. BenchError: it does not come to that."""
    with log.open("wb") as said:
        # A session of its own: Ctrl-C is the benchmark's, which then stops it.
        process = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, **options)
    try:
        begun_s = time.monotonic()
        while not answers():
            if time.monotonic() - begun_s > START_TIMEOUT_S or process.poll() is not None:
                raise BenchError(f"{Path(command[0]).name} did not start: {' '.join(log.read_text().split())[-300:]}")
            time.sleep(POLL_S)
        yield process
    finally:
        stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((HOST, port)) == 0
