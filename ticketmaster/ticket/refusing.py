"""What a process answers before it serves, and when it serves no more."""

from __future__ import annotations

from collections.abc import Callable

from ticketmaster.ticket.access import EVERYBODY, Caller
from ticketmaster.ticket.heads import Head, HeaderLines
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.responding import Responder, refuse
from ticketmaster.ticket.routes import LIVE, Request, Target, allowed_methods, answer_health


class Refusing:
    """Routes that refuse every request with the same problem. Only the probe that asks whether the process lives hears yes."""

    def __init__(self, problem: Problem, body_bytes_max: int, allowed: Callable[[str], str] = allowed_methods) -> None:
        """``allowed`` tells the methods of a path."""
        self.body_bytes_max = body_bytes_max
        self._allowed = allowed
        self._problem = problem

    def get(self, path: str, responder: Responder, caller: Caller = EVERYBODY) -> bool:
        """Refuses, whatever the path is."""
        if path == LIVE:
            answer_health(path, responder, healthy=False)
        else:
            refuse(responder, self._problem)
        return True

    def get_other(self, request: Request, responder: Responder) -> None:
        """As :meth:`get`, which leaves nothing."""
        self.get(request.path, responder)

    def allowed_methods(self, path: str) -> str:
        """As at any time: which methods a path takes is no matter of who serves."""
        return self._allowed(path)

    def target(self, method: str, path: str, head: Head, headers: HeaderLines, caller: Caller) -> Target:
        """Nobody: all that comes is refused."""
        return lambda _body, responder: refuse(responder, self._problem)
