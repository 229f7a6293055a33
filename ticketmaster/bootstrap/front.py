"""The HTTP side of a process, from its start to its end: it listens before there is anything to serve, and until all is answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, NamedTuple, Self

from ticketmaster.ticket import problems
from ticketmaster.ticket.door import Door
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.listening import listeners
from ticketmaster.ticket.listing import Lists
from ticketmaster.ticket.refusing import Refusing
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.routes import Routes, RouteTable
from ticketmaster.ticket.server import HttpServer
from ticketmaster.ticket.settings import ServerSettings

_LOOK_S = 0.02


class Doors(NamedTuple):
    """Of the port that clients know, and of the one that other processes ask at. None: whoever reaches it may do everything."""

    public: Door | None = None
    peers: Door | None = None


class Front:
    """Refuses every request until it is given routes, and again when their gateway has drained or failed.

    A context: what listens is stopped at its end.
    """

    def __init__(self, settings: ServerSettings, watch: RequestWatch, body_bytes_max: int, doors: Doors | None = None) -> None:
        self._settings = settings
        self._doors = doors or Doors()
        self._watch = watch
        self._body_bytes_max = body_bytes_max
        self._routes: RouteTable = Refusing(problems.NOT_SERVING, body_bytes_max)
        self.servers: list[HttpServer] = []
        """Those that answer; more may come."""
        self._gateway: Gateway | None = None
        self._lists: Lists | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await server.stop()

    async def listen(self, listener: socket.socket) -> int:
        """Answers what comes to this socket as well; returns its port."""
        return await self._listen(listener, self._doors.public, self._settings)

    async def _listen(self, listener: socket.socket, door: Door | None, settings: ServerSettings) -> int:
        server = HttpServer(self._routes, settings, self._watch, door)
        self.servers.append(server)
        return await server.start(listener)

    async def listen_when(self, ready: Callable[[], bool], listener: socket.socket) -> None:
        """A job: as :meth:`listen`, and lasts as long as it is answered; until it is ready, others answer what comes to the port."""
        while not ready():  # noqa: ASYNC110 - flags, watched once in a life
            await asyncio.sleep(_LOOK_S)
        await self.listen(listener)
        await self.servers[-1].ended()

    async def listen_apart(self) -> int:
        """Answers what other processes ask at a free port as well, without TLS; returns it."""
        (listener,) = listeners(self._settings.address, 0)
        return await self._listen(listener, self._doors.peers, replace(self._settings, tls=None))

    async def renew(self) -> None:
        """Serves clients by the certificate that its files hold now. UsageError: it can't be used, and the one before goes on."""
        for server in self.servers:
            if server.has_tls:
                await server.renew()

    def jobs(self) -> dict[str, Coroutine[Any, Any, None]]:
        """By name: each ends only if its port is answered no more."""
        return {f"http-{number}": server.ended() for number, server in enumerate(self.servers)}

    def serve(self, routes: Routes, gateway: Gateway, lists: Lists | None = None) -> None:
        """Answers by these routes, which lead to this gateway, and to these lists."""
        self._gateway, self._lists = gateway, lists
        gateway.is_crowded = lambda: any(server.is_crowded for server in self.servers)
        self._use(routes)

    async def drain(self) -> None:
        """Takes leave of clients, then takes nothing new on; returns when all is answered, or has been waited for long enough."""
        assert self._gateway
        await asyncio.gather(*(server.retire() for server in self.servers))
        # From the first step of this drain nothing is taken on, so that no body need be waited for.
        await asyncio.gather(self._gateway.drain(), self._refuse_unfinished())
        await self._stop_lists()
        self._refuse()

    async def fail(self) -> None:
        """Everybody who waits gets 503, and so does whoever comes."""
        assert self._gateway
        self._refuse()
        await asyncio.gather(self._gateway.fail(), self._refuse_unfinished(), self._stop_lists())

    async def _stop_lists(self) -> None:
        if self._lists:
            await self._lists.stop()

    async def _refuse_unfinished(self) -> None:
        await asyncio.gather(*(server.refuse_unfinished() for server in self.servers))

    def _refuse(self) -> None:
        self._use(Refusing(problems.SHUTTING_DOWN, self._body_bytes_max))

    def _use(self, routes: RouteTable) -> None:
        self._routes = routes
        for server in self.servers:
            server.use(routes)
