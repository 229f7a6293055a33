"""Commands on their way to the log: they gather, go as one write a partition, and are answered when the log has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ticketmaster.broker.port import Headers, Pair, Producer, TopicPartition
from ticketmaster.errors import Refused, TicketmasterError
from ticketmaster.streams.jobs import cancel, finish, in_turns
from ticketmaster.streams.pace import Pace
from ticketmaster.telemetry.observer import Observer
from ticketmaster.telemetry.tracing import NO_HEADERS, Kind
from ticketmaster.ticket import problems
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.responding import TEXT, Responder, refuse

# Partitions leave together, while they are acknowledged together: no longer than this is one waited for by the others.
_TOGETHER_S: Final = 0.05
# A partition that takes longer is sick.
_SICK_S: Final = 1.0


def _ignored(_what: object) -> None:
    """Nobody minds."""


class _Gathered:
    """Commands of one partition, and who gets their ids once they are durable."""

    __slots__ = ("acknowledge", "headers", "records")

    def __init__(self) -> None:
        self.records: list[Pair] = []
        self.headers: dict[int, Headers] = {}
        self.acknowledge: list[tuple[Responder, bytes]] = []


class _Round:
    """Writes that left together."""

    __slots__ = ("left", "over")

    def __init__(self, writes: int) -> None:
        self.left = writes
        # All are answered, or have been waited for long enough.
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answered(self) -> None:
        """One of them."""
        self.left -= 1
        if not self.left:
            self.end()

    def end(self) -> None:
        """Nobody waits for it any more."""
        if not self.over.done():
            self.over.set_result(None)


class Commands:
    """What has come since the last hand-over. Each partition has one write under way at most, and is answered for itself."""

    def __init__(
        self,
        producer: Producer,
        observer: Observer,
        on_sick: Callable[[TopicPartition], None] = _ignored,
        on_refused: Callable[[bytes], None] = _ignored,
    ) -> None:
        """``on_sick(source)`` is told of a partition that does not take commands, or takes very long.

        ``on_refused(key)`` is told of each command that is not acknowledged, for whatever reason.
        """
        self._producer = producer
        self._observer = observer
        self._on_sick = on_sick
        self._on_refused = on_refused
        self._gathered: dict[TopicPartition, _Gathered] = {}
        self._writes: dict[TopicPartition, asyncio.Task[None]] = {}
        self._failure: Exception | None = None
        self.in_flight = 0
        """How many the log has not acknowledged."""
        self.rests = True
        """Whether commands may gather; not when no more will come."""
        self._wake = asyncio.Event()

    def add(self, source: TopicPartition, key: bytes, command: bytes, responder: Responder, headers: Headers = NO_HEADERS) -> None:
        """Takes a command; ``headers`` are those of a traced one."""
        gathered = self._gathered.get(source)
        if gathered is None:
            gathered = self._gathered[source] = _Gathered()
            # Others that come for it find it set, or wait for the write under way.
            self._wake.set()
        if headers:
            gathered.headers[len(gathered.records)] = headers
        gathered.records.append((key, command))
        gathered.acknowledge.append((responder, key))
        self.in_flight += 1

    async def hand_over(self, pace: Pace) -> None:
        """Sends what has come since the last time: the busier the log and the more there is, the more goes at once.

        What comes for a partition whose write is under way gathers until that is answered. Fatal: the log is gone.
        """
        loop = asyncio.get_running_loop()
        try:
            await self._wake.wait()
            if self.rests and (rest_s := pace.rest_s(loop.time())):
                await asyncio.sleep(rest_s)
            self._wake.clear()
            taken = {source: gathered for source, gathered in self._gathered.items() if source not in self._writes}
            if taken:
                together, count = _Round(len(taken)), 0
                for source, gathered in taken.items():
                    del self._gathered[source]
                    self._writes[source] = loop.create_task(self._write(source, gathered, together))
                    count += len(gathered.records)
                pace.note(count, loop.time())
                timer = loop.call_later(_TOGETHER_S, together.end)
                await together.over
                timer.cancel()
                if together.left:
                    self._look_after([source for source in taken if source in self._writes])
        except asyncio.CancelledError:
            await cancel(*self._writes.values())
            raise
        if self._failure:
            raise self._failure

    async def _write(self, source: TopicPartition, gathered: _Gathered, together: _Round) -> None:
        """Writes, and answers whoever waits for it."""
        acknowledge = gathered.acknowledge
        try:
            failure = (await self._send(source, gathered)).get(source)
        except Exception as reason:  # noqa: BLE001 - raised where the work is waited for
            self._failure = reason
            self._wake.set()
            await self._refuse_all(acknowledge, problems.LOG_UNAVAILABLE)
        except asyncio.CancelledError:
            await self._refuse_all(acknowledge, problems.LOG_UNAVAILABLE)
            raise
        else:
            # The log has said what became of them: whatever happens to this process, their clients are told.
            if failure is None:
                await finish(in_turns(acknowledge, _acknowledge))
            else:
                await finish(self._failed(source, acknowledge, failure))
        finally:
            self.in_flight -= len(acknowledge)
            del self._writes[source]
            together.answered()
            if source in self._gathered:
                self._wake.set()

    async def _failed(self, source: TopicPartition, acknowledge: list[tuple[Responder, bytes]], failure: TicketmasterError) -> None:
        # Clients are only told that it is so.
        self._observer.commands_not_acknowledged(str(failure))
        if not isinstance(failure, Refused):
            self._on_sick(source)
            await self._refuse_all(acknowledge, problems.LOG_UNAVAILABLE)
            return
        never = set(failure.keys)
        await self._refuse_all([one for one in acknowledge if one[1] in never], problems.COMMAND_TOO_LARGE)
        await in_turns([one for one in acknowledge if one[1] not in never], _acknowledge)

    async def _send(self, source: TopicPartition, gathered: _Gathered) -> dict[TopicPartition, TicketmasterError]:
        records, headers = {source: gathered.records}, gathered.headers
        if not headers:
            return dict(await self._producer.send(records))
        # A child of the first traced request, linked to all others.
        first, *others = headers.values()
        attributes: dict[str, str | int] = {"messaging.system": "kafka", "messaging.batch.message_count": len(gathered.records)}
        with self._observer.tracer.start(f"send {source.topic.rpartition('.')[2]}", Kind.PRODUCER, first, attributes, others):
            return dict(await self._producer.send(records, {source: headers}))

    def _look_after(self, late: list[TopicPartition]) -> None:
        """Tells of the partitions that are still being written after a while."""

        def look(source: TopicPartition, write: asyncio.Task[None]) -> None:
            if self._writes.get(source) is write:
                self._on_sick(source)
                loop.call_later(_SICK_S, look, source, write)

        loop = asyncio.get_running_loop()
        for source in late:
            loop.call_later(_SICK_S - _TOGETHER_S, look, source, self._writes[source])

    async def give_up(self, problem: Problem) -> None:
        """Those that were not handed over to the log never will be, and their clients are told.

        Those that were are waited for no longer: of them nobody knows.
        """
        gathered, self._gathered = self._gathered, {}
        # A write that has not begun would answer nobody.
        await asyncio.sleep(0)
        await cancel(*self._writes.values())
        for one in gathered.values():
            self.in_flight -= len(one.acknowledge)
            await self._refuse_all(one.acknowledge, problem)

    async def _refuse_all(self, acknowledge: list[tuple[Responder, bytes]], problem: Problem) -> None:
        def refuse_one(taken: tuple[Responder, bytes]) -> None:
            responder, key = taken
            self._on_refused(key)
            refuse(responder, problem)

        await finish(in_turns(acknowledge, refuse_one))


def _acknowledge(taken: tuple[Responder, bytes]) -> None:
    responder, key = taken
    responder.response_bytes(200, TEXT, key)
