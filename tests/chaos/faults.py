"""What may befall a deployment of three brokers and two processes of each role; each fault leaves as many behind."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.chaos import launcher
from tests.chaos.fleet import PARTITIONS, ROLES, SESSION_S, Fleet, HealthWatch, any_of, wait_serving, workers
from tests.chaos.network import Network
from tests.chaos.poison import dead_letters, poison
from tests.chaos.slow_disk import slow_disk
from tests.process.server import Program
from tests.support.kafka import Cluster

# What a fault waits for: a replacement, an end, a dead letter.
WAIT_S = 45.0
# Enough for any state: memory is taken for what is written only.
DISK_MIB = 128


class Scene:
    """What a fault may touch."""

    def __init__(self, fleet: Fleet, cluster: Cluster, choice: random.Random) -> None:
        self.fleet = fleet
        self.cluster = cluster
        self.choice = choice
        self.health = HealthWatch(fleet)
        self.brokers_killed = 0
        # Stores in which a byte was flipped since the last audit.
        self.flipped: list[Path] = []
        # What else is worth counting.
        self.notes = Counter[str]()

    async def blocking(self, work: Callable[[], object]) -> None:
        """Something that takes its time, while the buyers go on."""
        await asyncio.to_thread(work)

    async def start(self, *roles: str, **more: object) -> list[Program]:
        """One more process of each of these roles, ready."""
        started = [self.fleet.start(role, **more) for role in roles]  # type: ignore[arg-type]
        await self.blocking(lambda: wait_serving(started))
        return started

    def kill(self, role: str) -> None:
        """One of a role's processes, by chance."""
        self.fleet.kill(role, any_of(self.fleet, role, self.choice))

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Looks now and then, in another thread."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not await asyncio.to_thread(condition):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not in {WAIT_S} s: {what}") from None

    async def until_well(self, *roles: str) -> None:
        """Every process of these roles serves all that it owns."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not await self.health.are_well(*roles):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not in {WAIT_S} s: every process of {', '.join(roles)} is well") from None


Fault = Callable[[Scene], Awaitable[None]]


def killed(*roles: str) -> Fault:
    """Kill -9 of a process of each of these roles, and a new one in its place."""

    async def fault(scene: Scene) -> None:
        for role in roles:
            scene.kill(role)
        await scene.start(*roles)

    return fault


async def all_killed(scene: Scene) -> None:
    """Kill -9 of all processes of all roles, and as many new ones."""
    scene.fleet.kill_everything()
    await scene.start(*ROLES, *ROLES)


def killed_for_good(role: str) -> Fault:
    """Kill -9 of one of two, which nobody leaves the group for: its session must time out before the other takes over."""

    async def fault(scene: Scene) -> None:
        scene.kill(role)
        await asyncio.sleep(SESSION_S + scene.choice.uniform(1, 3))
        await scene.start(role)

    return fault


def worker_killed(role: str) -> Fault:
    """Kill -9 of one of two workers of a third process, whose supervisor replaces it."""

    async def fault(scene: Scene) -> None:
        supervisor = scene.fleet.start(role, "-a" if role == "ticket" else "--workers", "2")
        await scene.blocking(lambda: wait_serving([supervisor]))
        before = await asyncio.to_thread(workers, supervisor)
        scene.fleet.kill_worker(scene.choice.choice(before))
        await scene.until(lambda: len(set(workers(supervisor)) - set(before)) == 1, "a new worker")
        await scene.until_well(role)
        await scene.blocking(lambda: scene.fleet.stop(role, scene.fleet.running[role].index(supervisor)))

    return fault


def suspended(role: str) -> Fault:
    """A process stops for longer than its session, the other takes over, and the first one comes back as a zombie."""

    async def fault(scene: Scene) -> None:
        zombie = scene.choice.choice(scene.fleet.running[role])
        zombie.send(signal.SIGSTOP)
        await asyncio.sleep(SESSION_S + scene.choice.uniform(1, 4))
        zombie.send(signal.SIGCONT)

    return fault


def starved(role: str) -> Fault:
    """A process that is let run for a few milliseconds in every 50."""

    async def fault(scene: Scene) -> None:
        program, loop = scene.choice.choice(scene.fleet.running[role]), asyncio.get_running_loop()
        end_s = loop.time() + 4
        while loop.time() < end_s:
            program.send(signal.SIGSTOP)
            await asyncio.sleep(0.05)
            program.send(signal.SIGCONT)
            await asyncio.sleep(scene.choice.uniform(0.002, 0.02))

    return fault


def scaled(role: str) -> Fault:
    """2 → 4 → 2 processes."""

    async def fault(scene: Scene) -> None:
        await scene.start(role, role)
        await asyncio.sleep(scene.choice.uniform(0, 2))
        for _ in range(2):
            at = any_of(scene.fleet, role, scene.choice)
            await scene.blocking(lambda at=at: scene.fleet.stop(role, at))  # type: ignore[misc]

    return fault


async def broker_killed(scene: Scene) -> None:
    """Kill -9 of a broker, which comes back."""
    node = scene.choice.randint(1, 3)
    scene.brokers_killed += 1
    await scene.blocking(lambda: scene.cluster.kill(node))
    await asyncio.sleep(scene.choice.uniform(0, 5))
    await scene.blocking(lambda: scene.cluster.start_node(node))


async def brokers_bounced(scene: Scene) -> None:
    """Each broker is stopped in order and started again: the leader of every partition, and the controller, move."""
    for node in scene.choice.sample([1, 2, 3], 3):
        await scene.blocking(lambda node=node: scene.cluster.stop_node(node))  # type: ignore[misc]
        await scene.blocking(lambda node=node: scene.cluster.start_node(node))  # type: ignore[misc]


async def all_brokers_killed(scene: Scene) -> None:
    """Kill -9 of all brokers in the same moment, which come back; the machine they are on lives, and has their writes in memory."""
    scene.brokers_killed += 3
    scene.cluster.kill_brokers()
    await asyncio.sleep(scene.choice.uniform(0, 5))
    await scene.blocking(scene.cluster.start_nodes)


def cut_off(role: str, seconds: float) -> Fault:
    """A third process reaches no broker for so long, while clients and the other processes still reach it."""

    async def fault(scene: Scene) -> None:
        ports = [int(server.rpartition(":")[2]) for server in scene.cluster.bootstrap_servers.split(",")]
        async with Network(ports) as network:
            (third,) = await scene.start(role, module=launcher.NAME, env={launcher.PORTS: json.dumps(network.ports)})
            await asyncio.sleep(scene.choice.uniform(0, 1))
            silent = scene.choice.random() < 0.5
            scene.notes["network cut silently" if silent else "network cut by breaking connections"] += 1
            network.cut(silent=silent)
            await asyncio.sleep(seconds + scene.choice.uniform(0, 2))
            network.mend()
            await scene.until_well(role)
            at = scene.fleet.running[role].index(third)
            if scene.choice.random() < 0.5:
                scene.fleet.kill(role, at)
            else:
                await scene.blocking(lambda: scene.fleet.stop(role, at))

    return fault


def state_wiped(role: str) -> Fault:
    """Kill -9, its whole state is deleted, and a new process begins without any."""

    async def fault(scene: Scene) -> None:
        scene.kill(role)
        for folder in scene.fleet.dead_stores(role):
            shutil.rmtree(folder)
        await scene.start(role)

    return fault


def state_corrupted(role: str) -> Fault:
    """Kill -9, one bit of a store that it had in use is flipped, and a new process finds that."""

    async def fault(scene: Scene) -> None:
        scene.kill(role)
        # Who closes a store in order leaves no such file beside it.
        in_use = [
            log.with_name(log.name.removesuffix("-wal")) for folder in scene.fleet.dead_stores(role) for log in folder.glob("*/*.db-wal")
        ]
        stores = [store for store in in_use if store.stat().st_size]
        if stores:
            store = scene.choice.choice(stores)
            at = scene.choice.randrange(store.stat().st_size)
            flip(store, at, 1 << scene.choice.randrange(8))
            scene.flipped.append(store)
        scene.notes["bits flipped" if stores else "no store to flip a bit of"] += 1
        await scene.start(role)

    return fault


def flip(file: Path, at: int, bits: int) -> None:
    """Changes these bits of the byte at an offset of a file."""
    with file.open("r+b") as content:
        content.seek(at)
        (before,) = content.read(1)
        content.seek(at)
        content.write(bytes([before ^ bits]))


def clock_shifted(role: str) -> Fault:
    """Kill -9, and the new process, which stays, is an hour ahead or behind."""

    async def fault(scene: Scene) -> None:
        scene.kill(role)
        shift_s = scene.choice.choice([3_600, -3_600])
        scene.notes["an hour ahead" if shift_s > 0 else "an hour behind"] += 1
        await scene.start(role, module=launcher.NAME, env={launcher.SHIFT_S: str(shift_s)})

    return fault


def can_mount(folder: Path) -> str | None:
    """Why a file system can't be mounted here; None if it can."""
    disk = folder / "try"
    disk.mkdir()
    told = _mount(disk)
    if not told:
        _unmount(disk)
    return told or None


def _mount(disk: Path) -> str:
    """Of DISK_MIB, in memory; returns why it could not be, or nothing."""
    command = ["/bin/mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip()


def _unmount(disk: Path) -> None:
    subprocess.run(["/bin/umount", "--lazy", str(disk)], check=True)


def disk_full(role: str) -> Fault:
    """The disk with a third process's state fills up: it must say so and end by itself, and the others take over."""

    async def fault(scene: Scene) -> None:
        disk = scene.fleet.folder / "disk"
        disk.mkdir(exist_ok=True)
        told = _mount(disk)
        assert not told, told
        try:
            (third,) = await scene.start(role, state=disk)
            await asyncio.sleep(scene.choice.uniform(0, 1))
            await scene.blocking(lambda: _fill(disk))
            await scene.until(lambda: not third.is_running, "the end of a process whose disk is full")
            scene.fleet.running[role].remove(third)
            failed = third.logged("failed")
            assert third.wait() == 1
            assert failed is not None, third.stdout.read_text()
            assert str(disk) in failed["reason"], failed
        finally:
            _unmount(disk)

    return fault


def disk_slow(role: str) -> Fault:
    """A third process's disk takes hundreds of times as long as it should: so does the process, and everybody else goes on."""

    async def fault(scene: Scene) -> None:
        (third,) = await scene.start(role, env=slow_disk(scene.fleet.folder))
        await asyncio.sleep(scene.choice.uniform(4, 8))
        at = scene.fleet.running[role].index(third)
        if scene.choice.random() < 0.5:
            scene.fleet.kill(role, at)
        else:
            await scene.blocking(lambda: scene.fleet.stop(role, at))

    return fault


def _fill(disk: Path) -> None:
    """Takes all that is free."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 4_096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


async def poisoned(scene: Scene) -> None:
    """Unreadable records in every topic: put aside or logged, each of them, and nobody stops."""
    servers = scene.cluster.bootstrap_servers
    letters, logged = await poison(servers, PARTITIONS, scene.choice)
    scene.notes["unreadable records sent"] += len(letters) + len(logged)
    async with asyncio.timeout(WAIT_S):
        while len(await dead_letters(servers, letters)) < len(letters):
            await asyncio.sleep(0.2)

    def all_logged() -> bool:
        found = {(line["topic"], line["partition"], line["offset"]) for line in scene.fleet.logged("dead_letter")}
        return found.issuperset(logged)

    await scene.until(all_logged, "a line for each unreadable record of a table")


def per_role(name: str, fault: Callable[[str], Fault]) -> dict[str, Fault]:
    """The same fault for each of the roles."""
    return {f"{role} {name}": fault(role) for role in ROLES}


KINDS: dict[str, Fault] = {
    **per_role("killed", killed),
    "two roles killed at once": killed("event", "reservation"),
    "all processes killed at once": all_killed,
    **per_role("killed for good", killed_for_good),
    **per_role("worker killed", worker_killed),
    **per_role("suspended", suspended),
    **per_role("starved", starved),
    **per_role("scaled", scaled),
    "broker killed": broker_killed,
    "brokers bounced": brokers_bounced,
    "all brokers killed at once": all_brokers_killed,
    **per_role("cut off briefly", lambda role: cut_off(role, 1)),
    **per_role("cut off for longer than its session", lambda role: cut_off(role, SESSION_S + 2)),
    **per_role("state wiped", state_wiped),
    **per_role("state corrupted", state_corrupted),
    **per_role("clock shifted", clock_shifted),
    **per_role("disk full", disk_full),
    **per_role("disk slow", disk_slow),
    "topics poisoned": poisoned,
}
# Those that need a file system of their own, and those that need a C compiler.
MOUNTING = frozenset(per_role("disk full", disk_full))
BUILDING = frozenset(per_role("disk slow", disk_slow))
