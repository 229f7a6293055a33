"""Looks at a server's connections about once a second, closes those that must go, and keeps the server from running out of descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from ticketmaster.clock import Clock
from ticketmaster.errors import UsageError
from ticketmaster.ticket.connections import Arrivals, Closed, Connection, ConnectionLimits, Table
from ticketmaster.ticket.listening import hold_new_connections_up, stop_listening
from ticketmaster.ticket.settings import ServerSettings
from ticketmaster.ticket.sockets import Sockets, descriptors, peer_of

_LOOK_S: Final = 1.0
# While there are too many connections, or hardly a descriptor is left.
_HURRIED_LOOK_S: Final = 0.1
# A look may take a fiftieth of the loop's time, in a hurry a tenth; one at 10,000 connections takes 100 ms, in steps of one.
_REST: Final = 50
_HURRIED_REST: Final = 10
# However long a look took on a busy machine, connections past their deadlines are closed within seconds.
_REST_MAX_S: Final = 5.0
_AT_ONCE: Final = 100
_SAID_EVERY_S: Final = 60.0
# With fewer free descriptors no connection is accepted.
_FREE_MIN: Final = 4
# What the rest of the process may need besides: files of stores, connections to brokers and peers.
_OTHERS_MIN: Final = 32
_OTHERS_PARTS: Final = 16
_CONNECTIONS_MIN: Final = 8
# Handshakes that have begun come to their end in less, and are accepted.
_HANDSHAKES_S: Final = 0.05
# Granian closes what listens when its thread comes to it.
_STOP_POLL_S: Final = 0.005
_STOP_POLLS: Final = 200


def connections_that_fit(connections_max: int) -> int:
    """How many connections the limit of open files leaves room for, which is raised as far as it may be. UsageError: for none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(descriptors())
    except OSError:
        return connections_max
    needed = used + connections_max
    needed += max(_OTHERS_MIN, needed // _OTHERS_PARTS)
    if soft < needed:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft - used < _CONNECTIONS_MIN + _OTHERS_MIN:
        raise UsageError(f"this process may open {soft} files, which is too few: raise the limit of open files, e.g. `ulimit -n 1024`")
    fit = soft - used - max(_OTHERS_MIN, soft // _OTHERS_PARTS)
    if fit >= connections_max:
        return connections_max
    fit = max(fit, _CONNECTIONS_MIN)
    structlog.get_logger().warning(
        "fewer_connections", most=fit, asked_for=connections_max, open_files_max=soft, advice="raise the limit of open files, `ulimit -n`"
    )
    return fit


def connection_limits(settings: ServerSettings) -> ConnectionLimits:
    """Those of a server that is about to listen."""
    fit = connections_that_fit(settings.connections_max)
    return ConnectionLimits(fit, settings.request_ms, settings.idle_ms, max(settings.answer_ms, settings.request_ms))


def rest_s(took_s: float, *, hurries: bool) -> float:
    """How long to rest after a look that took so much of the loop's time."""
    return min(max(_HURRIED_LOOK_S, took_s * _HURRIED_REST) if hurries else max(_LOOK_S, took_s * _REST), _REST_MAX_S)


class ConnectionWatch:
    """Watches what is connected to the port of a socket, which is about to be served under the same descriptor."""

    def __init__(self, listener: socket.socket, limits: ConnectionLimits, arrivals: Arrivals, clock: Clock) -> None:
        self._port = listener.getsockname()[1]
        self._clock = clock
        self._job: asyncio.Task[None] | None = None
        self._sockets = Sockets()
        self._table = Table(limits, arrivals)
        self._limits = limits
        # There are too many, and requests wait on them all.
        self.is_crowded = False
        self.on_crowded: Callable[[bool], None] = lambda _: None
        self.closed = Counter({reason.value: 0 for reason in Closed})
        self._said_s: dict[str, float] = {}
        # Granian's descriptor of the socket that listens, and our own.
        self._listening = listener.fileno()
        self._listener: socket.socket | None = listener.dup()
        # Stands in its place while no connection may be accepted: one that nobody connects to.
        self._nobody = socket.socket(socket.AF_UNIX)
        self._nobody.bind("")
        self._nobody.listen()
        self._nobody.setblocking(False)  # noqa: FBT003 - the method's own
        self._is_paused = False
        # Given up for the moment where a look finds no other.
        self._reserve = self._nobody.dup()

    @property
    def count(self) -> int:
        """How many connections there were at the last look."""
        return len(self._table)

    def start(self) -> None:
        """Looks from now on."""
        self._job = asyncio.create_task(self._run(), name="connections")

    async def stop(self) -> None:
        """Looks no more; connections are accepted."""
        if self._job:
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)
        self._resume()

    async def _run(self) -> None:
        while True:
            try:
                took_s = await self._look()
            except OSError as failure:
                # No descriptor is left to look with.
                took_s = 0.0
                self._pause(failure.strerror or str(failure))
            hurries = self._is_paused or len(self._table) >= self._limits.crowded_from
            await asyncio.sleep(rest_s(took_s, hurries=hurries))

    async def _look(self) -> float:
        """Looks at each connection once, and returns how much of the loop's time that took. OSError: it can't."""
        looked_s, took_s = self._clock.monotonic_s(), 0.0
        found = self._descriptors()
        free = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(found)
        if free < _FREE_MIN:
            self._pause("hardly a descriptor is left")
        connected = set[int]()
        for first in range(0, len(found), _AT_ONCE):
            now_s = self._clock.monotonic_s()
            connected.update(number for number in found[first : first + _AT_ONCE] if self._look_at(number, now_s))
            # Others' turns do not count.
            took_s += self._clock.monotonic_s() - now_s
            await asyncio.sleep(0)
        self._table.keep(connected, looked_s)
        self._make_room()
        if free >= _FREE_MIN:
            self._resume()
        return took_s

    def _descriptors(self) -> list[int]:
        if self._reserve.fileno() < 0:
            self._reserve = self._nobody.dup()
        try:
            return descriptors()
        except OSError as failure:
            self._pause(failure.strerror or str(failure))
            self._reserve.close()
            return descriptors()

    def _look_at(self, number: int, now_s: float) -> bool:
        """Whether it is a connection of ours."""
        known, reading = self._table.get(number), self._sockets.read(number)
        if reading is None:
            return False
        if known and known.last.cookie == reading.cookie:
            known.look(reading, now_s)
            if reason := self._table.overdue(known):
                self._end(known, reason)
            return True
        client = peer_of(number, self._port)
        if client:
            self._table.add(Connection(number, client, reading, now_s))
        return bool(client)

    def _end(self, one: Connection, reason: Closed) -> None:
        if self._sockets.end(one.descriptor, one.last.cookie):
            self.closed[reason.value] += 1

    def _make_room(self) -> None:
        """Closes those that hold nothing, where others may need their place."""
        limits, count = self._limits, len(self._table)
        excess = count - limits.crowded_from + 1
        if self._is_paused:
            excess = max(excess, _FREE_MIN)
        spare = self._table.spare() if excess > 0 else []
        for one in spare[:excess]:
            self._end(one, Closed.CROWDED)
        is_crowded = len(spare) < min(excess, count)
        if is_crowded != self.is_crowded:
            self.is_crowded = is_crowded
            self.on_crowded(is_crowded)
        if count >= limits.crowded_from:
            self._say("connections_at_limit", open=count, most=limits.connections_max, closed_so_far=self.closed[Closed.CROWDED.value])

    def _pause(self, reason: str) -> None:
        """Has Granian accept nothing: where no descriptor is left it would try without end."""
        self._say("no_descriptors", reason=reason, open=len(self._table), advice="raise the limit of open files, `ulimit -n`")
        if self._listener and not self._is_paused:
            self._is_paused = True
            os.dup2(self._nobody.fileno(), self._listening, inheritable=False)

    def _resume(self) -> None:
        if self._listener and self._is_paused:
            self._is_paused = False
            os.dup2(self._listener.fileno(), self._listening, inheritable=False)
            # Granian is woken by the next connection only, and others may have come before.
            with contextlib.suppress(OSError), socket.socket(self._listener.family) as one:
                one.setblocking(False)  # noqa: FBT003
                one.connect(self._listener.getsockname())

    def _say(self, event: str, **facts: object) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s.get(event, -_SAID_EVERY_S) >= _SAID_EVERY_S:
            self._said_s[event] = now_s
            structlog.get_logger().warning(event, **facts)

    def another_listener(self) -> socket.socket:
        """The socket that listens, for another server of Granian's; see :meth:`accept_by`."""
        assert self._listener
        self._resume()
        # Not the socket's own dup(): that would have it block in all that share it, and the server that is there wait in accept().
        return socket.socket(fileno=os.dup(self._listener.fileno()))

    def accept_by(self, descriptor: int) -> None:
        """Has the server accept that has this descriptor of the socket, and the one before it accept nothing any more."""
        os.dup2(self._nobody.fileno(), self._listening, inheritable=False)
        self._listening = descriptor

    async def refuse_new(self, stop: Callable[[], None]) -> None:
        """Accepts those connections that have begun to be made, has Granian stop, and refuses all others; looks no more."""
        await self.stop()
        if self._listener:
            hold_new_connections_up(self._listener)
            await asyncio.sleep(_HANDSHAKES_S)
        stop()
        for _ in range(_STOP_POLLS):
            if not self._listener or self._sockets.cookie(self._listening) != self._sockets.cookie(self._listener.fileno()):
                break
            await asyncio.sleep(_STOP_POLL_S)
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._listener:
            stop_listening(self._listener)
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Lets go of everything; what is left of the socket that listens refuses connections."""
        self._stop_listening()
        self._reserve.close()
        self._nobody.close()
