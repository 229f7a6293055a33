"""Connections between simulated processes and brokers: bytes are late, lost or held up, answers too, and connections break."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from random import Random
from typing import Final, Protocol

from ticketmaster.simulation.journal import Journal
from ticketmaster.simulation.kafka.wire import Asked, decoded
from ticketmaster.simulation.loop import Process, VirtualLoop
from ticketmaster.simulation.network import Weather

_DELAYS_S: Final = (0.0, 0.0, 0.0, 0.002, 0.005)
# A broker works at a request for so long; at one that writes, for that long.
_READING_S: Final = (0.0, 0.0, 0.001, 0.005)
_WRITING_S: Final = (0.0, 0.001, 0.005, 0.03)
_WRITES: Final = frozenset(
    {"Produce", "InitProducerId", "AddPartitionsToTxn", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn", "JoinGroup", "SyncGroup"}
)
# There are several times as many requests as there are of the port's, and most of them only ask.
_ASKS_WEIGHT, _WRITES_WEIGHT = 0.15, 0.6
# Held up for less than a request's time-out, for about as long, and for much longer.
_HELD_S: Final = (0.3, 1.0, 2.0, 4.9, 5.1, 5.3, 8.0, 15.0)
_TROUBLES: Final = ("request late", "request late", "request lost", "reply lost", "reply late", "connection cut", "connection cut")
_LOOK_AGAIN_S: Final = 0.25

# Called when an answer has come to the client.
Delivered = Callable[[], None]


class Answer(Protocol):
    """Sends an answer."""

    def __call__(self, data: bytes, on_delivered: Delivered | None = None) -> None:
        """``on_delivered`` is called if it arrives."""


class Broker(Protocol):
    """Who is at the other end."""

    is_up: bool

    def handle(self, asked: Asked, answer: Answer) -> None:
        """Sees to a request; ``answer`` is called once, now or later."""


class Wires:
    """One process's way to all brokers."""

    def __init__(self, name: str, weather: Weather, random: Random, journal: Journal) -> None:
        self.name = name
        self.cut = False
        self.rough = 0.0
        self.random = random
        self.journal = journal
        # In nobody's process: what is under way arrives whatever becomes of who sent it.
        self.outside = Context()
        self._weather = weather
        self.open: dict[Wire, None] = {}
        # When something last did not get through as it should, or will: of what is held up, when that comes to an end.
        self.troubled_at_s = -math.inf

    def trouble(self, name: str) -> str:
        """What befalls a request; "" is nothing."""
        weight = _WRITES_WEIGHT if name in _WRITES else _ASKS_WEIGHT
        if self.random.random() >= max(self._weather.lost, self.rough) * weight:
            return ""
        kind = self.random.choice(_TROUBLES)
        self.note_trouble()
        self.journal.fault(self.name, kind, name)
        return kind

    def note_trouble(self, until_s: float = -math.inf) -> None:
        """Something does not get through now, and until then."""
        self.troubled_at_s = max(self.troubled_at_s, until_s, asyncio.get_running_loop().time())

    def break_all(self, broker: Broker | None = None) -> None:
        """Every connection breaks, or those to one broker."""
        for wire in tuple(self.open):
            if broker is None or wire.broker is broker:
                wire.break_off()

    async def close(self) -> None:
        """Nothing arrives any more, and every client knows."""
        self.break_all()
        await asyncio.sleep(0)


class Wire(asyncio.Transport):
    """A connection: the client's transport, and the broker's end of it, which sees to one request after the other."""

    def __init__(self, wires: Wires, broker: Broker, process: Process | None, protocol: asyncio.Protocol, loop: VirtualLoop) -> None:
        super().__init__()
        self.broker = broker
        self._wires = wires
        self._process = process
        self._protocol = protocol
        self._loop = loop
        self._closing = False
        self._lost = False
        # Nothing gets through any more in this direction, and nobody is told.
        self._up_dead = self._down_dead = False
        self._up_free_s = self._down_free_s = 0.0
        # What is under way, in order; and what has arrived.
        self._up: deque[Asked] = deque()
        self._down: deque[tuple[bytes, Delivered | None]] = deque()
        self._requests: deque[Asked] = deque()
        # Whether a request is worked on, and whether it is being looked for the next one.
        self._busy = self._working = False
        wires.open[self] = None

    # As the client sees it.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        asked, random, now = decoded(bytes(data)), self._wires.random, self._loop.time()
        trouble = self._wires.trouble(asked.name)
        self._up_free_s = max(self._up_free_s, now + random.choice(_DELAYS_S))
        if trouble == "request late":
            self._up_free_s = max(self._up_free_s, now + random.choice(_HELD_S) + random.random() * 0.05)
            self._wires.note_trouble(self._up_free_s)
        elif trouble == "request lost":
            self._up_dead = True
        elif trouble == "reply lost":
            self._down_dead = True
        elif trouble == "reply late":
            self._down_free_s = now + random.choice(_HELD_S)
            self._wires.note_trouble(self._down_free_s)
        elif trouble == "connection cut":
            self._later(random.choice((0.0, 0.01, 0.05)), self.break_off)
        if not self._up_dead:
            self._up.append(asked)
            self._later(self._up_free_s - now, self._arrive)

    def close(self) -> None:
        # aiokafka closes a client that is collected, which may be behind the end of the run.
        if not self._closing and self._loop.is_running():
            self._closing = True
            self._end(None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    # In between.

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, action, context=self._wires.outside)

    def _end(self, error: Exception | None) -> None:
        self._wires.open.pop(self, None)
        if not self._lost:
            self._lost = True
            self._to_client(lambda: self._protocol.connection_lost(error))

    def _to_client(self, action: Callable[[], None]) -> None:
        if self._process:
            self._process.call(action)
        else:
            self._loop.call_soon(action)

    def break_off(self) -> None:
        """The client is told that the connection is no more; what has not arrived may be lost."""
        self._wires.note_trouble()
        self._down_dead = True
        self._up_dead = self._up_dead or self._wires.random.random() < 0.5
        self._closing = True
        self._end(ConnectionResetError("the connection broke"))

    # As the broker sees it.

    def _arrive(self) -> None:
        if self._wires.cut and not self._up_dead:
            # It is sent again and again, until somebody gives up.
            self._wires.note_trouble()
            self._up_dead = self._closing and self._wires.random.random() < 0.5
            self._up_free_s = self._loop.time() + _LOOK_AGAIN_S
            self._later(_LOOK_AGAIN_S, self._arrive)
            return
        asked = self._up.popleft()
        if self._up_dead or not self.broker.is_up:
            return
        self._requests.append(asked)
        self._work()

    def _work(self) -> None:
        # A loop, for there may be hundreds, each of which is answered at once.
        if self._working:
            return
        self._working = True
        while self._requests and not self._busy:
            self._busy = True
            asked = self._requests.popleft()
            delay_s = self._wires.random.choice(_WRITING_S if asked.name in _WRITES else _READING_S)
            if delay_s:
                self._later(delay_s, partial(self._handle, asked))
            else:
                self._handle(asked)
        self._working = False

    def _handle(self, asked: Asked) -> None:
        if self.broker.is_up:
            self.broker.handle(asked, self._answer)

    def _answer(self, data: bytes, on_delivered: Delivered | None = None) -> None:
        now = self._loop.time()
        self._down_free_s = max(self._down_free_s, now + self._wires.random.choice(_DELAYS_S))
        self._down.append((data, on_delivered))
        self._later(self._down_free_s - now, self._deliver)
        self._busy = False
        self._work()

    def _deliver(self) -> None:
        if self._wires.cut and not self._down_dead:
            self._wires.note_trouble()
            self._down_free_s = self._loop.time() + _LOOK_AGAIN_S
            self._later(_LOOK_AGAIN_S, self._deliver)
            return
        data, on_delivered = self._down.popleft()
        if not self._down_dead and not self._closing:
            self._to_client(lambda: self._protocol.data_received(data) if not self._closing else None)
            if on_delivered:
                on_delivered()
