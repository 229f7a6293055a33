"""Several worker processes of one role on one machine: started together, replaced when they die, stopped together.

A worker that dies can't leave its consumer group, and its partitions would wait until its session ends: the supervisor leaves for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from ticketmaster.bootstrap.kafka import leave_for_the_dead
from ticketmaster.bootstrap.operations import operations
from ticketmaster.bootstrap.running import run, stop_signals
from ticketmaster.bootstrap.workers import SupervisorLink, worker_environment
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.clock import SystemClock
from ticketmaster.config.roles import RoleConfig
from ticketmaster.errors import TicketmasterError
from ticketmaster.telemetry.metrics import Family, merged

_USAGE_ERROR = 2
_RESTART_BACKOFF_MIN_S = 0.1
_RESTART_BACKOFF_MAX_S = 5.0
# A worker that lived so long is replaced at once.
_LIVED_S = 5.0
# Beyond what a worker takes for its own drain.
_STOP_GRACE_S = 10.0


class Supervision(NamedTuple):
    """What is supervised: ``arguments`` are those of the command line, which each worker is started with."""

    application_id: str
    role: RoleConfig
    arguments: Sequence[str]
    # The port that the workers share, 0 if there is none.
    port: int
    # How long a worker may take to drain.
    drain_ms: int


def supervise(supervision: Supervision, on_ready: Callable[[], None]) -> int:
    """Runs until a signal (0), or until a worker says that something must be changed first (2)."""
    return run(_Supervisor(supervision).run(on_ready))


class _Supervisor:
    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._log = structlog.get_logger()
        self._links: dict[int, SupervisorLink] = {}
        self._processes: dict[int, Process] = {}
        self._leaving = asyncio.Lock()
        self._stopping = False

    @property
    def ready(self) -> bool:
        """Whether all workers serve."""
        return len(self._links) == self._supervision.role.workers and all(link.ready for link in self._links.values())

    async def _families(self) -> list[Family]:
        """The numbers of all workers that live."""
        links = sorted(self._links.items())
        found = await asyncio.gather(*(link.families() for _, link in links))
        return merged([(str(number), of_worker) for (number, _), of_worker in zip(links, found, strict=True)])

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Keeps the workers running."""
        signals = stop_signals()
        role = self._supervision.role
        async with operations(role.metrics_port, role.bind, lambda: self.ready, self._families):
            keepers = {asyncio.create_task(self._keep(number), name=f"worker-{number}") for number in range(role.workers)}
            stopping = asyncio.create_task(signals.get(), name="signals")
            telling = asyncio.create_task(self._tell_ready(on_ready), name="ready")
            await asyncio.wait({stopping, *keepers}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            telling.cancel()
            stopping.cancel()
            await self._stop_workers(keepers)
            results = await asyncio.gather(*keepers, return_exceptions=True)
        for failure in results:
            if isinstance(failure, Exception):
                raise failure
        self._log.info("stopped")
        return _USAGE_ERROR if _USAGE_ERROR in results else 0

    async def _tell_ready(self, on_ready: Callable[[], None]) -> None:
        while not self.ready:  # noqa: ASYNC110 - flags, watched once in a life
            await asyncio.sleep(0.01)
        on_ready()

    async def _keep(self, number: int) -> int:
        """Runs one worker after the other; returns only the status of one that can't be started, or 0 when all is stopped."""
        backoff_s, loop = _RESTART_BACKOFF_MIN_S, asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            status, served = await self._run_worker(number)
            if self._stopping:
                break
            if status == _USAGE_ERROR and not served:
                return _USAGE_ERROR
            self._log.error("worker_died", worker=number, status=status)
            leaving = asyncio.create_task(self._leave_for_it(), name=f"leave-{number}")
            if loop.time() - began < _LIVED_S:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _RESTART_BACKOFF_MAX_S)
            else:
                backoff_s = _RESTART_BACKOFF_MIN_S
            await leaving
        return 0

    async def _run_worker(self, number: int) -> tuple[int, bool]:
        """(the exit status of a worker, whether it ever served)."""
        supervision = self._supervision
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "ticketmaster", *supervision.arguments),
                    env=worker_environment(theirs.fileno(), supervision.port),
                    pass_fds=[theirs.fileno()],
                    # A Ctrl-C on the terminal is for the supervisor, which stops its workers in turn.
                    start_new_session=True,
                )
            self._processes[number] = process
            self._log.debug("worker_started", worker=number, pid=process.pid)
            link = self._links[number] = SupervisorLink(*await asyncio.open_connection(sock=ours))
            await link.follow()
            del self._links[number]
        status = await process.wait()
        del self._processes[number]
        return status, link.served

    async def _leave_for_it(self) -> None:
        role = self._supervision.role
        # Connected anew each time: workers die rarely.
        broker = KafkaBroker(role.kafka, SystemClock())
        async with self._leaving:
            try:
                await broker.start()
                try:
                    await leave_for_the_dead(broker, role, self._supervision.application_id)
                finally:
                    await broker.close()
            except TicketmasterError as reason:
                self._log.warning("left_to_its_session_timeout", reason=str(reason))

    async def _stop_workers(self, keepers: set[asyncio.Task[int]]) -> None:
        for process in tuple(self._processes.values()):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        _, late = await asyncio.wait(keepers, timeout=self._supervision.drain_ms / 1000 + _STOP_GRACE_S)
        if late:
            self._log.error("workers_killed", count=len(late), reason="they have not stopped in time")
            for process in tuple(self._processes.values()):
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
