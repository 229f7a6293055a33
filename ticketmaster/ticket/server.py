"""The HTTP server: Granian, embedded in the process's own loop, HTTP/1.1 and HTTP/2 on one port, without TLS or with it.

Granian's threads leave notes, the loop is woken once for a batch of them, and a request costs no coroutine. That needs names
of Granian that are not public (``granian_private.py``); without them the same handlers are served through RSGI as documented.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings

from ticketmaster.clock import SystemClock
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.ticket import granian_private, problems
from ticketmaster.ticket.access import Caller
from ticketmaster.ticket.connections import Arrivals
from ticketmaster.ticket.dispatching import GETS, Dispatcher, let_go_of_body
from ticketmaster.ticket.door import Door
from ticketmaster.ticket.heads import body_length
from ticketmaster.ticket.listening import BACKLOG, listeners
from ticketmaster.ticket.notes import Notes
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.routes import RouteTable
from ticketmaster.ticket.settings import ServerSettings
from ticketmaster.ticket.sockets import watchable
from ticketmaster.ticket.unfinished import Pieces, take_body
from ticketmaster.ticket.watching import ConnectionWatch, connection_limits

_STOP_TIMEOUT_S = 1.0
# One that can't begin ends at once.
_BEGUN_S = 0.5


def _ignore(_: Any) -> None:
    pass


async def _serve_notes(dispatcher: Dispatcher, signal: Any, worker_options: tuple[Any, ...]) -> None:
    loop = asyncio.get_running_loop()
    notes = Notes(loop)
    unfinished = dispatcher.unfinished
    stopped = loop.create_future()

    def end() -> None:
        # The end of the process may have cancelled it meanwhile.
        if not stopped.done():
            stopped.set_result(None)

    def on_stopped() -> None:
        # In a thread of Granian's, which would end its runtime next. What is left there, of bodies never finished, holds objects of
        # Python's: dropped by a thread of the runtime they would abort the process. So this does not return: the process ends soon.
        loop.call_soon_threadsafe(end)
        threading.Event().wait()

    granian_private.call_when_stopped(signal, on_stopped)

    def schedule(scope: Any, protocol: Any) -> None:
        # In Granian's thread, which keeps what this raises for whoever comes next, and would fail them all.
        try:
            look(scope, protocol)
        except Exception as failure:  # noqa: BLE001
            note_failure(failure, protocol)

    def note_failure(failure: Exception, protocol: Any) -> None:
        notes.call_soon_threadsafe(lambda _: dispatcher.answer_failure(failure, protocol))

    def look(scope: Any, protocol: Any) -> None:
        # At the head of the request only.
        headers, method, path = scope.headers, scope.method, scope.path
        responder = dispatcher.responder(scope, method, headers, protocol)
        length = None if method in GETS else body_length(headers)
        decided = dispatcher.decide(scope, method, path, headers, length)
        if isinstance(decided, Caller):
            let_go_of_body(headers, protocol)
            notes.call_soon_threadsafe(lambda _: dispatcher.get(scope, path, decided, responder))
        elif not callable(decided):
            let_go_of_body(headers, protocol)
            notes.call_soon_threadsafe(lambda _: dispatcher.answer(scope, decided, responder))
        elif length is None:
            notes.call_soon_threadsafe(lambda _: Pieces(dispatcher, unfinished, scope, decided, protocol, responder).read_on())
        else:
            body = granian_private.body_of(protocol)
            unfinished.add(responder, body)
            body.add_done_callback(lambda body: take_body(dispatcher, unfinished, scope, decided, body, responder))

    granian_private.serve(schedule, loop, notes, signal, worker_options)
    await stopped


class HttpServer:
    """Serves routes until stopped."""

    def __init__(self, routes: RouteTable, settings: ServerSettings, watch: RequestWatch | None = None, door: Door | None = None) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._arrivals = Arrivals(self._clock)
        self.connections: ConnectionWatch | None = None
        # The watch on connections forgets those that are gone.
        self._dispatcher = Dispatcher(routes, watch, self._arrivals.see if watchable() else _ignore, door)
        self._server: Any = None
        self._job: asyncio.Task[None] | None = None
        # Those of certificates that were renewed: they answer what is open.
        self._former: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._is_retiring = self._is_retired = False

    @property
    def has_tls(self) -> bool:
        """Whether it speaks TLS."""
        return self._settings.tls is not None

    def use(self, routes: RouteTable) -> None:
        """Has requests answered by these routes from now on."""
        self._dispatcher.use(routes)

    async def start(self, listener: socket.socket | None = None) -> int:
        """Serves on a socket that listens, or on one of its own; returns the port. UsageError: it can't listen."""
        settings = self._settings
        if listener is None:
            (listener,) = listeners(settings.address, settings.port)
        port = listener.getsockname()[1]
        limits = connection_limits(settings)
        if watchable():
            # Granian keeps the descriptor's number.
            self.connections = ConnectionWatch(listener, limits, self._arrivals, self._clock)
        self._connections_max = limits.connections_max
        self._server, self._job = self._begun(listener)
        if self.connections:
            # Where places are scarce each answer makes one free.
            self.connections.on_crowded = self._dispatcher.close_connections
            self.connections.start()
        return int(port)

    def _begun(self, listener: socket.socket) -> tuple[Any, asyncio.Task[None]]:
        """A server of Granian's on a socket, which is its own from now on."""
        settings, (address, port) = self._settings, listener.getsockname()[:2]
        tls = settings.tls
        server = granian_private.new_server(
            listener,
            self._dispatcher.rsgi,
            address=address,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.auto,
            websockets=False,
            log_enabled=False,
            backlog=BACKLOG,
            backpressure=self._connections_max,
            runtime_threads=settings.io_threads,
            http1_settings=HTTP1Settings(header_read_timeout=settings.idle_ms + settings.request_ms),
            http2_settings=HTTP2Settings(
                max_concurrent_streams=settings.http2_streams_max, max_headers_size=settings.http2_headers_bytes_max
            ),
            ssl_cert=tls.certificate if tls else None,
            ssl_key=tls.key if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        return server, asyncio.create_task(server.serve(self._spawn if self._leaves_notes() else None), name="http")

    async def renew(self) -> None:
        """Serves new connections by the certificate that its files hold now; those that are open come to their end by the old one.

        Granian reads a certificate when it begins. So another server of its kind begins on the same socket, before the first one stops:
        no connection is refused. UsageError: it does not begin, and the first one goes on.
        """
        if not self.connections or not self._server or self._is_retired:
            raise UsageError("a certificate can't be renewed here: start the process again")
        before, job, failure = self._server, self._job, self._failure
        listener = self.connections.another_listener()
        descriptor = listener.fileno()
        try:
            server, begun = self._begun(listener)
        except OSError as cause:
            listener.close()
            raise UsageError(f"the server does not begin with it: {cause}") from cause
        ended, _ = await asyncio.wait({begun}, timeout=_BEGUN_S)
        if ended:
            reason, self._failure = self._failure, failure
            raise UsageError(f"the server does not begin with it: {reason or 'it does not say why'}")
        assert job
        self._server, self._job = server, begun
        self.connections.accept_by(descriptor)
        self._former.add(job)
        job.add_done_callback(self._former.discard)
        self._dispatcher.close_connections(True)  # noqa: FBT003
        await asyncio.sleep(self._settings.lame_duck_ms / 1000)
        self._dispatcher.close_connections(self._is_retiring or self.connections.is_crowded)
        before.stop()

    def _leaves_notes(self) -> bool:
        """Whether a request costs no coroutine: not where this version of Granian has no names for that."""
        if not self._settings.notes:
            return False
        if lacks := granian_private.missing():
            tried = granian_private.TRIED
            structlog.get_logger().warning("served_as_documented", reason=f"Granian lacks {lacks}", tried=tried, cost="CPU by request")
        return not lacks

    async def _spawn(self, worker_id: int, signal: Any, _callback: Any, sock: Any, *options: Any) -> None:
        try:
            await _serve_notes(self._dispatcher, signal, granian_private.worker_options(worker_id, sock, options))
        except BaseException as failure:
            # Granian would only say that it ended.
            self._failure = failure
            raise

    async def ended(self) -> None:
        """A job: lasts as long as requests are served. Fatal: they are not any more, though nobody has stopped it."""
        assert self._job
        job = None
        # Another one, where a certificate was renewed meanwhile.
        while job is not self._job:
            job = self._job
            await asyncio.wait({job})
        if self._is_retired:
            # The log of what was taken on is still waited for.
            await asyncio.Event().wait()
        cause = self._failure or (None if self._job.cancelled() else self._job.exception())
        raise Fatal(f"the HTTP server has ended by itself{f': {cause!r}' if cause else ''}") from cause

    @property
    def is_crowded(self) -> bool:
        """Whether there are too many connections, none of which can be spared."""
        return bool(self.connections and self.connections.is_crowded)

    async def refuse_unfinished(self) -> None:
        """Refuses requests whose bodies have not come to their end, from now on: nothing is taken on any more."""
        await self._dispatcher.unfinished.refuse_all(problems.SHUTTING_DOWN)

    async def retire(self) -> None:
        """Takes leave of its clients: answers close their connections, then nobody new is accepted. Requests that are open stay so.

        A kept connection that is just closed may have a request on its way, which its proxy could not repeat.
        """
        if self.connections:
            self.connections.on_crowded = _ignore
        self._is_retiring = True
        self._dispatcher.close_connections(True)  # noqa: FBT003
        await asyncio.sleep(self._settings.lame_duck_ms / 1000)
        self._is_retired = True
        # Of HTTP/2 each connection is told to go away; of HTTP/1.1 those are closed that are idle.
        if self.connections:
            await self.connections.refuse_new(self._server.stop)
        else:
            self._server.stop()

    async def stop(self) -> None:
        """Stops listening and closes what is open."""
        if self.connections:
            await self.connections.stop()
        if self._server and self._job:
            self._server.stop()
            await asyncio.wait({self._job}, timeout=_STOP_TIMEOUT_S)
            jobs = (self._job, *self._former)
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        if self.connections:
            self.connections.close()
