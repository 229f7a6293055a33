"""The doors of a gateway's listeners and what is behind them, from what the command line says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog

from ticketmaster.bootstrap.certificates import check_certificate
from ticketmaster.bootstrap.front import Doors
from ticketmaster.bootstrap.refreshing import Contents, Refreshed
from ticketmaster.bootstrap.tokens import read_tokens
from ticketmaster.config.doors import DoorConfig
from ticketmaster.errors import UsageError
from ticketmaster.ticket.cors import CrossOrigin
from ticketmaster.ticket.door import ClientLimits, Door
from ticketmaster.ticket.peers import Peers
from ticketmaster.ticket.peersecret import read_secrets
from ticketmaster.ticket.settings import Certificate
from ticketmaster.ticket.tokens import Tokens

Renew = Callable[[], Awaitable[None]]


class Guard:
    """What stands before a gateway, and the files that it looks into. UsageError: one is not as it must be."""

    def __init__(self, config: DoorConfig, *, has_peers: bool) -> None:
        """``has_peers``: whether other processes ask this one."""
        self._by_id = not config.reservations_need_token
        self._peers: Peers | None = None
        self._renew: Renew | None = None
        self._secret = b""
        self._files: list[Refreshed] = []
        self.doors = self._made(config, has_peers=has_peers)
        if config.tokens:
            self._files.append(self._tokens(config.tokens))
        if config.peer_secret_file:
            self._files.append(self._secrets(config.peer_secret_file))
        if config.tls:
            self._files.append(self._certificate(Certificate(*config.tls)))
        for files in self._files:
            files.start()
        if has_peers and config.tokens and not config.peer_secret_file:
            open_door = "whoever reaches the port could do everything by /internal/"
            raise UsageError(f"--tokens needs --peer-secret-file: without it {open_door}")

    def _made(self, config: DoorConfig, *, has_peers: bool) -> Doors:
        limits = None
        if config.requests_per_second_per_client:
            limits = ClientLimits(config.requests_per_second_per_client, config.limited_clients_max, config.forwarded_allow)
        cors = CrossOrigin(config.cors_origin) if config.cors_origin else None
        if not (config.tokens or limits or cors or config.peer_secret_file or config.tls):
            return Doors()
        return Doors(Door(by_id=self._by_id, has_peers=has_peers, limits=limits, cors=cors), Door(only_peers=True))

    def _tokens(self, path: Path) -> Refreshed:
        def use(contents: Contents) -> None:
            assert self.doors.public
            self.doors.public.tokens = Tokens((line for _, line in read_tokens(path, contents[0])), by_id=self._by_id)

        return Refreshed("the tokens", [path], use)

    def _secrets(self, path: Path) -> Refreshed:
        def use(contents: Contents) -> None:
            try:
                secrets = read_secrets(contents[0])
            except ValueError as reason:
                raise UsageError(f"{path}:{reason}") from reason
            for door in self.doors:
                assert door
                door.secrets = secrets
            self._secret = secrets[0]
            if self._peers:
                self._peers.prove_by(self._secret)

        return Refreshed("the peers' secret", [path], use)

    def _certificate(self, files: Certificate) -> Refreshed:
        async def checked(renew: Renew) -> None:
            await asyncio.to_thread(check_certificate, files)
            await renew()

        def use(_contents: Contents) -> Awaitable[None] | None:
            if self._renew:
                return checked(self._renew)
            # Nothing is served yet: the first one is checked before anything begins.
            check_certificate(files)
            return None

        return Refreshed("the certificate", files, use)

    def on_renewal(self, renew: Renew) -> None:
        """``renew`` is called when the certificate has changed."""
        self._renew = renew

    def introduce(self, peers: Peers) -> None:
        """``peers`` send the secret from now on, and each later one."""
        self._peers = peers
        peers.prove_by(self._secret)

    def jobs(self) -> dict[str, Coroutine[Any, Any, None]]:
        """The jobs that read the files again, by name; they never end."""
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
