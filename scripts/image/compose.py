"""How docker-compose.yml starts a service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

METRICS_PORT_OPTION = "--metrics-port="


@dataclass(frozen=True, slots=True)
class Service:
    """What it runs: its own entry point, unless that is the image's, and the arguments."""

    name: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]

    def with_metrics_at(self, port: int) -> Service:
        """With another port for metrics and health: containers that share a network must not have the same one."""
        moved = (f"{METRICS_PORT_OPTION}{port}" if part.startswith(METRICS_PORT_OPTION) else part for part in self.command)
        return replace(self, command=tuple(moved))

    def with_replicas(self, number: int) -> Service:
        """With so many replicas of each topic: a cluster of one broker can't have more."""
        place = self.command.index("--replication-factor") + 1
        return replace(self, command=(*self.command[:place], str(number), *self.command[place + 1 :]))


def service(file: Path, name: str) -> Service:
    """One of them; Compose writes a dollar sign as two."""
    model: dict[str, Any] = yaml.safe_load(file.read_text())
    found = model["services"][name]
    entrypoint, command = (tuple(str(part).replace("$$", "$") for part in found.get(key, ())) for key in ("entrypoint", "command"))
    return Service(name, entrypoint, command)
