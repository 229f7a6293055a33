"""The processes that are measured: one that is all roles, or three roles, a broker and a registry."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import psutil

from scripts.kafka.clusters import free_ports
from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.load import HOST, ROOT

CLUSTER = ROOT / "scripts" / "kafka" / "cluster"
ROLES = ("ticket", "reservation", "event")
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.002
MIB = 1 << 20


def cpu_s(process: psutil.Process) -> float:
    """Of a process and its children, so far."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        total += times.user + times.system
    return total


def resident_mib(process: psutil.Process) -> float:
    """The memory of a process and its children now."""
    return float(sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))) / MIB


def written_bytes(process: psutil.Process) -> int:
    """The bytes that a process has given to the operating system to write so far, pages of files that are written again included."""
    return int(process.io_counters().write_chars)


def disk_bytes(folder: Path) -> int:
    """What a folder takes on the disk, with all that is in it."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


NO_ENV: Mapping[str, str] = MappingProxyType({})


class Program:
    """A run of ticketmaster; ``start_ms`` from its start to its first healthy answer, or its word that it is ready."""

    def __init__(self, output: Path, arguments: Sequence[str], *, asked: bool, env: Mapping[str, str] = NO_ENV) -> None:
        """``asked``: it serves HTTP, and counts as started when its health check says so. ``env`` is added to its environment."""
        self._output = output
        begun_s = time.monotonic()
        with output.open("wb") as log:
            # A session of its own: Ctrl-C is the benchmark's, which then stops it.
            self.process = psutil.Popen(
                [sys.executable, "-m", "ticketmaster", *arguments],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **env},
            )  # fmt: skip
        try:
            line = self._ready(begun_s)
            self.port = int(line["url"].rpartition(":")[2]) if "url" in line else 0
            while asked and not is_healthy(self.port):
                self._check(begun_s)
        except BaseException:
            self.kill()
            raise
        self.start_ms = 1_000 * (time.monotonic() - begun_s)

    def _ready(self, begun_s: float) -> dict[str, str]:
        while True:
            for line in self._output.read_text().splitlines():
                if '"event": "ready"' in line and line.endswith("}"):
                    said: dict[str, str] = json.loads(line)
                    return said
            self._check(begun_s)

    def _check(self, begun_s: float) -> None:
        if time.monotonic() - begun_s > START_TIMEOUT_S or self.process.poll() is not None:
            said = " ".join(self._output.read_text().split())[-300:]
            raise BenchError(f"it did not start: {said or 'it said nothing'}")
        time.sleep(POLL_S)

    def log(self) -> str:
        """What it has said."""
        return self._output.read_text()

    def stop(self) -> float:
        """Ends it by SIGTERM; returns the milliseconds that took. BenchError: it does not end with 0."""
        begun_s = time.monotonic()
        self.process.terminate()
        code = self.process.wait(STOP_TIMEOUT_S)
        if code:
            raise BenchError(f"it ended with {code}: {' '.join(self.log().split())[-300:]}")
        return 1_000 * (time.monotonic() - begun_s)

    def kill(self) -> None:
        """Ends it, if it still runs, without asking."""
        stop(self.process)


def stop(process: psutil.Popen) -> None:
    """Ends a process, if it still runs: by SIGTERM, and by SIGKILL if that is not enough."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()


def is_healthy(port: int) -> bool:
    """Whether a server answers there that it is."""
    connection = http.client.HTTPConnection(HOST, port, timeout=START_TIMEOUT_S)
    try:
        connection.request("GET", "/v1/health_check")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Standalone(Program):
    """The whole system in one process."""

    def __init__(self, directory: Path, *options: str, env: Mapping[str, str] = NO_ENV) -> None:
        super().__init__(directory.with_suffix(".log"), ["standalone", "-p", "0", "-d", str(directory), *options], asked=True, env=env)

    def cpus_s(self) -> dict[str, float]:
        return {"standalone": cpu_s(self.process)}


@contextmanager
def serving(directory: Path, *options: str, env: Mapping[str, str] = NO_ENV) -> Iterator[Standalone]:
    """The whole system in one process, gone at the end of the block; ``env`` is added to its environment."""
    server = Standalone(directory, *options, env=env)
    try:
        yield server
    finally:
        server.kill()


class Kafka:
    """A broker and a registry of the benchmark's own."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.folder = folder
        self._command = [sys.executable, str(CLUSTER)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        # For tests the log cleaner works all the time; this is how Kafka comes.
        cleaner = ("log.cleaner.backoff.ms=15000", "log.cleaner.min.cleanable.ratio=0.5")
        start = ["start", str(folder), "--registry", *(text for setting in cleaner for text in ("--setting", setting))]
        subprocess.run([*self._command, *start], check=True, stdout=subprocess.DEVNULL, env=environment)
        try:
            self.config = folder / "client.properties"
            described = json.loads((folder / "cluster.json").read_text())
            self.broker = psutil.Process(described["nodes"][0]["pid"])
            create = ["topics", "create", "-c", str(self.config), "--partitions", str(partitions)]
            subprocess.run([sys.executable, "-m", "ticketmaster", *create], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        except BaseException:
            self.stop()
            raise

    def topics_bytes(self) -> int:
        """What the system's topics take on the disk."""
        return sum(disk_bytes(log) for log in self.folder.glob("broker-*/data/*-[0-9]*") if not log.name.startswith("__"))

    def stop(self) -> None:
        """Ends both."""
        subprocess.run([*self._command, "stop", str(self.folder), "--kill"], check=False, stdout=subprocess.DEVNULL)


class Roles:
    """The three roles on Kafka, one or more processes each."""

    def __init__(self, folder: Path, kafka: Kafka, workers: int = 1, options: Sequence[str] = ()) -> None:
        (self.port,) = free_ports(1)
        self.workers = workers
        self._folder = folder
        self._kafka = kafka
        self._options = options
        self.running: dict[str, Program] = {}

    def state(self, role: str) -> Path:
        """Where a role keeps its state."""
        return self._folder / "state" / role

    def start(self, role: str, config: Path | None = None) -> float:
        """Starts a role, by the cluster's own properties unless told otherwise; returns the milliseconds until it was ready."""
        count = "-a" if role == "ticket" else "--workers"
        arguments = [
            role,
            "-c",
            str(config or self._kafka.config),
            "-d",
            str(self.state(role)),
            count,
            str(self.workers),
            "--log-level",
            "debug",
        ]
        if role == "ticket":
            arguments += ["-p", str(self.port), *self._options]
        self.running[role] = Program(self._folder / f"{role}.log", arguments, asked=role == "ticket")
        return self.running[role].start_ms

    def start_all(self) -> dict[str, float]:
        """The milliseconds that each role took."""
        return {role: self.start(role) for role in ROLES}

    def stop(self, role: str) -> None:
        """Ends a role by SIGTERM."""
        self.running.pop(role).stop()

    def stop_all(self) -> None:
        """Whatever runs."""
        for role in tuple(self.running):
            self.stop(role)

    def kill_all(self) -> None:
        """Whatever still runs."""
        for program in self.running.values():
            program.kill()

    def restored(self, role: str) -> int:
        """The records that a role has read from its changelog since it was started."""
        lines = [json.loads(line) for line in self.running[role].log().splitlines() if '"event": "task_restored"' in line]
        return sum(line["records"] for line in lines)

    def cpus_s(self) -> dict[str, float]:
        return {role: cpu_s(program.process) for role, program in self.running.items()} | {"broker": cpu_s(self._kafka.broker)}

    def resident_mib(self) -> dict[str, float]:
        """By role."""
        return {role: resident_mib(program.process) for role, program in self.running.items()}


@contextmanager
def kafka_with_roles(folder: Path, partitions: int, options: Sequence[str] = ()) -> Iterator[tuple[Kafka, Roles]]:
    """A broker, a registry, and the three roles, none of them started; all gone at the end of the block."""
    folder.mkdir(parents=True)
    kafka = Kafka(folder / "cluster", partitions)
    roles = Roles(folder, kafka, options=options)
    try:
        yield kafka, roles
    finally:
        roles.kill_all()
        kafka.stop()
