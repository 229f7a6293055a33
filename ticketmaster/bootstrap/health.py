"""The health check of a role without a gateway, where it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ticketmaster.config.roles import RoleConfig


@asynccontextmanager
async def health_check(config: RoleConfig, ready: Callable[[], bool]) -> AsyncIterator[None]:
    """Answers at the role's health port for as long as the block lasts, also before the role is ready. UsageError: it can't listen."""
    if not config.health_port:
        yield
        return
    # Imported here: a role that serves no HTTP does without 10 MiB.
    from ticketmaster.ticket.health import HealthRoutes  # noqa: PLC0415
    from ticketmaster.ticket.server import HttpServer  # noqa: PLC0415
    from ticketmaster.ticket.settings import ServerSettings  # noqa: PLC0415

    server = HttpServer(HealthRoutes(ready), ServerSettings(config.health_bind, config.health_port), None)
    await server.start()
    try:
        yield
    finally:
        await server.stop()
