"""Several worker processes of one role on one machine: started together, replaced when they die, stopped together.

A worker that dies can't leave its consumer group, and its partitions would wait until its session ends: the supervisor leaves for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

import structlog

from ticketmaster.bootstrap.kafka import leave_for_the_dead
from ticketmaster.bootstrap.operations import operations
from ticketmaster.bootstrap.running import run, stop_signals
from ticketmaster.bootstrap.workers import Inherited, SupervisorLink
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.clock import SystemClock
from ticketmaster.config.roles import RoleConfig
from ticketmaster.errors import Fatal, TicketmasterError
from ticketmaster.telemetry.logs import OccasionalLog
from ticketmaster.telemetry.metrics import Family, merged
from ticketmaster.ticket.listening import stop_listening

_FAILED = 1
_USAGE_ERROR = 2
# Of a worker that was told to stop: in order, or before it could do so in order.
_STOPPED = frozenset({0, -signal.SIGTERM, 128 + signal.SIGTERM})
_RESTART_BACKOFF_MIN_S = 0.1
_RESTART_BACKOFF_MAX_S = 5.0
# Of what somebody must change first: a worker says it each time that it is started.
_MISTAKE_BACKOFF_MAX_S = 60.0
# A worker that lived so long is replaced at once.
_LIVED_S = 5.0
# Beyond what a worker takes for its own end; it ends itself by force before.
_STOP_GRACE_S = 10.0
# A process that is killed is gone by then, unless its disk hangs.
_KILLED_S = 2.0
_LEAVE_S = 10.0
# What is left to do then.
_END_S = 3.0


class Supervision(NamedTuple):
    """What is supervised: ``arguments`` are those of the command line, which each worker is started with."""

    application_id: str
    role: RoleConfig
    arguments: Sequence[str]
    # A socket for each worker, all on one port; none if workers don't listen. They are kept: the port is taken for as long as this lasts.
    listeners: Sequence[socket.socket]
    # How long a worker may take to take leave of its clients, and to drain.
    end_ms: int


class _Ended(NamedTuple):
    """How a worker has ended: by its exit status, or because it could not even be started."""

    status: int | None
    reason: str = ""

    @property
    def is_mistake(self) -> bool:
        """Somebody must change something first."""
        return self.status in (None, _USAGE_ERROR)


def supervise(supervision: Supervision, on_ready: Callable[[], None]) -> int:
    """Runs until a signal: 0, or 1 if a worker did not end in order.

    Until anything has served, a worker that says that something must be changed first ends it (2), and so does one that can't be
    started, by Fatal. Later on either is tried again: what serves goes on.
    """
    return run(_Supervisor(supervision).run(on_ready))


class _Supervisor:
    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._log = structlog.get_logger()
        self._occasional = OccasionalLog(SystemClock().monotonic_s)
        self._links: dict[int, SupervisorLink] = {}
        self._processes: dict[int, Process] = {}
        self._leaving = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._has_served = self._all_have_served = False
        self._is_in_order = True

    @property
    def ready(self) -> bool:
        """Whether all workers serve, and are to."""
        if self._stopping.is_set():
            return False
        return len(self._links) == self._supervision.role.workers and all(link.ready for link in self._links.values())

    def is_open(self) -> bool:
        """Whether they are to get requests: all have served, and one is still to."""
        if self._stopping.is_set() or not self._all_have_served:
            return False
        return any(link.is_open for link in self._links.values())

    async def _families(self) -> list[Family]:
        """The numbers of all workers that live."""
        links = sorted(self._links.items())
        found = await asyncio.gather(*(link.families() for _, link in links))
        return merged([(str(number), of_worker) for (number, _), of_worker in zip(links, found, strict=True)])

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Keeps the workers running."""
        role, end_ms = self._supervision.role, self._supervision.end_ms
        signals = stop_signals(end_ms, _STOP_GRACE_S + _KILLED_S + _END_S)
        async with operations(role.metrics_port, role.bind, lambda: self.ready, self._families, self.is_open) as operated:
            keepers = {asyncio.create_task(self._keep(number), name=f"worker-{number}") for number in range(role.workers)}
            stopping = asyncio.create_task(signals.get(), name="signals")
            answering = asyncio.create_task(operated(), name="operations")
            telling = asyncio.create_task(self._tell_ready(on_ready), name="ready")
            await asyncio.wait({stopping, answering, *keepers}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            await self._stop_workers(keepers)
            ended = [job for job in (answering, *keepers) if job.done()]
            jobs = (stopping, answering, telling, *keepers)
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        results = [job.result() for job in ended]
        self._log.info("stopped")
        if _USAGE_ERROR in results:
            return _USAGE_ERROR
        return 0 if self._is_in_order else _FAILED

    async def _tell_ready(self, on_ready: Callable[[], None]) -> None:
        while not self.ready:  # noqa: ASYNC110 - flags, watched once in a life
            await asyncio.sleep(0.01)
        self._all_have_served = True
        on_ready()

    async def _keep(self, number: int) -> int:
        """Runs one worker after the other until all is stopped: 0. A mistake before anything has served ends it: 2, or Fatal."""
        loop, failures = asyncio.get_running_loop(), 0
        while not self._stopping.is_set():
            began = loop.time()
            ended = await self._run_worker(number)
            if self._stopping.is_set():
                self._note_end(number, ended)
                break
            if ended.is_mistake and not self._has_served:
                if ended.status is None:
                    raise Fatal(ended.reason)
                return _USAGE_ERROR
            # One that dies again and again says why itself.
            self._occasional.log(logging.ERROR, (number, ended), "worker_died", worker=number, **ended._asdict())
            if ended.is_mistake or loop.time() - began < _LIVED_S:
                backoff_max_s = _MISTAKE_BACKOFF_MAX_S if ended.is_mistake else _RESTART_BACKOFF_MAX_S
                backoff_s = min(_RESTART_BACKOFF_MIN_S * 2**failures, backoff_max_s)
                failures = min(failures + 1, 20)
            else:
                backoff_s, failures = 0.0, 0
            await self._unless_stopping(asyncio.sleep(backoff_s), self._leave_for_it())
        return 0

    def _note_end(self, number: int, ended: _Ended) -> None:
        """Of a worker that was told to stop."""
        if ended.status not in _STOPPED and ended.status is not None:
            self._is_in_order = False
            self._log.error("worker_not_stopped_in_order", worker=number, status=ended.status)

    async def _unless_stopping(self, *works: Coroutine[Any, Any, None]) -> None:
        """Does all this, or gives it up when all is to stop."""
        jobs: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._stopping.wait()), asyncio.gather(*works)}
        _, left = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in left:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _run_worker(self, number: int) -> _Ended:
        """Runs one worker to its end, whatever that is: its trouble is nobody else's."""
        listeners = self._supervision.listeners
        listener = listeners[number] if listeners else None
        try:
            process, ours = await self._started(listener)
        except OSError as cause:
            # Too little memory, too many processes or open files.
            return _Ended(None, f"a worker can't be started: {cause.strerror or cause}")
        self._processes[number] = process
        if self._stopping.is_set():
            # While it was being started: nobody has told it.
            _send(process, signal.SIGTERM)
        self._log.debug("worker_started", worker=number, pid=process.pid)
        link = self._links[number] = SupervisorLink(*await asyncio.open_connection(sock=ours), self._note_served)
        await link.follow()
        del self._links[number]
        status = await self._exit_status(process)
        if listener:
            # Or the kernel would give connections to it that nobody accepts. A new worker listens again.
            stop_listening(listener)
        del self._processes[number]
        return _Ended(status)

    async def _started(self, listener: socket.socket | None) -> tuple[Process, socket.socket]:
        """(a worker, our end of the link to it)."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                inherited = Inherited(theirs, listener)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "ticketmaster", *self._supervision.arguments),
                    env=inherited.environment,
                    pass_fds=inherited.descriptors,
                    # A Ctrl-C on the terminal is for the supervisor, which stops its workers in turn.
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        return process, ours

    def _note_served(self) -> None:
        self._has_served = True

    async def _exit_status(self, process: Process) -> int:
        """Of a process that has nothing to say any more: one that does not end then hangs."""
        try:
            return await asyncio.wait_for(process.wait(), _STOP_GRACE_S)
        except TimeoutError:
            _send(process, signal.SIGKILL)
            return await process.wait()

    async def _leave_for_it(self) -> None:
        role = self._supervision.role
        # Connected anew each time: workers die rarely.
        broker = KafkaBroker(role.kafka, SystemClock())
        try:
            async with asyncio.timeout(_LEAVE_S), self._leaving:
                await broker.start()
                try:
                    await leave_for_the_dead(broker, role, self._supervision.application_id)
                finally:
                    await broker.close()
        except (TicketmasterError, TimeoutError, OSError) as reason:
            self._occasional.log(logging.WARNING, "leaving", "left_to_its_session_timeout", reason=str(reason) or "Kafka does not answer")

    async def _stop_workers(self, keepers: set[asyncio.Task[int]]) -> None:
        for process in tuple(self._processes.values()):
            _send(process, signal.SIGTERM)
        _, late = await asyncio.wait(keepers, timeout=self._supervision.end_ms / 1000 + _STOP_GRACE_S)
        if late:
            self._is_in_order = False
            self._log.error("workers_killed", count=len(late), reason="they have not stopped in time")
            for process in tuple(self._processes.values()):
                _send(process, signal.SIGKILL)
            await asyncio.wait(late, timeout=_KILLED_S)


def _send(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
