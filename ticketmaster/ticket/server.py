"""The HTTP server: Granian, embedded in the process's own loop, HTTP/1.1 and cleartext HTTP/2 on one port.

Granian's threads leave notes, the loop is woken once for a batch of them, and a request costs no coroutine. That needs names
of Granian that are not public (``granian_private.py``); without them the same handlers are served through RSGI as documented.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from ticketmaster.clock import SystemClock
from ticketmaster.errors import Fatal, UsageError
from ticketmaster.ticket import granian_private, problems
from ticketmaster.ticket.connections import Arrivals
from ticketmaster.ticket.notes import Notes
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.responding import Closing, Responder, refuse
from ticketmaster.ticket.routes import PostTarget, Request, wrong_method
from ticketmaster.ticket.settings import ServerSettings
from ticketmaster.ticket.sockets import watchable
from ticketmaster.ticket.watching import ConnectionWatch, connection_limits

_BACKLOG = 4_096
_STOP_TIMEOUT_S = 1.0


def free_port(address: str, port: int) -> int:
    """The port, if nobody listens on it; a free one for 0. UsageError: it is taken, or the address is none of ours."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Granian shares its port with whoever asks for it, so that a second process would go unnoticed.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            bound: int = probe.getsockname()[1]
            return bound
    except OSError as cause:
        hint = "; choose another port" if cause.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        raise UsageError(f"can't listen on {address}:{port}: {cause.strerror or cause}{hint}") from cause


class RouteTable(Protocol):
    """Who answers which path."""

    body_bytes_max: int

    def get(self, path: str, responder: Responder) -> bool:
        """Answers the hot GET; False: it is another path, for :meth:`get_other`."""

    def get_other(self, request: Request, responder: Responder) -> None:
        """Answers every GET but the hot one."""

    def post_target(self, path: str) -> PostTarget | None:
        """Who takes the body of a POST; None: the path takes none."""


def _ignore(_: Any) -> None:
    pass


class Dispatcher:
    """Answers requests as Granian hands them over: scope and protocol, as RSGI defines them."""

    def __init__(self, routes: RouteTable, watch: RequestWatch | None, on_whole: Callable[[Any], None] = _ignore) -> None:
        """``on_whole`` is given the scope of each request that is all there."""
        self._routes = routes
        self._watch = watch
        self.on_whole = on_whole
        self._closes = False
        self.body_bytes_max = routes.body_bytes_max

    def close_connections(self, closes: bool) -> None:  # noqa: FBT001 - a callback
        """Whether each answer of HTTP/1.1 is the last one of its connection, from now on."""
        self._closes = closes

    def responder(self, scope: Any, protocol: Any) -> Responder:
        """Who takes the response: the protocol itself, or who watches before it."""
        if self._closes and scope.http_version != "2":
            protocol = Closing(protocol)
        return self._watch.watch(scope, protocol) if self._watch else protocol

    def refuse(self, scope: Any, responder: Responder, problem: Problem) -> None:
        """Answers what is no GET and can't be a POST; a HEAD without a body."""
        self.on_whole(scope)
        refuse(_Bodiless(responder) if scope.method == "HEAD" else responder, problem)

    def target(self, scope: Any, length: int | None) -> PostTarget | Problem:
        """Who takes the body of a request that is no GET, or why it is refused before its body is looked at."""
        path = scope.path
        target = self._routes.post_target(path) if scope.method == "POST" else None
        if target is None:
            return wrong_method(path) or problems.NO_SUCH_PATH
        if length is not None and length > self.body_bytes_max:
            return problems.body_too_large(self.body_bytes_max)
        return target

    def get(self, scope: Any, responder: Responder) -> None:
        """Answers a GET."""
        self.on_whole(scope)
        path = scope.path
        try:
            if not self._routes.get(path, responder):
                request = Request(path, scope.query_string, scope.headers.get("if-none-match") or "")
                self._routes.get_other(request, responder)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets an answer
            self.answer_failure(failure, responder)

    def post(self, scope: Any, target: PostTarget, body: bytes, responder: Responder) -> None:
        """Answers a POST."""
        self.on_whole(scope)
        try:
            target(body, responder)
        except Exception as failure:  # noqa: BLE001
            self.answer_failure(failure, responder)

    def answer_failure(self, failure: Exception, responder: Responder) -> None:
        """Answers what went wrong: a Problem as it is; anything else is a defect, or a log that is gone."""
        if isinstance(failure, Problem):
            refuse(responder, failure)
        else:
            structlog.get_logger().error("request_failed", exc_info=failure)
            refuse(responder, problems.LOG_UNAVAILABLE if isinstance(failure, Fatal) else problems.INTERNAL_ERROR)

    async def rsgi(self, scope: Any, protocol: Any) -> None:
        """RSGI's documented interface: a coroutine per request, which ends when the response is sent."""
        answered = _Answered(self.responder(scope, protocol))
        try:
            if scope.method == "GET":
                _give_up_body(scope, protocol)
                self.get(scope, answered)
            elif isinstance(target := self.target(scope, _body_length(scope)), Problem):
                _give_up_body(scope, protocol)
                self.refuse(scope, answered, target)
            else:
                await self._read(scope, target, protocol, answered)
        except Exception as failure:  # noqa: BLE001
            self.answer_failure(failure, answered)
        await answered.wait()

    async def _read(self, scope: Any, target: PostTarget, protocol: Any, responder: Responder) -> None:
        chunks = []
        size = 0
        async for chunk in protocol:
            size += len(chunk)
            if size > self.body_bytes_max:
                refuse(responder, problems.body_too_large(self.body_bytes_max))
                return
            chunks.append(chunk)
        self.post(scope, target, b"".join(chunks), responder)


def _body_length(scope: Any) -> int | None:
    """What a request says its body's length is; None: nothing, or nothing that is a number, as HTTP/2 lets pass an empty text."""
    given = scope.headers.get("content-length")
    if given is None or not (given.isascii() and given.isdigit()):
        return None
    # int() refuses thousands of digits, zeros as well; a number of 20 is too large whatever follows.
    return int(given.lstrip("0")[:20] or "0")


def _give_up_body(scope: Any, protocol: Any) -> None:
    """Lets go of a body that nobody will read, before the answer: if it goes after that, its connection may never be closed.

    Not of one that its client asks for first: Granian might still say 100, Continue.
    """
    headers = scope.headers
    if ("content-length" in headers or "transfer-encoding" in headers) and "expect" not in headers:
        granian_private.give_up_body(protocol)


class _Bodiless:
    """A responder for HEAD, which must not be answered with a body."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def response_bytes(self, status: int, headers: problems.Headers, body: bytes) -> None:
        self._responder.response_bytes(status, headers, b"")


class _Answered:
    """A responder that can be awaited."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._sent = asyncio.Event()

    def response_bytes(self, status: int, headers: problems.Headers, body: bytes) -> None:
        self._responder.response_bytes(status, headers, body)
        self._sent.set()

    async def wait(self) -> None:
        await self._sent.wait()


async def _serve_notes(dispatcher: Dispatcher, signal: Any, worker_options: tuple[Any, ...]) -> None:
    loop = asyncio.get_running_loop()
    notes = Notes(loop)
    stopped = loop.create_future()

    def on_stopped() -> None:
        # In a thread of Granian's, which would end its runtime next. What is left there, of bodies never finished, holds objects of
        # Python's: dropped by a thread of the runtime they would abort the process. So this does not return: the process ends soon.
        loop.call_soon_threadsafe(stopped.set_result, None)
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
        responder = dispatcher.responder(scope, protocol)
        if scope.method == "GET":
            _give_up_body(scope, protocol)
            notes.call_soon_threadsafe(lambda _: dispatcher.get(scope, responder))
            return
        length = _body_length(scope)
        target = dispatcher.target(scope, length)
        if isinstance(target, Problem):
            _give_up_body(scope, protocol)
            notes.call_soon_threadsafe(lambda _: dispatcher.refuse(scope, responder, target))
        elif length is None:
            notes.call_soon_threadsafe(lambda _: _Pieces(dispatcher, scope, target, protocol, responder).read_on())
        else:
            granian_private.body_of(protocol).add_done_callback(lambda body: _take_body(dispatcher, scope, target, body, responder))

    granian_private.serve(schedule, loop, notes, signal, worker_options)
    await stopped


def _take_body(dispatcher: Dispatcher, scope: Any, target: PostTarget, body: Any, responder: Responder) -> None:
    try:
        read = body.result()
    except Exception:  # noqa: BLE001 - the client is gone, but its connection stays until there is an answer
        refuse(responder, problems.BODY_BROKE_OFF)
        return
    dispatcher.post(scope, target, read, responder)


class _Pieces:
    """A body of unknown length, read one piece after the other, so that the limit holds.

    Nothing in it refers back to it: what is left of a refused body must go at once, for until then its connection stays open.
    """

    __slots__ = ("_body", "_dispatcher", "_iterator", "_responder", "_scope", "_target")

    def __init__(self, dispatcher: Dispatcher, scope: Any, target: PostTarget, protocol: Any, responder: Responder) -> None:
        self._dispatcher = dispatcher
        self._scope = scope
        self._target = target
        self._responder = responder
        self._body = bytearray()
        self._iterator = granian_private.pieces_of(protocol)

    def read_on(self) -> None:
        """Asks for the next piece."""
        try:
            piece = self._iterator.__anext__()
        except StopAsyncIteration:
            self._finish()
        else:
            piece.add_done_callback(self._on_piece)

    def _on_piece(self, piece: Any) -> None:
        try:
            self._body.extend(piece.result())
        except StopAsyncIteration:
            self._finish()
        except Exception:  # noqa: BLE001 - as in _take_body
            refuse(self._responder, problems.BODY_BROKE_OFF)
        else:
            bytes_max = self._dispatcher.body_bytes_max
            if len(self._body) > bytes_max:
                refuse(self._responder, problems.body_too_large(bytes_max))
            else:
                self.read_on()

    def _finish(self) -> None:
        self._dispatcher.post(self._scope, self._target, bytes(self._body), self._responder)


class HttpServer:
    """Serves routes until stopped."""

    def __init__(self, routes: RouteTable, settings: ServerSettings, watch: RequestWatch | None = None) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._arrivals = Arrivals(self._clock)
        self.connections: ConnectionWatch | None = None
        # Who looks at connections forgets those that are gone.
        self._dispatcher = Dispatcher(routes, watch, self._arrivals.see) if watchable() else Dispatcher(routes, watch)
        self._server: Any = None
        self._job: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listens; returns the port. UsageError: it can't."""
        settings = self._settings
        port = settings.port if settings.shared else free_port(settings.address, settings.port)
        limits = connection_limits(settings)
        self._server = Server(
            self._dispatcher.rsgi,
            address=settings.address,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.auto,
            websockets=False,
            log_enabled=False,
            backlog=_BACKLOG,
            backpressure=limits.connections_max,
            runtime_threads=settings.io_threads,
            http1_settings=HTTP1Settings(header_read_timeout=settings.idle_ms + settings.request_ms),
            http2_settings=HTTP2Settings(
                max_concurrent_streams=settings.http2_streams_max, max_headers_size=settings.http2_headers_bytes_max
            ),
        )
        self._job = asyncio.create_task(self._server.serve(self._spawn if self._leaves_notes() else None), name="http")
        await self._until_listening(port)
        if watchable():
            self.connections = ConnectionWatch(port, limits, self._arrivals, self._clock)
            # Where places are scarce each answer makes one free.
            self.connections.on_crowded = self._dispatcher.close_connections
            self.connections.start()
        return port

    def _leaves_notes(self) -> bool:
        """Whether a request costs no coroutine: not where this version of Granian has no names for that."""
        if not self._settings.notes:
            return False
        if lacks := granian_private.missing():
            tried = granian_private.TRIED
            structlog.get_logger().warning("served_as_documented", reason=f"Granian lacks {lacks}", tried=tried, cost="CPU by request")
        return not lacks

    async def _spawn(self, worker_id: int, signal: Any, _callback: Any, sock: Any, *options: Any) -> None:
        await _serve_notes(self._dispatcher, signal, granian_private.worker_options(worker_id, sock, options))

    async def _until_listening(self, port: int) -> None:
        assert self._job is not None
        while not self._job.done():
            try:
                _, writer = await asyncio.open_connection(self._settings.address, port)
            except OSError:
                await asyncio.sleep(0.005)
            else:
                writer.close()
                return
        self._job.result()
        raise UsageError(f"can't listen on {self._settings.address}:{port}")

    @property
    def is_crowded(self) -> bool:
        """Whether there are too many connections, none of which can be spared."""
        return bool(self.connections and self.connections.is_crowded)

    async def retire(self) -> None:
        """Takes leave of its clients: answers close their connections, then nobody new is accepted. Requests that are open stay so.

        A kept connection that is just closed may have a request on its way, which its proxy could not repeat.
        """
        self._dispatcher.close_connections(True)  # noqa: FBT003
        await asyncio.sleep(self._settings.lame_duck_ms / 1000)
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
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)
        if self.connections:
            self.connections.close()
