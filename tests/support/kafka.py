"""Clusters for tests, run by ``scripts/kafka/cluster``: real brokers, to be killed, stopped and suspended."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from scripts.kafka.kits import JAVA_OPTIONS

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "kafka" / "cluster"

# The best compiler never earns back what it costs in the minutes that a test's cluster lives: this halves the CPU of a start.
os.environ.setdefault(JAVA_OPTIONS, "-XX:TieredStopAtLevel=1")


class ScriptError(Exception):
    """The script failed; the text is what it said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        # Before its last words stands its progress.
        super().__init__(f"\n{done.stderr.strip()}".rpartition("\ncluster: ")[2])


def run(*arguments: str | Path) -> str:
    """Runs the script until it ends; returns its stdout."""
    done = subprocess.run([sys.executable, SCRIPT, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScriptError(done)
    return done.stdout


class Cluster:
    """A running cluster; its nodes are numbered from 1. Every method blocks until it's done: seconds for a start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def start(cls, folder: Path, *, brokers: int = 1, registry: bool = False, settings: Sequence[str] = ()) -> Self:
        """Starts one in a new folder. It ends with this process at the latest. ``settings`` of all brokers: KEY=VALUE."""
        cluster = cls(folder)
        atexit.register(cluster.close)
        try:
            own = [argument for setting in settings for argument in ("--setting", setting)]
            run("start", folder, "--brokers", str(brokers), *(["--registry"] if registry else []), *own)
        except ScriptError:
            atexit.unregister(cluster.close)
            raise
        return cluster

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses, running or not."""
        servers: str = self._read()["bootstrap_servers"]
        return servers

    @property
    def registry_url(self) -> str:
        """The registry's address in Confluent's form."""
        url: str | None = self._read()["registry_url"]
        assert url is not None, "it was started without a registry"
        return url

    def start_registry(self) -> None:
        """Adds a registry to it."""
        run("start", self.folder, "--registry")

    def start_node(self, node: int) -> None:
        """Starts a stopped broker again, on its port and its data; returns when it serves."""
        run("start", self.folder, "--node", str(node))

    def stop_node(self, node: int) -> None:
        """Shuts a broker down in order: it hands its partitions over first."""
        run("stop", self.folder, "--node", str(node))

    def kill(self, node: int) -> None:
        """Ends a broker as a crash does."""
        run("stop", self.folder, "--node", str(node), "--kill")

    def kill_brokers(self) -> None:
        """Ends all brokers in the same moment, as a power failure does."""
        for node in self._read()["nodes"]:
            os.kill(node["pid"], signal.SIGKILL)

    def start_nodes(self) -> None:
        """Starts whatever does not run; returns when all brokers serve and know each other."""
        run("start", self.folder)

    def suspend(self, node: int) -> None:
        """A broker keeps its connections and says nothing any more, like a machine that hangs."""
        run("signal", self.folder, "--node", str(node), "STOP")

    def resume(self, node: int) -> None:
        """A suspended broker goes on."""
        run("signal", self.folder, "--node", str(node), "CONT")

    def close(self) -> None:
        """Ends all of it. Its data are the test's and need no orderly end."""
        run("stop", self.folder, "--kill")
        atexit.unregister(self.close)

    def _read(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.folder / "cluster.json").read_text())
        return data
