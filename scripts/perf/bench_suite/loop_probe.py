"""How long an event loop is held: by one callback, and from one turn of a job that only wants turns to the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

_TICK_S = 0.001


class Held:
    """What the loop did while it was watched."""

    def __init__(self) -> None:
        self.silence_s = 0.0
        """The longest time without a turn, by the wall."""
        self.step_cpu_s = 0.0
        """The CPU time of the longest callback: the neighbours of a busy machine are not in it, waiting for the disk is not either."""


@asynccontextmanager
async def watched() -> AsyncIterator[Held]:
    """Watches the running loop, which must be asyncio's own, for as long as the block lasts."""
    held = Held()
    probe = asyncio.create_task(_probe(held), name="probe")
    try:
        with _timed(held):
            # What is watched begins in a step of its own, and the probe has had its first turn.
            await asyncio.sleep(0)
            yield held
            # A step that ends the block counts, too.
            await asyncio.sleep(2 * _TICK_S)
    finally:
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)


async def _probe(held: Held) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(_TICK_S)
        now = time.perf_counter()
        held.silence_s = max(held.silence_s, now - last - _TICK_S)
        last = now


@contextmanager
def _timed(held: Held) -> Iterator[None]:
    """Asyncio tells of slow callbacks in debug mode only, which makes all of them slow."""
    run: Any = asyncio.Handle._run  # noqa: SLF001 - the one place that every callback goes through

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        held.step_cpu_s = max(held.step_cpu_s, time.thread_time() - began)

    handle: Any = asyncio.Handle
    handle._run = timed  # noqa: SLF001
    try:
        yield
    finally:
        handle._run = run  # noqa: SLF001
