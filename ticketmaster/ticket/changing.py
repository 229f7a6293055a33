"""Payments, extensions and cancellations: from the request to the record that answers it.

The process that holds the reservation's partition appends the command, and sees the answer: a record of the reservation with the id of
the change. Every other process passes the request on to it, with the same id, and again when that fails: a change that the log has twice
is made once. Whatever becomes of the owner, the client waits here, and is answered here in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Assignment, Pair, partitions_of
from ticketmaster.clock import Clock
from ticketmaster.domain.life import Change, Kind, changed
from ticketmaster.domain.reservation import State
from ticketmaster.streams.jobs import in_turns
from ticketmaster.streams.table import OwnedTable
from ticketmaster.ticket import problems
from ticketmaster.ticket.bodies import reservation_json
from ticketmaster.ticket.commands import Commands
from ticketmaster.ticket.forwarding import AskOwner, Forwarding, Post
from ticketmaster.ticket.problems import PROBLEM, Headers, Problem
from ticketmaster.ticket.responding import JSON, Responder, refuse
from ticketmaster.ticket.tracing import headers_of
from ticketmaster.ticket.waiting import Waiting
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.changes import encode_change, read_change
from ticketmaster.wire.frames import FRAMES
from ticketmaster.wire.lives import Standing, standing

CHANGE_END = "/change"
"""What the path ends in by which one process asks another to make a change."""

_ID_CHARACTERS = 32
# Nothing can become of these any more: what is asked of them is answered without a command.
_FINAL = (State.FAILED, State.CANCELLED)
# What an owner tells the client of another process; anything else it is asked again after.
_TOLD = (200, 409, 413)
_NOT_ANSWERED: bytes = problems.CHANGE_NOT_ANSWERED.response[2]
# The owner gives up so much before the process that asked it, whose client then hears what the owner knows.
_EARLIER_S = 1.0
_EARLIER_PART = 4


def new_change_id(clock: Clock) -> bytes:
    """By which the answer is told from others'."""
    return b"%0*x" % (_ID_CHARACTERS, clock.random_bits(_ID_CHARACTERS * 4))


def is_change_id(key: bytes) -> bool:
    """Whether this is no reservation's."""
    return len(key) == _ID_CHARACTERS


def _now_s() -> float:
    return asyncio.get_running_loop().time()


class Pending:
    """A change that waits for its answer."""

    __slots__ = ("change", "is_passed_on", "is_sent", "key", "partition", "responder")

    def __init__(self, key: bytes, partition: int, change: Change, responder: Responder) -> None:
        self.key = key
        self.partition = partition
        self.change = change
        self.responder = responder
        # To the log, by this process.
        self.is_sent = False
        # To another process.
        self.is_passed_on = False


class Changes:
    """The changes that a process was asked for, by clients and by other processes."""

    def __init__(
        self,
        table: OwnedTable,
        commands: Commands,
        ask: AskOwner,
        partitions: int,
        long_poll_ms: int,
        refusal: Callable[[], Problem | None],
    ) -> None:
        """``refusal()`` is why one more is not taken on, if it is not."""
        self._table = table
        self._commands = commands
        self._ask = ask
        self._partitions = partitions
        self._refusal = refusal
        self._wait_s = long_poll_ms / 1000
        # Those of clients, and those of other processes, by the id of the change.
        self._waiting: Waiting[Pending] = Waiting()
        self._waiting_peers: Waiting[Pending] = Waiting()
        self._by_key: dict[bytes, list[Pending]] = {}
        self.count = 0
        """How many wait for their answer."""
        self._passed_on: dict[bytes, Pending] = {}
        self._owners = Forwarding(self._ask_owner)
        self._sources = partitions_of(topics.CHANGE_RESERVATION.name, partitions)

    # What is asked.

    def take(self, key: bytes, change: Change, responder: Responder) -> None:
        """Makes a client's change, if there is something to change, and answers it."""
        if pending := self._admitted(key, change, responder):
            self._waiting.add(change.change_id, pending, _now_s() + self._wait_s)
            self._look(pending)

    def take_for_peer(self, key: bytes, body: bytes, responder: Responder) -> None:
        """Makes a change that another process passes on to the owner of its partition."""
        if self._owners.lives_elsewhere(partition_of(key, self._partitions)):
            refuse(responder, problems.NOT_SERVING)
            return
        try:
            change = read_change(body)
        except UNREADABLE:
            refuse(responder, problems.INVALID_CHANGE)
            return
        if pending := self._admitted(key, change, responder):
            wait_s = self._wait_s - min(_EARLIER_S, self._wait_s / _EARLIER_PART)
            self._waiting_peers.add(change.change_id, pending, _now_s() + wait_s)
            self._look(pending)

    def _admitted(self, key: bytes, change: Change, responder: Responder) -> Pending | None:
        refusal = self._refusal() if FRAMES.has_all else problems.HOLDS_UNAVAILABLE
        if refusal:
            refuse(responder, refusal)
            return None
        pending = Pending(key, partition_of(key, self._partitions), change, responder)
        self._by_key.setdefault(key, []).append(pending)
        self.count += 1
        return pending

    def _look(self, pending: Pending) -> None:
        """Passes a change on to the owner, or sees what the table has."""
        partition, key, change = pending.partition, pending.key, pending.change
        if self._owners.lives_elsewhere(partition):
            if change.change_id in self._waiting:
                pending.is_passed_on = True
                self._passed_on[change.change_id] = pending
                self._owners.look(change.change_id, partition)
            return
        reservation = self._table.get(partition, key)
        if reservation is not None:
            self._see(key, reservation, [pending])
        elif change.kind is Kind.CANCEL:
            # It may be undecided. The log has the order in which both were asked for.
            self._send(pending)

    def _see(self, key: bytes, reservation: bytes, waiting: Sequence[Pending]) -> None:
        """Answers those who waited for this record, and sends the changes of those who waited for a decision."""
        try:
            where = standing(reservation)
            outcomes = [self._outcome(pending, where) for pending in waiting]
            # Only where it is somebody's answer: most look here twice, before their command and behind it.
            answer = reservation_json(reservation, where) if "" in outcomes else b""
        except UNREADABLE as reason:
            structlog.get_logger().error("unreadable_reservation", value=reservation[:100].hex(), reason=str(reason))
            for pending in waiting:
                self._end(pending.change.change_id, problems.INTERNAL_ERROR.response)
            return
        for pending, refusal in zip(waiting, outcomes, strict=True):
            if refusal is None:
                if where.state is not State.PROCESSING or pending.change.kind is Kind.CANCEL:
                    self._send(pending)
            elif refusal:
                self._end(pending.change.change_id, problems.REFUSALS.get(refusal, problems.INTERNAL_ERROR).response)
            else:
                self._end(pending.change.change_id, (200, JSON, answer))

    @staticmethod
    def _outcome(pending: Pending, where: Standing) -> str | None:
        """Why the change did nothing; "" if it did; None: nobody knows yet."""
        change, life = pending.change, where.life
        if life.change_id != change.change_id:
            moved = changed(change, where.state, where.reason.decode(), life, 0) if where.state in _FINAL else None
            if moved is None:
                return None
            life = moved.life
        # One that is no text is none of ours: it has no answer of its own.
        return life.change_refusal.decode(errors="replace")

    def _send(self, pending: Pending) -> None:
        """Appends the command, once in this process however often it was passed on."""
        change_id, of_key = pending.change.change_id, self._by_key[pending.key]
        # Asked of itself first: each record of a reservation comes here for all that wait for it.
        if pending.is_sent or (len(of_key) > 1 and any(one.is_sent and one.change.change_id == change_id for one in of_key)):
            return
        pending.is_sent = True
        headers = headers_of(pending.key, pending.responder)
        self._commands.add(
            self._sources[pending.partition], pending.key, encode_change(pending.change), _Appended(self._end, change_id), headers
        )

    def _end(self, change_id: bytes, answer: problems.Answer) -> None:
        """Answers whoever waits for a change, if somebody does."""
        for waiting in (self._waiting, self._waiting_peers):
            for pending in waiting.take(change_id):
                self._forget(pending)
                pending.responder.response_bytes(*answer)

    def _forget(self, pending: Pending) -> None:
        of_key = self._by_key[pending.key]
        of_key.remove(pending)
        self.count -= 1
        if not of_key:
            del self._by_key[pending.key]
        self._passed_on.pop(pending.change.change_id, None)

    # What is told.

    def on_reservations(self, records: Sequence[Pair]) -> None:
        """The log has these reservations."""
        by_key = self._by_key
        if by_key:
            for key, reservation in records:
                if key in by_key and reservation is not None:
                    self._see(key, reservation, tuple(by_key[key]))

    async def look_for_all(self) -> None:
        """Partitions were opened, or have moved."""
        await in_turns(list(self._by_key), self._look_for)

    def _look_for(self, key: bytes) -> None:
        for pending in tuple(self._by_key.get(key, ())):
            self._look(pending)

    def on_assigned(self, assignment: Assignment) -> None:
        """Partitions have moved."""
        self._owners.on_assigned(assignment)

    def _ask_owner(self, address: str, change_id: bytes) -> None:
        pending = self._passed_on[change_id]
        path, headers = pending.key + CHANGE_END.encode(), headers_of(pending.key, pending.responder)
        self._ask(address, change_id, Post(path, encode_change(pending.change), headers))

    def on_peer_answer(self, change_id: bytes, status: int, body: bytes) -> None:
        """The owner has answered."""
        if status in _TOLD or body == _NOT_ANSWERED:
            self._owners.answered(change_id)
            headers: Headers = JSON if status == 200 else PROBLEM
            answer = problems.CHANGE_NOT_ANSWERED.response if body == _NOT_ANSWERED else (status, headers, body)
            self._end(change_id, answer)
        else:
            self._owners.failed(change_id)

    def on_peer_failure(self, change_id: bytes) -> None:
        """The owner has not answered."""
        self._owners.failed(change_id)

    # The end of waiting.

    async def sweep(self, now_s: float) -> None:
        """Answers those who have waited long enough, and asks owners again that have failed."""
        for waiting in (self._waiting, self._waiting_peers):
            await in_turns(waiting.take_expired(now_s), self._time_out)
        await in_turns(self._owners.take_failed(), self._ask_again)

    def _ask_again(self, change_id: bytes) -> None:
        if pending := self._passed_on.get(change_id):
            self._look(pending)

    def _time_out(self, pending: Pending) -> None:
        self._forget(pending)
        refuse(pending.responder, problems.STILL_UNDECIDED if self._is_undecided(pending) else problems.CHANGE_NOT_ANSWERED)

    def _is_undecided(self, pending: Pending) -> bool:
        """Whether this process knows that there is nothing to change."""
        partition = pending.partition
        if self._owners.lives_elsewhere(partition) or not self._table.serves(partition):
            return False
        reservation = self._table.get(partition, pending.key)
        return reservation is None or standing(reservation).state is State.PROCESSING

    async def give_up(self, problem: Problem) -> None:
        """Answers everybody; ``problem`` is of those of which nothing was sent."""
        for waiting in (self._waiting, self._waiting_peers):
            await in_turns(waiting.take_expired(float("inf")), partial(self._give_up, problem))

    def _give_up(self, problem: Problem, pending: Pending) -> None:
        self._forget(pending)
        refuse(pending.responder, problems.CHANGE_NOT_ANSWERED if pending.is_sent or pending.is_passed_on else problem)


class _Appended:
    """Who is told what became of a command in the log: the client waits on for what becomes of the change."""

    __slots__ = ("_change_id", "_end")

    def __init__(self, end: Callable[[bytes, problems.Answer], None], change_id: bytes) -> None:
        self._end = end
        self._change_id = change_id

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        if status != 200:
            self._end(self._change_id, (status, headers, body))
