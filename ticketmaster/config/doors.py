"""What a gateway is told of who may do what."""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorConfig:
    """The options of the command line, by their names there."""

    # None: everybody may do everything.
    tokens: Path | None
    reservations_need_token: bool
    # 0: no limit.
    requests_per_second_per_client: int
    limited_clients_max: int
    cors_origin: tuple[str, ...]
    forwarded_allow: tuple[IPv4Network | IPv6Network, ...]
    # None: other processes are believed without; `standalone` has none.
    peer_secret_file: Path | None = None


def door_config(options: dict[str, Any]) -> DoorConfig:
    """Takes what is about doors out of a command's options."""
    return DoorConfig(**{field.name: options.pop(field.name) for field in fields(DoorConfig) if field.name in options})
