"""From a request as Granian hands it over to its answer: what its head is enough for, and who takes its body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from ticketmaster.errors import Fatal
from ticketmaster.ticket import granian_private, problems
from ticketmaster.ticket.access import EVERYBODY, Caller
from ticketmaster.ticket.door import Door
from ticketmaster.ticket.heads import body_length, host_problem
from ticketmaster.ticket.problems import Answer, Problem
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.responding import Bodiless, Closing, Responder, refuse
from ticketmaster.ticket.routes import UNDECODABLE, Request, RouteTable, Target
from ticketmaster.ticket.unfinished import Unfinished

GETS = frozenset({"GET", "HEAD"})
_CHANGING = frozenset({"POST", "PATCH", "DELETE"})
# What the server takes at some path: the answer to OPTIONS *.
_ALL_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST"


def _ignore(_: Any) -> None:
    pass


class Dispatcher:
    """Answers requests as Granian hands them over: scope and protocol, as RSGI defines them."""

    def __init__(
        self, routes: RouteTable, watch: RequestWatch | None, on_whole: Callable[[Any], None] = _ignore, door: Door | None = None
    ) -> None:
        """``on_whole`` is given the scope of each request that is all there. Without a door everybody may do everything."""
        self._watch = watch
        self._door = door
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

    def responder(self, scope: Any, method: str, headers: Any, protocol: Any) -> Responder:
        """The responder that takes the response: the protocol itself, or one before it that watches or adds to it.

        ``method`` is the scope's, which makes a new text of it each time that it is asked. So it does of all that it has.
        """
        if self._door and self._door.cors:
            protocol = self._door.cors.responder(method, headers, protocol)
        if self._closes and scope.http_version != "2":
            protocol = Closing(protocol)
        if method == "HEAD":
            protocol = Bodiless(protocol)
        return self._watch.watch(scope, protocol) if self._watch else protocol

    def decide(self, scope: Any, method: str, path: str, headers: Any, length: int | None) -> Target | Answer | Caller:
        """What a request's head is enough for: its answer; who takes its body, of that length; who asks, if :meth:`get` answers.

        ``method`` and ``path`` are the scope's.
        """
        if problem := host_problem(scope, headers):
            return problem.response
        caller = EVERYBODY
        if self._door:
            admitted = self._door.admit(scope, path, headers)
            if not isinstance(admitted, Caller):
                return admitted
            caller = admitted
        return caller if method in GETS else self.target(scope, method, path, headers, length, caller)

    def answer(self, scope: Any, answer: Answer, responder: Responder) -> None:
        """Answers what its head was enough for."""
        self.on_whole(scope)
        responder.response_bytes(*answer)

    def target(self, scope: Any, method: str, path: str, headers: Any, length: int | None, caller: Caller) -> Target | Answer:
        """Who takes the body of a request that is no GET, or its answer before its body is looked at."""
        if UNDECODABLE in path:
            return problems.INVALID_ENCODING.response
        try:
            target = self._routes.target(method, path, scope, headers, caller) if method in _CHANGING else None
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

    def get(self, scope: Any, path: str, caller: Caller, responder: Responder) -> None:
        """Answers a GET, or HEAD."""
        self.on_whole(scope)
        try:
            if self._routes.get(path, responder, caller):
                return
            if UNDECODABLE in path:
                refuse(responder, problems.INVALID_ENCODING)
            else:
                # Lines of a list are one list.
                request = Request(path, scope.query_string, ",".join(scope.headers.get_all("if-none-match")), caller)
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
        headers = scope.headers
        method = scope.method
        answered = _Answered(self.responder(scope, method, headers, protocol))
        try:
            path = scope.path
            decided = self.decide(scope, method, path, headers, None if method in GETS else body_length(headers))
            if callable(decided):
                await self._read(scope, decided, protocol, answered)
            else:
                let_go_of_body(headers, protocol)
                if isinstance(decided, Caller):
                    self.get(scope, path, decided, answered)
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


def let_go_of_body(headers: Any, protocol: Any) -> None:
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
