"""What operators and probes ask a process, on a port of its own: whether it lives, whether it serves, and its numbers."""

from __future__ import annotations

from collections.abc import Callable

from ticketmaster.ticket import problems
from ticketmaster.ticket.access import Caller
from ticketmaster.ticket.heads import Head, HeaderLines
from ticketmaster.ticket.responding import Responder, refuse
from ticketmaster.ticket.routes import HEALTH_PATHS, READ_METHODS, READY, Request, Target, answer_health

METRICS = "/metrics"


class OperationRoutes:
    """``/v1/health_check``, ``…/live``, ``…/ready`` and ``/metrics``, to be read, and nothing else."""

    body_bytes_max = 0

    def __init__(
        self, ready: Callable[[], bool], answer_metrics: Callable[[Responder], None], is_open: Callable[[], bool] | None = None
    ) -> None:
        """``answer_metrics`` answers with the numbers, now or later; the others as of :class:`~ticketmaster.ticket.routes.Routes`."""
        self._ready = ready
        self._is_open = is_open or ready
        self._answer_metrics = answer_metrics

    def get(self, path: str, responder: Responder, caller: Caller) -> bool:
        """There is no hot path."""
        return False

    def allowed_methods(self, path: str) -> str:
        """The methods that a path takes; none of another path."""
        return READ_METHODS if path in HEALTH_PATHS or path == METRICS else ""

    def target(self, method: str, path: str, head: Head, headers: HeaderLines, caller: Caller) -> Target | None:
        """Nothing is taken."""
        return None

    def get_other(self, request: Request, responder: Responder) -> None:
        """Answers, or refuses what is not there."""
        if request.path in HEALTH_PATHS:
            healthy = self._is_open if request.path == READY else self._ready
            answer_health(request.path, responder, healthy=healthy())
        elif request.path == METRICS:
            self._answer_metrics(responder)
        else:
            refuse(responder, problems.NO_SUCH_PATH)
