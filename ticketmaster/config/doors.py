"""What a gateway is told of who may do what."""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from ticketmaster.errors import UsageError


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
    # Both, or none.
    tls_certificate: Path | None
    tls_key: Path | None
    # None: other processes are believed without; `standalone` has none.
    peer_secret_file: Path | None = None

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """Certificate and key of the port for clients; None: without TLS."""
        return (self.tls_certificate, self.tls_key) if self.tls_certificate and self.tls_key else None

    @property
    def scheme(self) -> str:
        """Of the port for clients."""
        return "https" if self.tls else "http"


def door_config(options: dict[str, Any]) -> DoorConfig:
    """Takes what is about doors out of a command's options. UsageError: one of two that belong together is missing."""
    if bool(options["tls_certificate"]) != bool(options["tls_key"]):
        raise UsageError("--tls-certificate and --tls-key belong together: give both")
    return DoorConfig(**{field.name: options.pop(field.name) for field in fields(DoorConfig) if field.name in options})
