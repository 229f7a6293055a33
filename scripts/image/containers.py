"""Containers of the image: started as strictly as the compose file and the manifests start them, by a user that the image does not know."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.errors import ScriptError
from scripts.image import confinement
from scripts.image.building import IMAGE
from scripts.image.engine import Engine

# As of docker-compose.yml. The network is that of this process: one where nobody else is.
STRICT = (
    *("--network", "host", "--cgroups", "disabled", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:mode=1777,size=64m"),  # noqa: S108
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--log-driver", "k8s-file", "--ulimit", "host"),
)
POLL_S = 0.1
READY_S = 90.0
# What docker-compose.yml grants.
END_S = 45.0


@dataclass(frozen=True, slots=True)
class Container:
    """One that runs."""

    engine: Engine
    name: str
    uid: int
    metrics_port: int
    started_s: float

    def said(self) -> str:
        """All that it has said."""
        done = self.engine.run("podman", "logs", self.name)
        return done.stdout + done.stderr

    def check_confined(self) -> None:
        """ScriptError: it could do more than it may."""
        pid = int(self.engine.output("podman", "inspect", "--format", "{{.State.Pid}}", self.name))
        found = confinement.problems_of(pid, self.uid)
        if found:
            raise ScriptError(f"{self.name}: {'; '.join(found)}")

    def wait_healthy(self) -> float:
        """Until its health is 200, asked from outside, and the image's health check finds the same. Returns the seconds since its start."""
        while not self._answers():
            state = self.engine.output("podman", "inspect", "--format", "{{.State.Status}}", self.name)
            if state != "running":
                raise ScriptError(f"{self.name} is {state} and not ready; it said:\n{self.said()}")
            if time.monotonic() - self.started_s > READY_S:
                raise ScriptError(f"{self.name} is not ready in {READY_S:.0f} s; it said:\n{self.said()}")
            time.sleep(POLL_S)
        took_s = time.monotonic() - self.started_s
        self._check_health()
        return took_s

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/v1/health_check", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _check_health(self) -> None:
        """By the command of the image's HEALTHCHECK, inside the container, asking the port that this one has."""
        config = self.engine.inspect("podman", "image", "inspect", IMAGE)
        kind, *command = config["Healthcheck"]["Test"]
        if kind != "CMD":
            raise ScriptError(f"the health check is a {kind}")
        moved = [part.replace("9464", str(self.metrics_port)) for part in command]
        done = self.engine.run("podman", "exec", self.name, *moved)
        if done.returncode:
            raise ScriptError(f"{self.name} is ready, but its health check says {done.returncode}: {done.stderr}")

    def end(self) -> float:
        """SIGTERM to its first process, which must end in order. Returns the seconds that took."""
        begin_s = time.monotonic()
        self.engine.output("podman", "kill", "--signal", "TERM", self.name)
        status = int(self.engine.output("podman", "wait", self.name, timeout_s=END_S))
        if status:
            raise ScriptError(f"{self.name} ended with exit code {status} after SIGTERM; it said:\n{self.said()}")
        return time.monotonic() - begin_s


@contextmanager
def running(
    engine: Engine, name: str, uid: int, *options: str, entrypoint: Sequence[str] = (), command: Sequence[str], metrics_port: int
) -> Iterator[Container]:
    """A container for the time of the context; with its volumes it is gone afterwards."""
    begin_s = time.monotonic()
    own = ("--entrypoint", json.dumps(entrypoint)) if entrypoint else ()
    engine.output("podman", "run", "--detach", "--name", name, "--user", f"{uid}:{uid}", *STRICT, *options, *own, IMAGE, *command)
    try:
        yield Container(engine, name, uid, metrics_port, begin_s)
    finally:
        engine.run("podman", "rm", "--force", "--time", "0", "--volumes", name)


def once(engine: Engine, uid: int, *options: str, command: Sequence[str]) -> str:
    """What a command prints that ends by itself. ScriptError: it fails."""
    return engine.output("podman", "run", "--rm", "--user", f"{uid}:{uid}", *STRICT, *options, IMAGE, *command)
