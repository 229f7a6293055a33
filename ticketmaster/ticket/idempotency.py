"""Reservations that are asked for with an ``Idempotency-Key``: however often they are, there is one.

Its id is derived from event, user and key, so that a repeated POST names the same reservation, on the same partition, in whatever process
and after whatever crash; the reservation role ignores a command whose id exists. The process that holds the partition looks whether the
key was used for something else. It is asked for a moment only: without an answer the command is appended all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Assignment, Pair, partitions_of
from ticketmaster.domain.reservation import ReservationType
from ticketmaster.streams.jobs import in_turns
from ticketmaster.streams.table import OwnedTable
from ticketmaster.ticket import problems
from ticketmaster.ticket.commands import Commands
from ticketmaster.ticket.forwarding import AskOwner, Forwarding, Post
from ticketmaster.ticket.heads import HeaderLines
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.responding import TEXT, Responder, refuse
from ticketmaster.ticket.tracing import ReservationTraces, headers_of
from ticketmaster.ticket.undecided import Undecided
from ticketmaster.ticket.waiting import Waiting
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE, encode_int, encode_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.reservations import read_create, read_names, read_seats, seats_start
from ticketmaster.wire.rules import without_box_office

HEADER = "idempotency-key"
COMMAND_END = "/command"
"""What the path ends in by which one process asks another to take a command."""

_NUMBER = b"command "
_is_key: Callable[[str], object] = re.compile(r"[!-~]{1,255}").fullmatch
# The owner is waited for no longer. Then the id is the answer, without a look at what the key was used for before.
_OWNER_S = 2.0
# Of so many commands on their way it is known what they ask for; about 300 bytes each.
_FIRST_MAX = 50_000


def is_number(key: bytes) -> bool:
    """Whether this is what a process is asked by for a command, and no reservation's id."""
    return key.startswith(_NUMBER)


def key_of(headers: HeaderLines) -> str:
    """The ``Idempotency-Key`` of a request that has one. Problem: it has more, or one that is none."""
    values = headers.get_all(HEADER)
    # A value that is no ASCII is not among them.
    if len(values) != 1 or not _is_key(values[0]):
        raise problems.invalid_idempotency_key()
    return values[0]


class Keyed(NamedTuple):
    """A command with its key; ``home``: the partition that its id must be of, if it is one."""

    event_id: str
    key: str
    command: bytes
    home: int | None = None


def derived_id(event_id: bytes, user_id: bytes, key: str, number: int = 0) -> bytes:
    """The reservation id of a key: UUID version 8 (RFC 9562, section 5.8), 74 bits of SHA-256 behind 48 bits that are 0.

    So these ids sort below all that are minted by time: a minted id is still above the highest one that is stored. Among themselves they
    have no order. Whoever knows event, user and key knows the id: keys should not be guessable.

    To derive one takes 1.8 µs, to mint one 1.2. What has no order costs more where it is kept. In a state of 300,000 rows a look-up takes
    10 µs in place of 0.1, a write 12 µs in place of 2.5, and a row half as many bytes again or twice as many; compaction reads every batch
    that holds such an id. So a keyed reservation costs some 30 µs of CPU more, most of it in the reservation role.

    ``number`` tells several ids of one key, of which the first one of a partition is wanted.
    """
    told = encode_string(event_id) + encode_string(user_id) + encode_string(key)
    digest = hashlib.sha256(told + encode_int(number) if number else told).digest()
    bits = int.from_bytes(digest[:10], "big") >> 6
    return b"00000000-0000-8%03x-%04x-%012x" % (bits >> 62, 0x8000 | bits >> 48 & 0x3FFF, bits & 0xFFFF_FFFF_FFFF)


class Wish(NamedTuple):
    """What is asked for, however it is written: users and places, and seats if they are picked."""

    head: bytes
    seats: list[tuple[int, int]]


def wish_of(create: bytes) -> Wish:
    """Of a ``CreateReservation``. UNREADABLE: it is none."""
    create, _ = without_box_office(create)
    command = read_create(create)
    return _wish(create[FRAME_BYTES : command.seats_at], command.kind, create, command.seats_at)


def wish_behind(reservation: bytes) -> Wish:
    """That of the command that made a ``Reservation``."""
    seats_at = seats_start(reservation)
    head_at = skip_string(reservation, FRAME_BYTES)
    return _wish(reservation[head_at:seats_at], reservation[seats_at - 1] >> 1, reservation, seats_at)


def _wish(head: bytes, kind: int, record: bytes, seats_at: int) -> Wish:
    # RANDOM seats are what was given, not what was asked for.
    return Wish(head, [] if kind == ReservationType.RANDOM else sorted(read_seats(record, seats_at)[0]))


class SaleRefusal(Protocol):
    """Tells why an event sells nothing; None: it sells."""

    def __call__(self, event_id: str, *, box_office: bool) -> Problem | None:
        """To a box office, or to everybody."""


class _Passed(NamedTuple):
    """A command whose owner is asked first."""

    number: bytes
    key: bytes
    partition: int
    command: bytes
    responder: Responder
    # Why the event sells nothing, unless the key was used before.
    refusal: Problem | None


class KeyedPosts:
    """Commands with keys."""

    def __init__(
        self, table: OwnedTable, commands: Commands, ask: AskOwner, partitions: int, undecided: Undecided, traces: ReservationTraces
    ) -> None:
        self._table = table
        self._commands = commands
        self._ask = ask
        self._partitions = partitions
        self._undecided = undecided
        self._traces = traces
        # What was asked for first by commands whose decision has not come, the oldest first.
        self._first: OrderedDict[bytes, Wish] = OrderedDict()
        self._waiting: Waiting[_Passed] = Waiting()
        self.passed: dict[bytes, _Passed] = {}
        """Those that wait for another process."""
        self._numbers = 0
        self._owners = Forwarding(self._ask_owner)
        self._sources = partitions_of(topics.CREATE_RESERVATION.name, partitions)

    def post(self, keyed: Keyed, responder: Responder, refusal: Problem | None) -> None:
        """Takes a client's command, or answers with the reservation that it has made already, else with the refusal."""
        reservation_id, partition = self._derived(keyed)
        command = keyed.command
        if not self._owners.lives_elsewhere(partition):
            self._take(reservation_id, partition, command, responder, refusal)
            return
        self._numbers += 1
        passed = _Passed(b"%b%d" % (_NUMBER, self._numbers), reservation_id, partition, command, responder, refusal)
        self.passed[passed.number] = passed
        self._waiting.add(passed.number, passed, asyncio.get_running_loop().time() + _OWNER_S)
        self._owners.look(passed.number, partition)

    def _derived(self, keyed: Keyed) -> tuple[bytes, int]:
        """(the id, its partition)."""
        who, number = read_create(without_box_office(keyed.command)[0]).who, 0
        while True:
            reservation_id = derived_id(keyed.event_id.encode(), who, keyed.key, number)
            partition = partition_of(reservation_id, self._partitions)
            if keyed.home in (None, partition):
                return reservation_id, partition
            number += 1

    def post_for_peer(self, key: bytes, command: bytes, responder: Responder, refusal_of: SaleRefusal) -> None:
        """Takes a command that another process passes on to the owner of its partition; ``refusal_of`` tells whether an event sells."""
        partition = partition_of(key, self._partitions)
        if self._owners.lives_elsewhere(partition):
            refuse(responder, problems.NOT_SERVING)
            return
        try:
            create, box_office = without_box_office(command)
            event_id = read_names(read_create(create).names)[0].decode()
            self._take(key, partition, command, responder, refusal_of(event_id, box_office=box_office))
        except UNREADABLE:
            refuse(responder, problems.INVALID_CHANGE)

    def _take(self, key: bytes, partition: int, command: bytes, responder: Responder, refusal: Problem | None) -> None:
        wish = wish_of(command)
        reservation = self._table.get(partition, key)
        first = self._first.get(key) if reservation is None else wish_behind(reservation)
        if first is not None and first != wish:
            refuse(responder, problems.IDEMPOTENCY_KEY_REUSED)
        elif reservation is not None:
            responder.response_bytes(200, TEXT, key)
        elif refusal and first is None:
            refuse(responder, refusal)
        else:
            self._first[key] = wish
            if len(self._first) > _FIRST_MAX:
                self._first.popitem(last=False)
            self._append(key, partition, command, responder)

    def _append(self, key: bytes, partition: int, command: bytes, responder: Responder) -> None:
        headers = self._traces.on_post(key, responder)
        self._commands.add(self._sources[partition], key, command, responder, headers)
        # Decisions of other processes' partitions are not seen here.
        if not self._owners.lives_elsewhere(partition):
            self._undecided.add(key, partition)

    def forget(self, key: bytes) -> None:
        """The command was refused, or nobody knows whether it was taken."""
        self._first.pop(key, None)

    def on_reservations(self, records: Sequence[Pair]) -> None:
        """Decisions have come: the table has them."""
        first = self._first
        if first:
            for key, _ in records:
                first.pop(key, None)

    def clear(self) -> None:
        """Decisions may have come unseen."""
        self._first.clear()

    # Other processes.

    def on_assigned(self, assignment: Assignment) -> None:
        """Partitions have moved."""
        self._owners.on_assigned(assignment)

    def _ask_owner(self, address: str, number: bytes) -> None:
        passed = self.passed[number]
        headers = headers_of(passed.key, passed.responder)
        self._ask(address, number, Post(passed.key + COMMAND_END.encode(), passed.command, headers))

    def on_peer_answer(self, number: bytes, status: int) -> None:
        """The owner has answered."""
        self._owners.answered(number)
        for passed in self._waiting.take(number):
            del self.passed[number]
            if status == 200:
                passed.responder.response_bytes(200, TEXT, passed.key)
            elif status == _NOT_SOLD:
                refuse(passed.responder, passed.refusal or problems.NOT_SERVING)
            elif status in _TOLD:
                refuse(passed.responder, _TOLD[status])
            else:
                self._append_here(passed)

    def on_peer_failure(self, number: bytes) -> None:
        """The owner has not answered."""
        self.on_peer_answer(number, 0)

    def _append_here(self, passed: _Passed) -> None:
        if passed.refusal:
            refuse(passed.responder, passed.refusal)
            return
        self._append(passed.key, passed.partition, passed.command, passed.responder)

    async def sweep(self, now_s: float) -> None:
        """Waits no longer for owners that have not answered in time."""
        await in_turns(self._waiting.take_expired(now_s), self._time_out)

    def _time_out(self, passed: _Passed) -> None:
        del self.passed[passed.number]
        self._append_here(passed)

    async def give_up(self) -> None:
        """Answers those who wait for another process, of which nobody knows what it did."""

        def give_up(passed: _Passed) -> None:
            del self.passed[passed.number]
            refuse(passed.responder, problems.LOG_UNAVAILABLE)

        await in_turns(self._waiting.take_expired(float("inf")), give_up)


# An owner says so of an event that does not sell.
_NOT_SOLD: Final = 409
# What an owner says for good.
_TOLD: dict[int, Problem] = {413: problems.COMMAND_TOO_LARGE, 422: problems.IDEMPOTENCY_KEY_REUSED}
