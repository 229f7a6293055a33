"""The link between a supervisor and its workers: numbers when asked, and no harm when a worker is gone or hangs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ticketmaster.bootstrap.workers import SupervisorLink, WorkerLink
from ticketmaster.telemetry import metrics
from ticketmaster.telemetry.metrics import Metrics


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[WorkerLink, SupervisorLink, asyncio.Task[None]]]:
    ours, theirs = socket.socketpair()
    worker = WorkerLink(theirs.detach())
    link = SupervisorLink(*await asyncio.open_connection(sock=ours))
    following = asyncio.create_task(link.follow())
    yield worker, link, following
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    end(worker)


def end(worker: WorkerLink) -> None:
    """What the end of its process does."""
    loop = asyncio.get_running_loop()
    if worker._socket.fileno() >= 0:
        loop.remove_reader(worker._socket)
        loop.remove_writer(worker._socket)
        worker._socket.close()


def numbers(topics: int) -> Metrics:
    """More or less of them."""
    found = Metrics()
    for number in range(topics):
        found.add(metrics.DEAD_LETTERS, 1, "event", f"topic-{number}")
    return found


async def test_numbers_of_any_size_come_whole_and_in_between_the_word_that_it_serves() -> None:
    async with linked() as (worker, link, _):
        # More than the socket takes at once.
        told = numbers(20_000).families()
        worker.watch(asyncio.Queue(), lambda: told)
        reporting = asyncio.create_task(worker.report(lambda: True, lambda: True))

        found = await asyncio.gather(link.families(), link.families())

        assert [[(family.name, len(family.points)) for family in each] for each in found] == [[(metrics.DEAD_LETTERS.name, 20_000)]] * 2
        async with asyncio.timeout(5):
            while not link.ready:
                await asyncio.sleep(0.01)
        reporting.cancel()


async def test_a_worker_tells_that_it_waits_for_a_rebalance_apart_from_whether_it_serves() -> None:
    async with linked() as (worker, link, _):
        serves, is_open = True, True
        reporting = asyncio.create_task(worker.report(lambda: serves, lambda: is_open))

        async def told(expected: tuple[bool, bool]) -> None:
            async with asyncio.timeout(5):
                while (link.ready, link.is_open) != expected:
                    await asyncio.sleep(0.01)

        await told((True, True))
        serves = False
        await told((False, True))
        is_open = False
        await told((False, False))
        reporting.cancel()


async def test_a_worker_that_hangs_holds_nobody_up_and_one_that_is_gone_has_no_numbers() -> None:
    async with linked() as (worker, link, following):
        # Nobody watches: it hangs.
        async with asyncio.timeout(5):
            assert await link.families() == []
        end(worker)
        await following
        assert await link.families() == []
        assert not link.ready


async def test_a_supervisor_that_is_gone_ends_its_worker() -> None:
    ours, theirs = socket.socketpair()
    worker, signals = WorkerLink(theirs.detach()), asyncio.Queue[str]()
    worker.watch(signals, list)

    ours.close()

    async with asyncio.timeout(5):
        assert await signals.get() == "supervisor gone"
    end(worker)
