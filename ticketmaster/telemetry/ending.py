"""What a collector may hold up goes on in threads that nobody has to wait for: a process ends in time whatever hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable


async def in_background(work: Callable[[], None], name: str, wait_s: float | None = None) -> bool:
    """Does something in a daemon thread of its own, and waits ``wait_s`` at most; whether it is done.

    The loop's own threads are waited for when a process ends, however long that takes.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        try:
            work()
        except Exception:
            # What they could foresee the libraries have logged themselves.
            logging.getLogger(__name__).exception("%s failed", name)
        # The loop may have ended before: then nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=tell, name=name, daemon=True).start()
    try:
        await asyncio.wait_for(done.wait(), wait_s)
    except TimeoutError:
        return False
    return True
