"""Commands on their way to the log: they gather, go as one write, and are answered when the log has them."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from ticketmaster.broker.port import Headers, Pair, Producer, TopicPartition
from ticketmaster.errors import Fatal, Retriable
from ticketmaster.streams.jobs import finish, in_turns
from ticketmaster.streams.pace import Pace
from ticketmaster.telemetry.observer import Observer
from ticketmaster.telemetry.tracing import NO_HEADERS, Kind
from ticketmaster.ticket import problems
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.responding import TEXT, Responder, refuse


class Commands:
    """What has come since the last hand-over, and who gets its ids once it is durable."""

    def __init__(self, producer: Producer, observer: Observer) -> None:
        self._producer = producer
        self._observer = observer
        self._records: dict[TopicPartition, list[Pair]] = defaultdict(list)
        self._headers: dict[TopicPartition, dict[int, Headers]] = {}
        self._acknowledge: list[tuple[Responder, bytes]] = []
        self._handed_over = 0
        self.rests = True
        """Whether commands may gather; not when no more will come."""
        self._wake = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many the log has not acknowledged."""
        return len(self._acknowledge) + self._handed_over

    def add(self, source: TopicPartition, key: bytes, command: bytes, responder: Responder, headers: Headers = NO_HEADERS) -> None:
        """Takes a command; ``headers`` are those of a traced one."""
        records = self._records[source]
        if headers:
            self._headers.setdefault(source, {})[len(records)] = headers
        records.append((key, command))
        self._acknowledge.append((responder, key))
        self._wake.set()

    async def hand_over(self, pace: Pace) -> None:
        """Sends what has come since the last time: the busier the log and the more there is, the more goes at once."""
        loop = asyncio.get_running_loop()
        await self._wake.wait()
        if self.rests and (rest_s := pace.rest_s(loop.time())):
            await asyncio.sleep(rest_s)
        self._wake.clear()
        records, headers, acknowledge = self._records, self._headers, self._acknowledge
        self._records, self._headers, self._acknowledge = defaultdict(list), {}, []
        self._handed_over = len(acknowledge)
        pace.note(len(acknowledge), loop.time())
        try:
            await self._send(records, headers)
        except Retriable as reason:
            # Their clients are only told that it is so.
            self._observer.commands_not_acknowledged(str(reason))
            await _refuse_all(acknowledge, problems.LOG_UNAVAILABLE)
        except Fatal:
            await _refuse_all(acknowledge, problems.LOG_UNAVAILABLE)
            raise
        else:
            # The log has them: whatever happens to this process, their clients are told.
            await finish(in_turns(acknowledge, _acknowledge))
        finally:
            self._handed_over = 0

    async def _send(self, records: dict[TopicPartition, list[Pair]], headers: dict[TopicPartition, dict[int, Headers]]) -> None:
        if not headers:
            await self._producer.send(records)
            return
        # A child of the first traced request, linked to all others.
        first, *others = (found for of_partition in headers.values() for found in of_partition.values())
        attributes: dict[str, str | int] = {"messaging.system": "kafka", "messaging.batch.message_count": sum(map(len, records.values()))}
        with self._observer.tracer.start("send create_reservation", Kind.PRODUCER, first, attributes, others):
            await self._producer.send(records, headers)

    async def give_up(self, problem: Problem) -> None:
        """Those that were not handed over to the log never will be, and their clients are told."""
        acknowledge, self._acknowledge = self._acknowledge, []
        self._records, self._headers = defaultdict(list), {}
        await _refuse_all(acknowledge, problem)


def _acknowledge(taken: tuple[Responder, bytes]) -> None:
    responder, key = taken
    responder.response_bytes(200, TEXT, key)


async def _refuse_all(acknowledge: list[tuple[Responder, bytes]], problem: Problem) -> None:
    await finish(in_turns(acknowledge, lambda taken: refuse(taken[0], problem)))
