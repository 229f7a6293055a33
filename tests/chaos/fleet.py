"""The three roles as real processes on a real cluster, any number of each."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.kafka.clusters import free_ports
from tests.process.client import Lost, ask
from tests.process.server import MODULE, Program, run, wait_until

ROLES = ("ticket", "reservation", "event")
READY_S = 60.0
PARTITIONS = 8
# The session time-out of the roles: as short as a broker allows by default.
SESSION_S = 6.0


def free_port() -> int:
    """One that nobody listens on."""
    (port,) = free_ports(1)
    return port


class Fleet:
    """Processes of one deployment: a state directory for each role, as on one machine."""

    def __init__(self, folder: Path, bootstrap_servers: str, registry_url: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "client.properties"
        self.config.write_text(f"bootstrap.servers={bootstrap_servers}\nschema.registry.url={registry_url}\n")
        self.running: dict[str, list[Program]] = {role: [] for role in ROLES}
        # Processes that were ended by SIGKILL in the middle of their work.
        self.killed = 0
        # Where each process serves; of ticket, all of the API.
        self._addresses: dict[Program, str] = {}
        # Of the ticket processes, those that have been ready once.
        self._ready: set[Program] = set()

    def create_topics(self, partitions: int = PARTITIONS) -> None:
        """Creates what is missing."""
        done = run("topics", "create", "-c", str(self.config), "--partitions", str(partitions), cwd=self.folder)
        assert done.returncode == 0, done.stderr

    def start(
        self, role: str, *options: str, module: str = MODULE, env: Mapping[str, str] | None = None, state: Path | None = None
    ) -> Program:
        """Starts one more process of a role; it is not ready yet."""
        port = free_port()
        address = ("-p" if role == "ticket" else "--health-port", str(port))
        program = Program(
            self.folder / f"{role}.output",
            *(role, "-c", str(self.config), "-d", str(state or self.state / role), *address, *options),
            cwd=self.folder,
            env=env,
            module=module,
        )
        self.running[role].append(program)
        self._addresses[program] = f"127.0.0.1:{port}"
        return program

    def start_all(self, count: int = 1) -> None:
        """So many processes of each role, and waits until they serve."""
        started = [self.start(role) for role in ROLES for _ in range(count)]
        for program in started:
            program.wait_ready_line(READY_S)

    def stop(self, role: str, at: int = 0) -> None:
        """Ends a process of a role in order, the oldest unless told otherwise."""
        program = self.running[role].pop(at)
        try:
            program.stop()
        finally:
            # One that does not end in order must not outlive its test.
            program.kill()

    def kill(self, role: str, at: int = 0) -> None:
        """Ends a process of a role as a crash does."""
        self.killed += 1
        self.running[role].pop(at).kill()

    def kill_everything(self) -> None:
        """Ends all processes of all roles in the same moment."""
        for programs in self.running.values():
            for program in programs:
                self.killed += 1
                program.send(signal.SIGKILL)
        self.kill_all()

    def kill_worker(self, pid: int) -> None:
        """Ends a worker as a crash does; its supervisor lives."""
        self.killed += 1
        os.kill(pid, signal.SIGKILL)

    def addresses(self) -> list[str]:
        """Of the ticket processes that have been ready once."""
        tickets = [program for program in self.running["ticket"] if program.is_running]
        self._ready.update(program for program in tickets if program not in self._ready and program.logged("ready"))
        return [self._addresses[program] for program in tickets if program in self._ready]

    def serving(self, *roles: str) -> list[str]:
        """Where each process of these roles that is running serves, or is going to."""
        return [self._addresses[program] for role in roles for program in tuple(self.running[role]) if program.is_running]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Every line of this event that any process has ever logged."""
        lines = [
            json.loads(text)
            for file in self.folder.glob("*.output/*.stdout")
            for text in file.read_text().splitlines(keepends=True)
            if text.endswith("\n") and event in text
        ]
        return [line for line in lines if line["event"] == event]

    def dead_stores(self, role: str) -> list[Path]:
        """The folders that processes of this role have left: nobody holds them."""
        return [lock.parent for lock in sorted((self.state / role).glob("*/*/*/lock")) if not _is_held(lock)]

    def died(self) -> list[str]:
        """The processes that have ended although nobody had told them to, and their last words."""
        return [
            f"{role}: {program.stdout.read_text()[-1_000:]}{program.stderr.read_text()[-2_000:]}"
            for role, programs in self.running.items()
            for program in programs
            if not program.is_running
        ]

    def stop_all(self) -> None:
        """Ends all in order; fails unless each ends as it should."""
        for role in ROLES:
            while self.running[role]:
                self.stop(role)

    def kill_all(self) -> None:
        """Whatever is left."""
        for programs in self.running.values():
            while programs:
                programs.pop().kill()

    def audited(self, timeout_s: float = 90.0) -> tuple[bool, str]:
        """(whether the sale is sound, and with it the stores of the stopped roles; what ``ticketmaster audit`` says of it)."""
        options = ("--json", "-c", str(self.config), "-d", str(self.state), "--settle-ms", "20000")
        done = run("audit", *options, cwd=self.folder, timeout_s=timeout_s)
        # How far it has come stands beside what it has found, on a machine where that takes a while.
        return done.returncode == 0, done.stdout or done.stderr

    def audit(self) -> dict[str, Any]:
        """What ``ticketmaster audit`` says, which must be that all is sound."""
        sound, said = self.audited()
        assert sound, said
        result: dict[str, Any] = json.loads(said)
        return result


def _is_held(lock: Path) -> bool:
    """Whether a process holds a lock of a state directory."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class HealthWatch:
    """Asks every process all the time how it is, and counts the seconds in which one of the ticket role was not well."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.unhealthy_s = 0.0

    async def watch(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        while True:
            well = await self.are_well("ticket")
            before_s, asked_s = asked_s, loop.time()
            if not well:
                self.unhealthy_s += asked_s - before_s
            await asyncio.sleep(0.05)

    async def are_well(self, *roles: str) -> bool:
        """Whether there are processes of these roles, and each says that it serves all that it owns."""
        addresses = self._fleet.serving(*roles)
        answers = await asyncio.gather(*(self.is_well(address) for address in addresses))
        return bool(answers) and all(answers)

    async def is_well(self, address: str) -> bool:
        """Whether the process that serves there says so."""
        try:
            async with asyncio.timeout(1):
                status = (await ask(address, "GET", "/v1/health_check")).status
        except (Lost, TimeoutError):
            return False
        assert status in {200, 503}
        return status == 200


def workers(program: Program) -> list[int]:
    """The process ids of a supervisor's workers."""
    told = subprocess.run(["/bin/ps", "-Ao", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in told.stdout.splitlines()]
    return [int(pid) for pid, parent in pairs if int(parent) == program.pid]


def wait_serving(programs: Iterable[Program]) -> None:
    """Until each of them has been ready once."""
    for program in programs:
        wait_until(lambda one=program: one.logged("ready") is not None, "ready", timeout_s=READY_S)  # type: ignore[misc]


def any_of(fleet: Fleet, role: str, choice: random.Random) -> int:
    """Which of a role's processes."""
    return choice.randrange(len(fleet.running[role]))
