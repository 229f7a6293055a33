"""The HTTP server: Granian, embedded in the process's own loop, HTTP/1.1 and cleartext HTTP/2 on one port.

Granian's threads leave notes, the loop is woken once for a batch of them, and a request costs no coroutine. That needs names
of Granian that are not public (``granian_private.py``); without them the same handlers are served through RSGI as documented.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings

from ticketmaster.clock import SystemClock
from ticketmaster.errors import Fatal
from ticketmaster.ticket import granian_private, problems
from ticketmaster.ticket.connections import Arrivals
from ticketmaster.ticket.heads import body_length, host_problem
from ticketmaster.ticket.listening import BACKLOG, listeners
from ticketmaster.ticket.notes import Notes
from ticketmaster.ticket.problems import Answer, Problem
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.responding import Bodiless, Closing, Responder, refuse
from ticketmaster.ticket.routes import UNDECODABLE, Request, RouteTable, Target
from ticketmaster.ticket.settings import ServerSettings
from ticketmaster.ticket.sockets import watchable
from ticketmaster.ticket.unfinished import Pieces, Unfinished, take_body
from ticketmaster.ticket.watching import ConnectionWatch, connection_limits

_GETS = frozenset({"GET", "HEAD"})
_CHANGING = frozenset({"POST", "PATCH", "DELETE"})
# What the server takes at some path: the answer to OPTIONS *.
_ALL_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST"
_STOP_TIMEOUT_S = 1.0


def _ignore(_: Any) -> None:
    pass


class Dispatcher:
    """Answers requests as Granian hands them over: scope and protocol, as RSGI defines them."""

    def __init__(self, routes: RouteTable, watch: RequestWatch | None, on_whole: Callable[[Any], None] = _ignore) -> None:
        """``on_whole`` is given the scope of each request that is all there."""
        self._watch = watch
        self.on_whole = on_whole
        self.unfinished = Unfinished()
        self._closes = False
        self.use(routes)

    def use(self, routes: RouteTable) -> None:
        """Answers by these routes from now on."""
        self._routes = routes
        self.body_bytes_max = routes.body_bytes_max

    def close_connections(self, closes: bool) -> None:  # noqa: FBT001 - a callback
        """Whether each answer of HTTP/1.1 is the last one of its connection, from now on."""
        self._closes = closes

    def responder(self, scope: Any, protocol: Any) -> Responder:
        """Who takes the response: the protocol itself, or who watches before it."""
        if self._closes and scope.http_version != "2":
            protocol = Closing(protocol)
        if scope.method == "HEAD":
            protocol = Bodiless(protocol)
        return self._watch.watch(scope, protocol) if self._watch else protocol

    def decide(self, scope: Any, headers: Any, length: int | None) -> Target | Answer | None:
        """What a request's head is enough for: its answer; who takes its body, of that length; None: :meth:`get` answers."""
        if problem := host_problem(scope, headers):
            return problem.response
        return None if scope.method in _GETS else self.target(scope, headers, length)

    def answer(self, scope: Any, answer: Answer, responder: Responder) -> None:
        """Answers what its head was enough for."""
        self.on_whole(scope)
        responder.response_bytes(*answer)

    def target(self, scope: Any, headers: Any, length: int | None) -> Target | Answer:
        """Who takes the body of a request that is no GET, or its answer before its body is looked at."""
        method, path = scope.method, scope.path
        if UNDECODABLE in path:
            return problems.INVALID_ENCODING.response
        try:
            target = self._routes.target(method, path, scope, headers) if method in _CHANGING else None
        except Problem as problem:
            return problem.response
        if target is None:
            return self._without_target(method, path)
        if length is not None and length > self.body_bytes_max:
            return problems.body_too_large(self.body_bytes_max).response
        return target

    def _without_target(self, method: str, path: str) -> Answer:
        allowed = _ALL_METHODS if path == "*" else self._routes.allowed_methods(path)
        if not allowed:
            return problems.NO_SUCH_PATH.response
        if method == "OPTIONS":
            return 204, [("allow", allowed)], b""
        return problems.wrong_method(allowed).response

    def get(self, scope: Any, responder: Responder) -> None:
        """Answers a GET, or HEAD."""
        self.on_whole(scope)
        path = scope.path
        try:
            if self._routes.get(path, responder):
                return
            if UNDECODABLE in path:
                refuse(responder, problems.INVALID_ENCODING)
            else:
                # Lines of a list are one list.
                request = Request(path, scope.query_string, ",".join(scope.headers.get_all("if-none-match")))
                self._routes.get_other(request, responder)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets an answer
            self.answer_failure(failure, responder)

    def post(self, scope: Any, target: Target, body: bytes, responder: Responder) -> None:
        """Answers a request with a body."""
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
            headers = scope.headers
            decided = self.decide(scope, headers, body_length(headers))
            if callable(decided):
                await self._read(scope, decided, protocol, answered)
            else:
                _give_up_body(headers, protocol)
                if decided is None:
                    self.get(scope, answered)
                else:
                    self.answer(scope, decided, answered)
        except Exception as failure:  # noqa: BLE001
            self.answer_failure(failure, answered)
        await answered.wait()

    async def _read(self, scope: Any, target: Target, protocol: Any, responder: Responder) -> None:
        chunks = []
        size = 0
        reading = asyncio.current_task()
        assert reading
        self.unfinished.add(responder, reading)
        try:
            async for chunk in protocol:
                size += len(chunk)
                if size > self.body_bytes_max:
                    break
                chunks.append(chunk)
        except BaseException:
            # Cancelled where it was refused meanwhile.
            if self.unfinished.take(responder):
                raise
            return
        if not self.unfinished.take(responder):
            return
        if size > self.body_bytes_max:
            refuse(responder, problems.body_too_large(self.body_bytes_max))
        else:
            self.post(scope, target, b"".join(chunks), responder)


def _give_up_body(headers: Any, protocol: Any) -> None:
    """Lets go of a body that nobody will read, before the answer: if it goes after that, its connection may never be closed.

    Not of one that its client asks for first: Granian might still say 100, Continue.
    """
    if ("content-length" in headers or "transfer-encoding" in headers) and "expect" not in headers:
        granian_private.give_up_body(protocol)


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
    unfinished = dispatcher.unfinished
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
        headers = scope.headers
        length = body_length(headers)
        decided = dispatcher.decide(scope, headers, length)
        if decided is None:
            _give_up_body(headers, protocol)
            notes.call_soon_threadsafe(lambda _: dispatcher.get(scope, responder))
        elif not callable(decided):
            _give_up_body(headers, protocol)
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

    def __init__(self, routes: RouteTable, settings: ServerSettings, watch: RequestWatch | None = None) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._arrivals = Arrivals(self._clock)
        self.connections: ConnectionWatch | None = None
        # Who looks at connections forgets those that are gone.
        self._dispatcher = Dispatcher(routes, watch, self._arrivals.see) if watchable() else Dispatcher(routes, watch)
        self._server: Any = None
        self._job: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._is_retired = False

    def use(self, routes: RouteTable) -> None:
        """Has requests answered by these routes from now on."""
        self._dispatcher.use(routes)

    async def start(self, listener: socket.socket | None = None) -> int:
        """Serves on a socket that listens, or on one of its own; returns the port. UsageError: it can't listen."""
        settings = self._settings
        if listener is None:
            (listener,) = listeners(settings.address, settings.port)
        address, port = listener.getsockname()[:2]
        limits = connection_limits(settings)
        if watchable():
            # Granian keeps the descriptor's number.
            self.connections = ConnectionWatch(listener, limits, self._arrivals, self._clock)
        self._server = granian_private.new_server(
            listener,
            self._dispatcher.rsgi,
            address=address,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.auto,
            websockets=False,
            log_enabled=False,
            backlog=BACKLOG,
            backpressure=limits.connections_max,
            runtime_threads=settings.io_threads,
            http1_settings=HTTP1Settings(header_read_timeout=settings.idle_ms + settings.request_ms),
            http2_settings=HTTP2Settings(
                max_concurrent_streams=settings.http2_streams_max, max_headers_size=settings.http2_headers_bytes_max
            ),
        )
        self._job = asyncio.create_task(self._server.serve(self._spawn if self._leaves_notes() else None), name="http")
        if self.connections:
            # Where places are scarce each answer makes one free.
            self.connections.on_crowded = self._dispatcher.close_connections
            self.connections.start()
        return int(port)

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
        await asyncio.wait({self._job})
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
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)
        if self.connections:
            self.connections.close()
