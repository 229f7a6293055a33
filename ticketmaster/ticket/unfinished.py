"""Bodies of requests: read to their end, or refused before it when the process ends."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ticketmaster.streams.jobs import in_turns
from ticketmaster.ticket import granian_private, problems
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.responding import Responder, refuse


class Reading(Protocol):
    """A body, or a piece of one, that is waited for."""

    def cancel(self) -> object:
        """Lets go of it."""


class BodyTaker(Protocol):
    """Answers a request by its body."""

    body_bytes_max: int

    def post(self, scope: Any, target: Any, body: bytes, responder: Responder) -> None:
        """Answers it."""


class Unfinished:
    """Requests whose bodies have not come to their end, by who takes their answers."""

    def __init__(self) -> None:
        self._readings: dict[Responder, Reading] = {}
        self._problem: Problem | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, responder: Responder, reading: Reading) -> None:
        """Waits for a body, or for its next piece. Called in any thread."""
        self._readings[responder] = reading
        # Looked at behind it: who refuses says so first, and looks for requests then.
        if self._loop:
            self._loop.call_soon_threadsafe(self._refuse, responder)

    def take(self, responder: Responder) -> bool:
        """A body has come, or broken off: whether its request is still to be answered."""
        return self._readings.pop(responder, None) is not None

    async def refuse_all(self, problem: Problem) -> None:
        """Refuses all that wait for the rest of their body, and those that come, until the end of the process."""
        self._problem = problem
        self._loop = asyncio.get_running_loop()
        await in_turns(list(self._readings), self._refuse)

    def _refuse(self, responder: Responder) -> None:
        reading = self._readings.pop(responder, None)
        if reading is not None:
            assert self._problem
            # Before the answer: a body that goes after it may keep its connection open for ever.
            reading.cancel()
            refuse(responder, self._problem)


def take_body(taker: BodyTaker, unfinished: Unfinished, scope: Any, target: Any, body: Any, responder: Responder) -> None:
    """Answers a request by its whole body, of which Granian has told that it is there."""
    if not unfinished.take(responder):
        return
    try:
        read = body.result()
    except Exception:  # noqa: BLE001 - the client is gone, but its connection stays until there is an answer
        refuse(responder, problems.BODY_BROKE_OFF)
        return
    taker.post(scope, target, read, responder)


class Pieces:
    """A body of unknown length, read one piece after the other, so that the limit holds.

    Nothing in it refers back to it: what is left of a refused body must go at once, for until then its connection stays open.
    """

    __slots__ = ("_body", "_iterator", "_responder", "_scope", "_taker", "_target", "_unfinished")

    def __init__(self, taker: BodyTaker, unfinished: Unfinished, scope: Any, target: Any, protocol: Any, responder: Responder) -> None:
        self._taker = taker
        self._unfinished = unfinished
        self._scope = scope
        self._target = target
        self._responder = responder
        self._body = bytearray()
        self._iterator = granian_private.pieces_of(protocol)

    def read_on(self) -> None:
        """Asks for the next piece."""
        try:
            piece = self._iterator.__anext__()
        except StopAsyncIteration:
            self._finish()
        else:
            self._unfinished.add(self._responder, piece)
            piece.add_done_callback(self._on_piece)

    def _on_piece(self, piece: Any) -> None:
        if not self._unfinished.take(self._responder):
            return
        try:
            self._body.extend(piece.result())
        except StopAsyncIteration:
            self._finish()
        except Exception:  # noqa: BLE001 - as in take_body
            refuse(self._responder, problems.BODY_BROKE_OFF)
        else:
            bytes_max = self._taker.body_bytes_max
            if len(self._body) > bytes_max:
                refuse(self._responder, problems.body_too_large(bytes_max))
            else:
                self.read_on()

    def _finish(self) -> None:
        self._taker.post(self._scope, self._target, bytes(self._body), self._responder)
