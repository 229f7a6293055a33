"""The routes of a role without a gateway: whether it serves its partitions."""

from __future__ import annotations

from collections.abc import Callable

from ticketmaster.ticket import problems
from ticketmaster.ticket.gateway import Responder, refuse
from ticketmaster.ticket.routes import HEALTH, PostTarget, Request, answer_health


class HealthRoutes:
    """``GET /v1/health_check`` and nothing else."""

    body_bytes_max = 0

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    def get(self, path: str, responder: Responder) -> bool:
        """There is no hot path."""
        return False

    def post_target(self, path: str) -> PostTarget | None:
        """Nothing is taken."""
        return None

    def get_other(self, request: Request, responder: Responder) -> None:
        """200 while all partitions of this process are served, 503 otherwise."""
        if request.path == HEALTH:
            answer_health(responder, ready=self._ready())
        else:
            refuse(responder, problems.NO_SUCH_PATH)
