"""The end of a process comes in time: whatever hangs then, a broker, a disk or a thread, is waited for no longer."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

# Beyond the time of a drain. A supervisor waits two seconds longer before it kills.
GRACE_S: Final = 8.0
_FAILED: Final = 1
# Stdout may be what hangs.
_SAYING_S: Final = 1.0


class Ending:
    """Ends the process by force if it does not end by itself within ``limit_s`` after :meth:`begin`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: threading.Timer | None = None

    @contextmanager
    def of_this_process(self) -> Iterator[None]:
        """Around all that the process does; outside of it nothing is ended."""
        self._loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            # Once the end has begun, what is behind the block must come to its end in time, too.
            if not self._timer:
                self._loop = None

    def begin(self, limit_s: float) -> None:
        """The process is to end; what is told later changes nothing."""
        if self._loop is None or self._timer:
            return
        self._timer = threading.Timer(limit_s, self._end, (limit_s,))
        self._timer.daemon = True
        self._timer.start()

    def _end(self, limit_s: float) -> None:
        saying = threading.Thread(target=self._say, args=(limit_s,), daemon=True)
        saying.start()
        saying.join(_SAYING_S)
        os._exit(_FAILED)

    def _say(self, limit_s: float) -> None:
        assert self._loop
        hanging = sorted(job.get_name() for job in asyncio.all_tasks(self._loop))
        reason = f"it has not ended within {limit_s:g} s: something hangs"
        structlog.get_logger().error("ended_by_force", reason=reason, jobs=hanging)
        sys.stdout.flush()


ENDING: Final = Ending()
