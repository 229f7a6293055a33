"""The three roles as real processes on a real cluster, any number of each, and buyers who go on buying whatever happens to them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tests.process.client import Connection, Lost, ask, connected
from tests.process.sale import Sale
from tests.process.server import Program, run, wait_until

ROLES = ("ticket", "reservation", "event")
READY_S = 60.0
PARTITIONS = 8
# The session time-out of the roles: as short as a broker allows by default.
SESSION_S = 6.0


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Fleet:
    """Processes of one deployment: a state directory for each role, as on one machine."""

    def __init__(self, folder: Path, bootstrap_servers: str, registry_url: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "client.properties"
        self.config.write_text(f"bootstrap.servers={bootstrap_servers}\nschema.registry.url={registry_url}\n")
        self.running: dict[str, list[Program]] = {role: [] for role in ROLES}
        self._ports: dict[Program, int] = {}

    def create_topics(self) -> None:
        """Creates what is missing."""
        done = run("topics", "create", "-c", str(self.config), "--partitions", str(PARTITIONS), cwd=self.folder)
        assert done.returncode == 0, done.stderr

    def start(self, role: str, *options: str) -> Program:
        """Starts one more process of a role; it is not ready yet."""
        port = 0
        if role == "ticket":
            port = free_port()
            options = ("-p", str(port), *options)
        program = Program(
            self.folder / f"{role}.output", role, "-c", str(self.config), "-d", str(self.state / role), *options, cwd=self.folder
        )
        self.running[role].append(program)
        if port:
            self._ports[program] = port
        return program

    def start_all(self, count: int = 1) -> None:
        """So many processes of each role, and waits until they serve."""
        started = [self.start(role) for role in ROLES for _ in range(count)]
        for program in started:
            program.wait_ready_line(READY_S)

    def stop(self, role: str) -> None:
        """Ends the oldest process of a role in order."""
        program = self.running[role].pop(0)
        try:
            program.stop()
        finally:
            # One that does not end in order must not outlive its test.
            program.kill()

    def kill(self, role: str) -> None:
        """Ends one process of a role as a crash does."""
        self.running[role].pop(0).kill()

    def send(self, role: str, number: signal.Signals) -> None:
        """Sends a signal to the oldest process of a role."""
        self.running[role][0].send(number)

    def addresses(self) -> list[str]:
        """Of the ticket processes that have been ready once."""
        lines = [program.logged("ready") for program in self.running["ticket"] if program.is_running]
        return [line["url"].removeprefix("http://") for line in lines if line]

    def serving(self) -> list[str]:
        """Where each ticket process that is running serves, or is going to."""
        return [f"127.0.0.1:{port}" for program, port in self._ports.items() if program.is_running]

    def logged(self, event: str) -> list[dict[str, object]]:
        """Every line of this event that any process has ever logged."""
        lines = [
            json.loads(text)
            for file in self.folder.glob("*.output/*.stdout")
            for text in file.read_text().splitlines(keepends=True)
            if text.endswith("\n")
        ]
        return [line for line in lines if line["event"] == event]

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

    def audit(self) -> dict[str, object]:
        """What ``ticketmaster audit`` says: the sale must be sound, the stores of the stopped roles too."""
        done = run("audit", "--json", "-c", str(self.config), "-d", str(self.state), "--settle-ms", "20000", cwd=self.folder, timeout_s=90)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, object] = json.loads(done.stdout)
        return result


class Buyers:
    """A crowd that buys until told to stop; a lost connection or a refusal is tried again, elsewhere."""

    def __init__(self, sale: Sale, fleet: Fleet, count: int) -> None:
        self.sale = sale
        self._fleet = fleet
        self._count = count
        self._stopping = False
        # When decisions were seen, and the longest that one was waited for since its command was acknowledged.
        self.seen_s: list[float] = []
        self.longest_wait_s = 0.0

    async def buy(self) -> None:
        """Buys until :meth:`stop`."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._buyer(random.Random(number)))

    def stop(self) -> None:
        """Nobody begins another purchase."""
        self._stopping = True

    async def _buyer(self, choice: random.Random) -> None:
        pending: tuple[str, float] | None = None
        while not self._stopping or pending:
            addresses = await asyncio.to_thread(self._fleet.addresses)
            try:
                async with connected(choice.choice(addresses or ["127.0.0.1:9"])) as connection:
                    while not self._stopping or pending:
                        pending = await self._once(connection, pending)
            except (Lost, TimeoutError):
                await asyncio.sleep(0.1)

    async def _once(self, connection: Connection, pending: tuple[str, float] | None) -> tuple[str, float] | None:
        """Orders, or looks after what was ordered; returns what is still undecided."""
        if pending is None:
            reservation_id = await self.sale.post(connection)
            if reservation_id is None:
                await asyncio.sleep(0.05)
                return None
            return reservation_id, time.monotonic()
        reservation_id, ordered_s = pending
        await self.sale.read_decision(connection, reservation_id, may_wait=True)
        if reservation_id not in self.sale.decisions:
            return pending
        now = time.monotonic()
        self.seen_s.append(now)
        self.longest_wait_s = max(self.longest_wait_s, now - ordered_s)
        return None

    def longest_silence_s(self, since_s: float) -> float:
        """The longest time without any decision since then."""
        times = [since_s, *(seen for seen in self.seen_s if seen > since_s)]
        return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))


class HealthWatch:
    """Asks every ticket process all the time how it is; counts the seconds in which one was not well."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.unhealthy_s = 0.0

    async def watch(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        while True:
            addresses = await asyncio.to_thread(self._fleet.serving)
            well = [await self._is_well(address) for address in addresses]
            before_s, asked_s = asked_s, loop.time()
            if not well or not all(well):
                self.unhealthy_s += asked_s - before_s
            await asyncio.sleep(0.02)

    async def _is_well(self, address: str) -> bool:
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
