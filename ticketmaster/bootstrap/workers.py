"""The link between a supervisor and a worker, which says whether it serves, tells its numbers, and ends with its supervisor.

Messages of the worker: a byte that says what it is, the length of the rest in four bytes (big endian), and the rest. The supervisor
sends one byte, :data:`_ASK`, for each time it wants the numbers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from ticketmaster.errors import UsageError
from ticketmaster.telemetry.metrics import Family

_VARIABLE = "TICKETMASTER_WORKER"
_NO_LISTENER = -1
_LOOK_S = 0.05
# A worker that is as busy as can be answers within less; whoever scrapes waits not much longer for all of them.
_NUMBERS_TIMEOUT_S = 2.0
_READY, _OPEN, _NOT_READY, _NUMBERS = b"1", b"2", b"0", b"n"
_ASK = b"?"
_HEAD = struct.Struct(">cI")
_FAMILIES = msgspec.msgpack.Decoder(list[Family])


class WorkerLink:
    """The worker's end."""

    def __init__(self, descriptor: int, listener: int = _NO_LISTENER) -> None:
        """``listener`` is the descriptor of the socket that the supervisor has opened for this worker."""
        self.listener = None if listener == _NO_LISTENER else socket.socket(fileno=listener)
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(0)
        self._unsent = bytearray()
        self._families: Callable[[], Sequence[Family]] = list

    @classmethod
    def from_environment(cls) -> WorkerLink | None:
        """The link of this process, None if it is nobody's worker. UsageError: no supervisor has set the variable."""
        given = os.environ.pop(_VARIABLE, "")
        try:
            return cls(*map(int, given.split(":"))) if given else None
        except (ValueError, TypeError, OSError) as cause:
            raise UsageError(f"{_VARIABLE} in the environment is for a supervisor's own workers: unset it") from cause

    def watch(self, signals: asyncio.Queue[str], families: Callable[[], Sequence[Family]]) -> None:
        """Stops this process when its supervisor is gone, and answers with the numbers when asked."""
        self._families = families
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable, signals)

    def _on_readable(self, signals: asyncio.Queue[str]) -> None:
        try:
            asked = self._socket.recv(64)
        except ConnectionError:
            asked = b""
        for _ in asked:
            self._send(_NUMBERS, msgspec.msgpack.encode(self._families()))
        if not asked:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            signals.put_nowait("supervisor gone")

    def _send(self, kind: bytes, body: bytes = b"") -> None:
        self._unsent += _HEAD.pack(kind, len(body)) + body
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except ConnectionError:
            # That it is gone is noticed when it is read.
            self._unsent.clear()
        if self._unsent:
            loop.add_writer(self._socket, self._flush)
        else:
            loop.remove_writer(self._socket)

    async def report(self, ready: Callable[[], bool], is_open: Callable[[], bool]) -> None:
        """Tells each change, for ever: whether it serves all its partitions, and else whether it is to get requests all the same."""
        told = None
        while True:
            now = _READY if ready() else _OPEN if is_open() else _NOT_READY
            if now != told:
                told = now
                self._send(now)
            await asyncio.sleep(_LOOK_S)


class SupervisorLink:
    """The supervisor's end of the link to one worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_ready: Callable[[], None] = lambda: None) -> None:
        """``on_ready`` is called whenever the worker begins to serve."""
        self._reader = reader
        self._writer = writer
        self._on_ready = on_ready
        self._asking: deque[asyncio.Future[list[Family]]] = deque()
        self.ready = False
        self.is_open = False

    async def follow(self) -> None:
        """Notes what the worker says until it ends."""
        try:
            while True:
                kind, length = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                body = await self._reader.readexactly(length)
                if kind == _NUMBERS:
                    answer = self._asking.popleft()
                    # Whoever asked may have lost patience.
                    if not answer.done():
                        answer.set_result(_FAMILIES.decode(body))
                else:
                    self.ready, self.is_open = kind == _READY, kind != _NOT_READY
                    if self.ready:
                        self._on_ready()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ready = self.is_open = False
            self._writer.close()
            for answer in self._asking:
                answer.cancel()

    async def families(self) -> list[Family]:
        """The worker's numbers; none if it does not answer."""
        if self._writer.is_closing():
            return []
        answer: asyncio.Future[list[Family]] = asyncio.get_running_loop().create_future()
        self._asking.append(answer)
        self._writer.write(_ASK)
        await asyncio.wait({answer}, timeout=_NUMBERS_TIMEOUT_S)
        if answer.done() and not answer.cancelled():
            return answer.result()
        answer.cancel()
        return []


class Inherited(NamedTuple):
    """What a worker gets from its supervisor: its end of the link and, if it is to listen, a socket that does."""

    link: socket.socket
    listener: socket.socket | None

    @property
    def descriptors(self) -> list[int]:
        """Of all sockets."""
        return [one.fileno() for one in self if one]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that finds them."""
        listener = self.listener.fileno() if self.listener else _NO_LISTENER
        return {**os.environ, _VARIABLE: f"{self.link.fileno()}:{listener}"}
