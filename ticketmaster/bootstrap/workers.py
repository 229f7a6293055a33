"""A worker's link to its supervisor: a socket on which it says whether it serves, and whose end means that the supervisor is gone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

_VARIABLE = "TICKETMASTER_WORKER"
_LOOK_S = 0.05
READY, NOT_READY = b"1", b"0"


class WorkerLink:
    """The worker's end."""

    def __init__(self, descriptor: int, port: int) -> None:
        """``port`` is the one that all workers share."""
        self.port = port
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(0)

    @classmethod
    def from_environment(cls) -> WorkerLink | None:
        """The link of this process, None if it is nobody's worker."""
        given = os.environ.pop(_VARIABLE, "")
        return cls(*map(int, given.split(":"))) if given else None

    def watch(self, signals: asyncio.Queue[str]) -> None:
        """Stops this process when its supervisor is gone."""
        loop = asyncio.get_running_loop()

        def on_readable() -> None:
            loop.remove_reader(self._socket)
            signals.put_nowait("supervisor gone")

        loop.add_reader(self._socket, on_readable)

    async def report(self, ready: Callable[[], bool]) -> None:
        """Tells each change of ``ready``, for ever."""
        told = None
        while True:
            now = ready()
            if now is not told:
                told = now
                self._socket.send(READY if now else NOT_READY)
            await asyncio.sleep(_LOOK_S)


def worker_environment(descriptor: int, port: int) -> dict[str, str]:
    """The environment of a worker whose end of the link is ``descriptor``."""
    return {**os.environ, _VARIABLE: f"{descriptor}:{port}"}
