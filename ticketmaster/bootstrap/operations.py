"""The port for operators of a process: health and metrics, where it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from ticketmaster.streams.jobs import cancel
from ticketmaster.telemetry.metrics import Family

if TYPE_CHECKING:
    from ticketmaster.ticket.responding import Responder

Families = Callable[[], Awaitable[Sequence[Family]]]
Job = Callable[[], Coroutine[Any, Any, None]]


# Probes, and those who scrape.
_CONNECTIONS_MAX = 200
_BODY_BYTES_MAX = 1 << 10


async def _for_ever() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def operations(
    port: int, bind: str, ready: Callable[[], bool], families: Families, is_open: Callable[[], bool] | None = None
) -> AsyncIterator[Job]:
    """Answers for as long as the block lasts, also before the process is ready; port 0 is none. UsageError: it can't listen.

    The block gets a job to look after: it ends only if nobody answers any more, though somebody should.
    """
    if not port:
        yield _for_ever
        return
    # Imported here: a role that serves no HTTP does without 10 MiB.
    from ticketmaster.telemetry.prometheus import CONTENT_TYPE, exposition  # noqa: PLC0415
    from ticketmaster.ticket.operations import OperationRoutes  # noqa: PLC0415
    from ticketmaster.ticket.problems import INTERNAL_ERROR, SHUTTING_DOWN  # noqa: PLC0415
    from ticketmaster.ticket.refusing import Refusing  # noqa: PLC0415
    from ticketmaster.ticket.responding import refuse  # noqa: PLC0415
    from ticketmaster.ticket.server import HttpServer  # noqa: PLC0415
    from ticketmaster.ticket.settings import ServerSettings  # noqa: PLC0415

    async def answer(responder: Responder) -> None:
        try:
            # Thousands of lines where there are many partitions or events: Prometheus' library takes 10 µs for each.
            text = await asyncio.to_thread(exposition, await families())
        except asyncio.CancelledError:
            refuse(responder, SHUTTING_DOWN)
            raise
        except Exception as failure:  # noqa: BLE001 - whatever it is, whoever scrapes gets an answer
            structlog.get_logger().error("request_failed", exc_info=failure)
            refuse(responder, INTERNAL_ERROR)
        else:
            responder.response_bytes(200, [("content-type", CONTENT_TYPE), ("cache-control", "no-store")], text)

    jobs: set[asyncio.Task[None]] = set()

    def answer_soon(responder: Responder) -> None:
        job = asyncio.create_task(answer(responder), name="metrics")
        jobs.add(job)
        job.add_done_callback(jobs.discard)

    routes = OperationRoutes(ready, answer_soon, is_open)
    server = HttpServer(routes, ServerSettings(bind, port, connections_max=_CONNECTIONS_MAX))
    await server.start()
    try:
        yield server.ended
    finally:
        server.use(Refusing(SHUTTING_DOWN, _BODY_BYTES_MAX, routes.allowed_methods))
        # Each answers when it is cancelled, once it has begun.
        await asyncio.sleep(0)
        await cancel(*jobs)
        await server.stop()
