"""The doors of a gateway's listeners, from what the command line says."""

from __future__ import annotations

from collections.abc import Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog

from ticketmaster.bootstrap.refreshing import Contents, Refreshed
from ticketmaster.bootstrap.tokens import read_tokens
from ticketmaster.config.doors import DoorConfig
from ticketmaster.ticket.cors import CrossOrigin
from ticketmaster.ticket.door import ClientLimits, Door
from ticketmaster.ticket.tokens import Tokens


class Doors:
    """What stands before a gateway. UsageError: a file is not as it must be."""

    def __init__(self, config: DoorConfig, *, has_peers: bool) -> None:
        """``has_peers``: whether other processes ask this one."""
        self._by_id = not config.reservations_need_token
        self._files: list[Refreshed] = []
        limits = None
        if config.requests_per_second_per_client:
            limits = ClientLimits(config.requests_per_second_per_client, config.limited_clients_max, config.forwarded_allow)
        cors = CrossOrigin(config.cors_origin) if config.cors_origin else None
        self.public = Door(by_id=self._by_id, has_peers=has_peers, limits=limits, cors=cors) if config.tokens or limits or cors else None
        """Of the port that clients know; None: whoever reaches it may do everything."""
        if config.tokens:
            self._files.append(self._tokens(config.tokens))
        for files in self._files:
            files.start()

    def _tokens(self, path: Path) -> Refreshed:
        def use(contents: Contents) -> None:
            assert self.public
            self.public.tokens = Tokens((line for _, line in read_tokens(path, contents[0])), by_id=self._by_id)

        return Refreshed("the tokens", [path], use)

    def jobs(self) -> dict[str, Coroutine[Any, Any, None]]:
        """By name: they never end."""
        return {f"files-{number}": files.run() for number, files in enumerate(self._files)}


def warn_if_open(config: DoorConfig, bind: str) -> None:
    """Says once that others than this machine may do everything, where that is so."""
    if config.tokens is None and not is_this_machine(bind):
        structlog.get_logger().warning(
            "open_to_all", bind=bind, reason="whoever reaches this port may do everything", advice="see --tokens, and docs/security.md"
        )


def is_this_machine(bind: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"
