"""buildah and podman, run in a system of their own: nothing is installed, and no daemon is needed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from scripts.errors import ScriptError
from scripts.image.roots import PATH
from scripts.programs import need

STORAGE = "/var/lib/containers"
# What programs in there get to see of what is outside: the repository, and a folder of this run.
SOURCE, WORK = "/srv", "/mnt"
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
TIMEOUT_S = 300
# A build begins with the layers that it has in common with an earlier one.
LAYERS_KEPT_H = 72
OUTPUT_CHARS_MAX = 4_000
START_S = 60.0
POLL_S = 0.01
# The system becomes the root of a mount namespace, not only of a process: who joins a container comes out at its namespace's root.
# Of control groups it sees the newer kind only: crun refuses a system with both, even where it makes none.
ENTER = """
set -e
mount --rbind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$1" ".$4"
mount --bind -o ro "$2" ".$5"
mount --bind "$3" ".$6"
pivot_root . .
umount -l .
touch /run/ready
exec sleep infinity
"""


class Engine:
    """The system lives as long as a process that sleeps in it, whose number is `keeper`."""

    def __init__(self, keeper: int) -> None:
        self.keeper = keeper

    @property
    def root(self) -> Path:
        """Where the system's files are, seen from here."""
        return Path("/proc", str(self.keeper), "root")

    def clear(self) -> None:
        """Takes away the containers that a run left that was killed, and layers of builds of other days."""
        self.output("podman", "rm", "--all", "--force", "--time", "0", "--volumes")
        self.output("podman", "volume", "prune", "--force")
        self.output("buildah", "rm", "--all")
        self.output("podman", "image", "prune", "--force", "--filter", f"until={LAYERS_KEPT_H}h")

    def run(self, *command: str, timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Runs a program, whatever its exit code is."""
        driver = "overlay" if "overlay" in Path("/proc/filesystems").read_text() else "vfs"
        proxies = {name: value for name, value in os.environ.items() if name.lower() in PROXIES}
        environment = {"PATH": PATH, "HOME": "/root", "STORAGE_DRIVER": driver, "LANG": "C.UTF-8", **proxies}
        return subprocess.run(
            [need("nsenter"), f"--mount=/proc/{self.keeper}/ns/mnt", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def output(self, *command: str, timeout_s: float = TIMEOUT_S) -> str:
        """What it prints. ScriptError: it fails."""
        done = self.run(*command, timeout_s=timeout_s)
        if done.returncode:
            said = (done.stdout + done.stderr)[-OUTPUT_CHARS_MAX:].strip()
            raise ScriptError(f"`{' '.join(command[:4])} …` ended with exit code {done.returncode}:\n{said}")
        return done.stdout.strip()

    def inspect(self, *command: str) -> dict[str, Any]:
        """The one object that it prints as JSON."""
        told: Any = json.loads(self.output(*command))
        one: dict[str, Any] = told[0] if isinstance(told, list) else told
        return one


def started(tools: Path, storage: Path, source: Path, work: Path) -> Engine:
    """An engine in a system that is made ready; it ends with the namespace of processes that it is started in."""
    storage.mkdir(parents=True, exist_ok=True)
    (tools / STORAGE[1:]).mkdir(parents=True, exist_ok=True)
    for name in ("resolv.conf", "hosts"):
        (tools / "etc" / name).write_bytes(Path("/etc", name).read_bytes())
    outside = [str(path) for path in (tools, storage, source, work)]
    keeper = subprocess.Popen([need("unshare"), "--mount", "/bin/sh", "-c", ENTER, *outside, STORAGE, SOURCE, WORK])
    engine = Engine(keeper.pid)
    deadline_s = time.monotonic() + START_S
    while not (engine.root / "run/ready").exists() or keeper.poll() is not None:
        if keeper.poll() is not None or time.monotonic() > deadline_s:
            raise ScriptError("the system with buildah and podman can't be entered")
        time.sleep(POLL_S)
    return engine
