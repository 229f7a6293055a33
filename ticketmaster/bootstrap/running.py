"""A process at work: jobs that run until a signal or a failure, and what is done then."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog
import uvloop

import ticketmaster
from ticketmaster.bootstrap.ending import ENDING, GRACE_S
from ticketmaster.errors import TicketmasterError

_GC_ALLOCATIONS = 50_000
_READY_POLL_S = 0.002
# Longer than brokers that don't answer are waited for.
_CANCELLED_S = 6.0

T = TypeVar("T")


def _never() -> bool:
    return False


class Readiness:
    """Whether a process serves: one answer for each port that is asked, and for its numbers."""

    def __init__(self) -> None:
        self._serves = self._rebalancing = _never
        self._has_served = False
        self._is_ending = False

    def watch(self, serves: Callable[[], bool], rebalancing: Callable[[], bool] = _never) -> None:
        """``serves`` says it from now on; ``rebalancing``, whether nothing but a rebalance keeps it from serving."""
        self._serves, self._rebalancing = serves, rebalancing

    def end(self) -> None:
        """It is told to stop, or has failed: not ready any more, whatever still serves."""
        self._is_ending = True

    def __call__(self) -> bool:
        """Whether it serves all its partitions."""
        serves = not self._is_ending and self._serves()
        self._has_served |= serves
        return serves

    def is_open(self) -> bool:
        """Whether it is to get requests: it serves, or has served and waits for a rebalance.

        All processes of a group wait at once. Taken out of the way of requests, they could not even answer those that need no partition.
        """
        return self() or (self._has_served and not self._is_ending and self._rebalancing())


class Work(NamedTuple):
    """What a process does: named jobs that never end, whether all of them serve, and what is done at the end.

    ``drain`` lets what is under way come to its end, ``fail`` gives it up.
    """

    jobs: Mapping[str, Coroutine[Any, Any, None]]
    ready: Readiness
    on_ready: Callable[[], None]
    drain: Callable[[], Awaitable[None]] | None = None
    fail: Callable[[], Awaitable[None]] | None = None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs work to its end on an event loop."""
    whole = _in_time(work)
    try:
        return uvloop.run(whole)
    finally:
        # Ctrl-C may come before the loop does; Python would warn of work that was never begun.
        for one in (whole, work):
            one.close()


async def _in_time(work: Coroutine[Any, Any, T]) -> T:
    with ENDING.of_this_process():
        return await work


def run_role(work: Coroutine[Any, Any, T]) -> T:
    """Runs a process's work on its event loop, in its main thread."""
    try:
        _wake_without_preempting()
        return run(work)
    finally:
        # As in run(): Ctrl-C may come in between.
        work.close()


def _wake_without_preempting() -> None:
    """Of this thread, and of all that are started from now on.

    The server's I/O thread is woken for every answer; were it given the core at once, the loop's thread would be interrupted in the
    middle of its batch, and each answer would leave alone. On a core that is idle it still runs at once.
    """
    if sys.platform == "linux":
        # Some sandboxes forbid it, and all works without.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def log_ready(**facts: str) -> None:
    """One line for machines: what the process is for is done from now on."""
    structlog.get_logger().info("ready", **facts, version=ticketmaster.__version__)


class _Signals(asyncio.Queue[str]):
    def __init__(self, limit_s: float) -> None:
        super().__init__()
        self._limit_s = limit_s

    def put_nowait(self, item: str) -> None:
        super().put_nowait(item)
        ENDING.begin(self._limit_s)


def stop_signals(end_ms: int = 0, grace_s: float = GRACE_S) -> asyncio.Queue[str]:
    """Gets the name of each signal to stop, from now on. With the first one the time begins that the end may take."""
    signals = _Signals(end_ms / 1000 + grace_s)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A terminal that is closed ends what runs in it, unless that was started by nohup.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, signals.put_nowait, number.name)
    return signals


async def unless_stopped(starting: Coroutine[Any, Any, T], signals: asyncio.Queue[str]) -> T | None:
    """What a start comes to; None: a signal to stop came first, and the start was given up."""
    job, stopping = asyncio.create_task(starting, name="start"), asyncio.create_task(signals.get(), name="signals")
    try:
        await asyncio.wait({job, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        structlog.get_logger().info("stopping", signal=stopping.result())
        return None
    finally:
        # A signal that came in the same moment as the end of the start is looked at later.
        if job.done() and stopping.done() and not stopping.cancelled():
            signals.put_nowait(stopping.result())
        for one in (job, stopping):
            one.cancel()
        await asyncio.gather(job, stopping, return_exceptions=True)


async def run_until_stopped(work: Work, signals: asyncio.Queue[str]) -> int:
    """Runs the jobs until a signal (0) or until one fails (1); drains or fails, then cancels them all."""
    jobs = {asyncio.create_task(coroutine, name=name) for name, coroutine in work.jobs.items()}
    stopping = asyncio.create_task(signals.get(), name="signals")
    try:
        # The parts become ready on their own, in no order: a look at all of them is simpler than an event in each.
        while not work.ready() and not stopping.done() and not any(job.done() for job in jobs):  # noqa: ASYNC110
            await asyncio.sleep(_READY_POLL_S)
        if work.ready():
            _calm_garbage_collection()
            work.on_ready()
        await asyncio.wait({stopping, *jobs}, return_when=asyncio.FIRST_COMPLETED)
        work.ready.end()
        if not _ended(jobs):
            structlog.get_logger().info("stopping", signal=stopping.result())
            if work.drain:
                await _unless_ended(work.drain(), jobs)
        failures = [_failure_of(job) for job in _ended(jobs)]
        if failures:
            ENDING.begin(GRACE_S)
            _report(failures)
        if failures and work.fail:
            await work.fail()
    finally:
        for job in (stopping, *jobs):
            job.cancel()
        _, late = await asyncio.wait({stopping, *jobs}, timeout=_CANCELLED_S)
        if late:
            structlog.get_logger().warning("not_ended_in_time", jobs=sorted(job.get_name() for job in late))
        # What they raise now is theirs.
        await asyncio.gather(*(job for job in jobs if job not in late), return_exceptions=True)
    return 1 if failures else 0


def _ended(jobs: Collection[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    """None of them ever should; one that has may have taken others with it."""
    return sorted((job for job in jobs if job.done()), key=asyncio.Task.get_name)


def _failure_of(job: asyncio.Task[None]) -> BaseException:
    failure = None if job.cancelled() else job.exception()
    return failure or RuntimeError(f"the job {job.get_name()} has ended, which it never should")


async def _unless_ended(draining: Awaitable[None], jobs: Collection[asyncio.Task[None]]) -> None:
    """Drains, as long as the jobs that it takes go on."""
    drain = asyncio.ensure_future(draining)
    await asyncio.wait({drain, *jobs}, return_when=asyncio.FIRST_COMPLETED)
    if drain.done():
        drain.result()
        return
    drain.cancel()
    await asyncio.gather(drain, return_exceptions=True)


def _calm_garbage_collection() -> None:
    """Records are made and dropped by the thousand and form no cycles: look for cycles rarely, and never among modules."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 100)


def _report(failures: Sequence[BaseException]) -> None:
    """Tells of all of them; what many jobs failed of is told once."""
    log = structlog.get_logger()
    if reasons := dict.fromkeys(str(failure) for failure in failures if isinstance(failure, TicketmasterError)):
        log.error("failed", reason="; ".join(reasons), advice="what was acknowledged is kept: mend the cause and start again")
    for failure in failures:
        if not isinstance(failure, TicketmasterError):
            log.error("failed", reason="a defect of the program", exc_info=failure)
