"""The reservations of an event, by user and state, in pages.

There is no index: a reservation costs nothing more because it can be listed. A list looks through the table, a piece at a time with
turns for the others in between, and SQLite skips what is of other users and events without a call of Python's. That takes 0.2 µs a row.

Any process answers for all partitions: it looks through its own, and asks the others' owners for a page of theirs. A page that can't be
whole is none: the client is told to ask again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import structlog
from msgspec import Meta, Raw, Struct

from ticketmaster.broker.port import Assignment
from ticketmaster.domain.event import name_violation
from ticketmaster.domain.reservation import LIVE, State
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.table import OwnedTable
from ticketmaster.ticket import problems
from ticketmaster.ticket.bodies import Page, encode_json, reservation_json
from ticketmaster.ticket.forwarding import AskOwner, Post
from ticketmaster.ticket.ids import canonical_id
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.responding import JSON, Responder, refuse
from ticketmaster.wire.binary import UNREADABLE, encode_string, read_int, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.reservations import read_seats

LIST_END = "/list"
"""What the path ends in by which one process asks another for a page of its partitions, behind the id that stands before it."""

_NUMBER = b"list "
_NO_ID = "00000000-0000-0000-0000-000000000000"
# A step of some 0.1 ms; of 1 or 2 ms where each row must be looked at.
_STEP_ROWS = 500
# Of the documents of a page: peers take no more than 1 MiB of each other.
_PAGE_BYTES_MAX = 512 << 10
# The owner gives up so much before the process that asked it.
_EARLIER_S = 1.0
_EARLIER_PART = 4
# A list that waits for other processes looks so often whether this one is to end.
_LOOK_S = 0.25
_STATES = {state.name: state for state in State if state is not State.PROCESSING}


def is_list(number: bytes) -> bool:
    """Whether this is what a process is asked by for a page, and no reservation's id."""
    return number.startswith(_NUMBER)


class _Refused(Exception):
    """There is no page. An exception of its own each time: one that is raised again keeps what it was raised in before."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


class Wanted(NamedTuple):
    """Which reservations: at most ``limit`` of those behind ``after``, of an event, of one user or all, in one state or any."""

    event_id: str
    user_id: str | None
    state: State | None
    after: str
    limit: int


def wanted(event_id: str, page: Page, user_id: str | None, state: str | None, limits: TicketLimits) -> Wanted:
    """What a query asks for. Problem: it makes no sense."""
    if user_id is not None and (broken := name_violation("user", user_id, limits.event.name_bytes_max)):
        raise Problem(400, broken.code, f"{broken.message}.")
    if state is not None and state not in _STATES:
        raise Problem(400, "invalid_state", f"state is one of {', '.join(_STATES)}.")
    after = canonical_id(page.after or _NO_ID)
    if after is None:
        raise Problem(400, "invalid_after", "after is the id of a reservation: next of the page before.")
    return Wanted(event_id, user_id, _STATES[state] if state else None, after, page.limit)


class Found(NamedTuple):
    """Reservations in the order of their ids: all there are up to the last one here, or all, unless there are ``more``."""

    items: list[tuple[bytes, bytes]]
    more: bool


def merged(parts: Sequence[Found], limit: int, bytes_max: int = _PAGE_BYTES_MAX) -> Found:
    """The first of them all. Where a part has more, nothing is known of it behind its last one."""
    known_to = min((part.items[-1][0] for part in parts if part.more), default=None)
    items = sorted(item for part in parts for item in part.items if known_to is None or item[0] <= known_to)
    taken, size = 0, 0
    for _, value in items[:limit]:
        size += len(value)
        if taken and size > bytes_max:
            break
        taken += 1
    return Found(items[:taken], known_to is not None or taken < len(items))


class _Question(Struct):
    """What another process is asked; the rest is in the path."""

    partitions: list[int]
    event: str
    user: str | None
    state: int | None
    limit: Annotated[int, Meta(ge=1)]


class _Answer(Struct):
    """A page of it. ``ids`` are those of ``documents``."""

    ids: list[str]
    documents: list[Raw]
    more: bool


_decode_question = msgspec.json.Decoder(_Question).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class _Filter:
    """Whether a reservation is wanted, by its bytes."""

    def __init__(self, asked: Wanted) -> None:
        event = encode_string(asked.event_id)
        self._has_user = asked.user_id is not None
        self.part = encode_string(asked.user_id) + event if asked.user_id is not None else event
        """Every reservation that is wanted has it, and some others by chance."""
        self._state = asked.state
        # What a record of the first form ends in, where the state has no reason: it spares a closer look at nearly all of the others.
        self._tail = bytes([asked.state << 1, 0]) if asked.state in LIVE else b""

    def takes(self, value: bytes) -> bool:
        """UNREADABLE: nobody can tell, though it is of this user and event."""
        try:
            at = skip_string(value, FRAME_BYTES)
            at = at if self._has_user else skip_string(value, at)
        except UNREADABLE:
            return False
        if not value.startswith(self.part, at):
            return False
        if self._state is None:
            return True
        if not value.endswith(self._tail) and value.startswith(FRAMES.reservation):
            return False
        # Behind the names: the area, two numbers, the type and the seats.
        _, at = read_int(value, skip_string(value, at + len(self.part)))
        _, at = read_int(value, at)
        _, at = read_seats(value, at + 1)
        return value[at] >> 1 == self._state


class Lists:
    """The pages that a process was asked for, by clients and by other processes."""

    def __init__(
        self, table: OwnedTable, partitions: int, limits: TicketLimits, is_ending: Callable[[], bool], ask: AskOwner | None = None
    ) -> None:
        """``ask`` asks another process, and answers by :meth:`on_peer_answer`; None: all partitions live here."""
        self._table = table
        self._limits = limits
        self._is_ending = is_ending
        self._ask = ask
        self._here: Sequence[int] = range(0 if ask else partitions)
        # Partitions by their owners' addresses, and those that nobody is known to own.
        self._elsewhere: dict[str, list[int]] = {}
        self._nowhere: Sequence[int] = range(partitions if ask else 0)
        self._partitions = partitions
        self._numbers = 0
        self._asked: dict[bytes, asyncio.Future[Found]] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    def on_assigned(self, assignment: Assignment) -> None:
        """Partitions have moved."""
        self._here = list(assignment.partitions)
        self._elsewhere = {}
        for partition in range(self._partitions):
            if partition not in assignment.partitions and (address := assignment.owners.get(partition)):
                self._elsewhere.setdefault(address, []).append(partition)
        known = {*self._here, *(partition for partitions in self._elsewhere.values() for partition in partitions)}
        self._nowhere = [partition for partition in range(self._partitions) if partition not in known]

    def take(self, asked: Wanted, responder: Responder) -> None:
        """Answers a client with a page, when it is there."""
        self._begin(self._of_all, asked, self._limits.long_poll_ms / 1000, responder, _page_json)

    def take_for_peer(self, key: bytes, body: bytes, responder: Responder) -> None:
        """Answers another process with a page of some partitions of this one's. ``key`` is where it begins."""
        try:
            question = _decode_question(body)
            state = None if question.state is None else State(question.state)
        except ValueError:
            refuse(responder, problems.INVALID_CHANGE)
            return
        asked = Wanted(question.event, question.user, state, key.decode(), question.limit)
        wait_s = self._limits.long_poll_ms / 1000

        async def work(asked: Wanted, deadline: float) -> Found:
            return await self._of_here(question.partitions, asked, deadline)

        self._begin(work, asked, wait_s - min(_EARLIER_S, wait_s / _EARLIER_PART), responder, _answer_json)

    def _begin(
        self,
        work: Callable[[Wanted, float], Coroutine[Any, Any, Found]],
        asked: Wanted,
        wait_s: float,
        responder: Responder,
        as_json: Callable[[Found], bytes],
    ) -> None:
        if self._is_ending():
            refuse(responder, problems.SHUTTING_DOWN)
        elif len(self._jobs) >= self._limits.lists_in_flight_max:
            refuse(responder, problems.TOO_MANY_LISTS)
        else:
            deadline = asyncio.get_running_loop().time() + wait_s
            job = asyncio.create_task(_answered(work(asked, deadline), responder, as_json))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    # Here.

    async def _of_here(self, partitions: Sequence[int], asked: Wanted, deadline: float) -> Found:
        """A page of partitions of this process's, as documents. _Refused: it can't be whole."""
        wish = _Filter(asked)
        found = [await self._of_partition(partition, wish, asked, deadline) for partition in partitions]
        # What was read may be of a partition that has moved meanwhile.
        if not all(self._table.serves(partition) for partition in partitions):
            raise _Refused(problems.NOT_SERVING)
        first = merged(found, asked.limit)
        documents = Found([(key, reservation_json(value)) for key, value in first.items], first.more)
        return merged([documents], asked.limit)

    async def _of_partition(self, partition: int, wish: _Filter, asked: Wanted, deadline: float) -> Found:
        items: list[tuple[bytes, bytes]] = []
        size, after, time = 0, asked.after.encode(), asyncio.get_running_loop().time
        while True:
            scanned = self._table.scan(partition, after, wish.part, _STEP_ROWS)
            if scanned is None:
                raise _Refused(problems.NOT_SERVING)
            for key, value in scanned.items:
                if wish.takes(value):
                    if len(items) == asked.limit or size >= _PAGE_BYTES_MAX:
                        return Found(items, more=True)
                    items.append((key, value))
                    size += len(value)
            if scanned.end is None:
                return Found(items, more=False)
            after = scanned.end
            await asyncio.sleep(0)
            self._check(time() >= deadline)

    def _check(self, is_late: bool) -> None:  # noqa: FBT001
        if self._is_ending():
            raise _Refused(problems.SHUTTING_DOWN)
        if is_late:
            raise _Refused(problems.LIST_TOO_LONG)

    # Everywhere.

    async def _of_all(self, asked: Wanted, deadline: float) -> Found:
        if self._nowhere:
            raise _Refused(problems.NOT_SERVING)
        here, numbers = self._here, [self._ask_owner(address, partitions, asked) for address, partitions in self._elsewhere.items()]
        others = [self._asked[number] for number in numbers]
        try:
            found, time = await self._of_here(here, asked, deadline), asyncio.get_running_loop().time
            while True:
                # One that has failed ends it: nobody waits for the others.
                parts = [other.result() for other in others if other.done()]
                if len(parts) == len(others):
                    return merged([found, *parts], asked.limit)
                await asyncio.wait(others, timeout=_LOOK_S, return_when=asyncio.FIRST_EXCEPTION)
                self._check(time() >= deadline)
        finally:
            for number, other in zip(numbers, others, strict=True):
                del self._asked[number]
                if not other.cancel():
                    # Python would complain of failures that nobody has looked at.
                    other.exception()

    def _ask_owner(self, address: str, partitions: list[int], asked: Wanted) -> bytes:
        self._numbers += 1
        number = b"%b%d" % (_NUMBER, self._numbers)
        question = _Question(partitions, asked.event_id, asked.user_id, asked.state, asked.limit)
        self._asked[number] = asyncio.get_running_loop().create_future()
        assert self._ask
        self._ask(address, number, Post(f"{asked.after}{LIST_END}".encode(), encode_json(question), []))
        return number

    def on_peer_answer(self, number: bytes, status: int, body: bytes) -> None:
        """Another process has answered; status 0: it has not."""
        asked = self._asked.get(number)
        if asked is None or asked.done():
            return
        found = _found(body) if status == 200 else None
        if found is None:
            asked.set_exception(_Refused(problems.NOT_SERVING))
        else:
            asked.set_result(found)

    async def stop(self) -> None:
        """Nothing is answered any more."""
        await cancel(*self._jobs)


def _found(body: bytes) -> Found | None:
    """The page that another process has answered with; None: it is none."""
    try:
        answer = _decode_answer(body)
        items = [(key.encode(), bytes(document)) for key, document in zip(answer.ids, answer.documents, strict=True)]
    except ValueError:
        return None
    return None if answer.more and not items else Found(items, answer.more)


async def _answered(work: Coroutine[Any, Any, Found], responder: Responder, as_json: Callable[[Found], bytes]) -> None:
    try:
        responder.response_bytes(200, JSON, as_json(await work))
    except _Refused as refused:
        refuse(responder, refused.problem)
    except Exception as failure:  # noqa: BLE001 - whatever it is, the client gets an answer
        structlog.get_logger().error("request_failed", exc_info=failure)
        refuse(responder, problems.INTERNAL_ERROR)
    except asyncio.CancelledError:
        refuse(responder, problems.SHUTTING_DOWN)
        raise


def _page_json(found: Found) -> bytes:
    last = b'"%b"' % found.items[-1][0] if found.more else b"null"
    return b'{"reservations":[%b],"next":%b}' % (b",".join([document for _, document in found.items]), last)


def _answer_json(found: Found) -> bytes:
    return encode_json(_Answer([key.decode() for key, _ in found.items], [Raw(document) for _, document in found.items], found.more))
