"""The gateway: commands go to the log, decisions come back to those who wait for them.

Everything but the hand-over to the log is synchronous, on the loop's thread: a request costs no coroutine and no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import (
    NO_PLACED_HEADERS,
    Assignment,
    Pair,
    PlacedHeaders,
    Producer,
    partitions_of,
)
from ticketmaster.clock import Clock
from ticketmaster.domain.life import Change
from ticketmaster.streams.jobs import in_turns
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.table import OwnedTable, Unreadable
from ticketmaster.telemetry.observer import Observer
from ticketmaster.telemetry.tracing import NO_HEADERS
from ticketmaster.ticket import problems
from ticketmaster.ticket.access import EVERYBODY, ORGANISING, Caller, other_event
from ticketmaster.ticket.announcing import Announcements
from ticketmaster.ticket.answers import answers, refuse_ending, refuse_undecided
from ticketmaster.ticket.avoiding import Avoided
from ticketmaster.ticket.bodies import read_event, read_reservation_request
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.changing import Changes, is_change_id, new_change_id
from ticketmaster.ticket.commands import Commands
from ticketmaster.ticket.forwarding import AskOwner, Forwarding, Post
from ticketmaster.ticket.idempotency import Keyed, KeyedPosts, is_number
from ticketmaster.ticket.ids import IdMint
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.organising import EventChanges
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.responding import JSON, Responder, refuse
from ticketmaster.ticket.sales import Sales
from ticketmaster.ticket.tracing import ReservationTraces
from ticketmaster.ticket.undecided import Undecided
from ticketmaster.ticket.waiting import Waiting
from ticketmaster.wire import topics
from ticketmaster.wire.frames import FRAMES
from ticketmaster.wire.rules import of_box_office

_SWEEP_S = 0.25
# While nobody waits: much shorter than anything that is waited for.
_IDLE_SWEEP_S = 1.0
_IDLE_PARTS = 4
_DRAIN_POLL_S = 0.01
# Where connections are wanted for other requests, a long poll may hold one for so long.
_CROWDED_POLL_S = 0.5
# More may wait for one reservation: they are answered in turns.
_ANSWERS_AT_ONCE_MAX = 1_000


def _ask_nobody(address: str, key: bytes, _post: Post | None = None, /) -> None:
    raise AssertionError(f"{address} is to be asked for {key!r}, though all partitions live here")


_NOBODY = Observer()


class Gateway:
    """The requests of one ticket process."""

    def __init__(
        self,
        producer: Producer,
        reservations: OwnedTable,
        catalog: Catalog,
        partitions: int,
        clock: Clock,
        limits: TicketLimits,
        ask: AskOwner = _ask_nobody,
        observer: Observer = _NOBODY,
    ) -> None:
        """``ask`` asks another process, and answers by :meth:`on_peer_answer` or :meth:`on_peer_failure`."""
        self.catalog = catalog
        self.draining = False
        # Whether other requests wait for the connections of long polls.
        self.is_crowded: Callable[[], bool] = lambda: False
        self._reservations = reservations
        self._partitions = partitions
        self._clock = clock
        self._limits = limits
        self._mint = IdMint(clock, partitions)
        self._waiting: Waiting[Responder] = Waiting()
        # Other processes that wait: for them nobody else is asked.
        self._waiting_peers: Waiting[Responder] = Waiting()
        self._forwarding = Forwarding(ask)
        self._traced = observer.tracer.enabled
        self._commands = Commands(producer, observer, Avoided(self._mint).avoid, self._on_refused)
        self._traces = ReservationTraces(observer.tracer, clock)
        self._undecided = Undecided(clock.monotonic_s, observer.decision_durations)
        self._announcements = Announcements(producer, catalog, partitions, clock, observer)
        self.changes = Changes(reservations, self._commands, ask, partitions, limits.long_poll_ms, self._change_refusal)
        self._ruled, self._sales = catalog.ruled, Sales(catalog.ruled, partitions, clock)
        self._event_changes = EventChanges(catalog, self._commands, partitions, clock, limits.long_poll_ms, self._change_refusal)
        self._keyed = KeyedPosts(reservations, self._commands, ask, partitions, self._undecided, self._traces)
        # What goes on in turns: answers to many who wait for one reservation; looking for all that is waited for.
        self._jobs: set[asyncio.Task[None]] = set()
        self._is_to_look = False
        self._sources = partitions_of(topics.CREATE_RESERVATION.name, partitions)

    # Requests.

    def post_reservation(self, event_id: str, body: bytes, responder: Responder, *, box_office: bool = False) -> None:
        """Takes a command; its id is the answer, once the log has it. A box office sells past windows, pauses and limits."""
        if refusal := self._sale_refusal() or (self._ruled and self._sales.refusal(event_id, box_office=box_office)) or None:
            refuse(responder, refusal)
            return
        command = read_reservation_request(body, event_id, self._limits)
        # A registry that takes no new schemas switches rules off, and with them what is past them.
        box_office = box_office and FRAMES.has_all
        home = self._sales.home(event_id, command) if self._ruled and not box_office else None
        if box_office:
            command = of_box_office(command)
        key, partition = self._mint.mint() if home is None else (self._mint.mint_of(home), home)
        headers = self._traces.on_post(key, responder) if self._traced else NO_HEADERS
        self._commands.add(self._sources[partition], key, command, responder, headers)
        self._undecided.add(key, partition)

    def post_keyed(self, event_id: str, key: str, body: bytes, responder: Responder, *, box_office: bool = False) -> None:
        """As :meth:`post_reservation`; whoever repeats the request with its ``Idempotency-Key`` gets the same id."""
        if refusal := self._sale_refusal():
            refuse(responder, refusal)
            return
        command = read_reservation_request(body, event_id, self._limits)
        box_office = box_office and FRAMES.has_all
        refusal = self._sales.refusal(event_id, box_office=box_office)
        home = None if box_office else self._sales.home(event_id, command)
        self._keyed.post(Keyed(event_id, key, of_box_office(command) if box_office else command, home), responder, refusal)

    def post_keyed_for_peer(self, key: bytes, body: bytes, responder: Responder) -> None:
        """Takes the command of another process, which sees no partition of this one's."""
        if refusal := self._command_refusal():
            refuse(responder, refusal)
        else:
            self._keyed.post_for_peer(key, body, responder, self._sales.refusal)

    def change(self, key: bytes, change: Change, responder: Responder) -> None:
        """Pays, extends or cancels a reservation, and answers with what became of it. The change gets its id here."""
        # Not by _replace, which takes twice as long.
        self.changes.take(key, Change(new_change_id(self._clock), *change[1:]), responder)

    def get_reservation(self, reservation_id: str, responder: Responder) -> None:
        """Answers with the decision, now or when it comes; asks the process that holds its partition if that is another one."""
        key = reservation_id.encode()
        undecided = self._undecided.partition(key)
        partition = partition_of(key, self._partitions) if undecided is None else undecided
        if self._traced:
            responder = self._traces.on_get(key, responder, elsewhere=self._forwarding.lives_elsewhere(partition))
        if undecided is None:
            reservation = self._reservations.get(partition, key)
            if reservation is not None:
                answers(reservation)(responder)
                return
        if self._wait(self._waiting, key, responder):
            self._forwarding.look(key, partition)

    def get_for_peer(self, key: bytes, responder: Responder) -> None:
        """Answers another process as :meth:`get_reservation` does a client, from this process's table only."""
        partition = partition_of(key, self._partitions)
        reservation = self._reservations.get(partition, key)
        if self._traced:
            responder = self._traces.on_get_for_peer(key, responder)
        if reservation is not None:
            answers(reservation)(responder)
        elif self._forwarding.lives_elsewhere(partition):
            refuse(responder, problems.NOT_SERVING)
        else:
            self._wait(self._waiting_peers, key, responder)

    def _wait(self, waiting: Waiting[Responder], key: bytes, responder: Responder) -> bool:
        if refusal := self._waiting_refusal():
            refuse(responder, refusal)
            return False
        waiting.add(key, responder, asyncio.get_running_loop().time() + self._limits.long_poll_ms / 1000)
        return True

    def post_event(self, body: bytes, responder: Responder, caller: Caller = EVERYBODY) -> None:
        """Announces an event, if the caller's token is for it."""
        if refusal := self._command_refusal():
            refuse(responder, refusal)
            return
        event = read_event(body, self._limits.event, self._clock.now_ns())
        if not caller.covers(event.event_name):
            refuse(responder, other_event(ORGANISING))
        elif (event.hold_seconds or event.seats_per_user_max) and not FRAMES.has_all:
            refuse(responder, problems.HOLDS_UNAVAILABLE)
        else:
            self._announcements.take(event, responder)

    def change_event(self, event_id: str, values: Mapping[str, Any], revision: int, responder: Responder) -> None:
        """Changes or cancels an event; ``values`` and ``revision`` as :class:`~ticketmaster.domain.rules.EventChange` has them."""
        self._event_changes.take(event_id, values, revision, responder)

    @property
    def waiting(self) -> int:
        """How many requests wait for a decision, or for what becomes of a change."""
        # Asked for each long poll: by dictionaries, as a class of ours takes longer to say how long it is.
        own, peers = self._waiting.waiters, self._waiting_peers.waiters
        return len(own) + len(peers) + self.changes.count + len(self._event_changes.waiters)

    @property
    def commands_in_flight(self) -> int:
        """How many commands the log has not acknowledged."""
        return self._commands.in_flight + len(self._announcements.jobs) + len(self._keyed.passed)

    def _command_refusal(self) -> Problem | None:
        return self._refusal(self.commands_in_flight, self._limits.commands_in_flight_max, problems.TOO_MANY_COMMANDS)

    def _sale_refusal(self) -> Problem | None:
        # By an event's rules a reservation gets its id and its partition.
        return self._command_refusal() or (None if self.catalog.is_whole else problems.NOT_SERVING)

    def _waiting_refusal(self) -> Problem | None:
        return self._refusal(self.waiting, self._limits.waiting_requests_max, problems.TOO_MANY_WAITING)

    def _change_refusal(self) -> Problem | None:
        return self._command_refusal() or self._waiting_refusal()

    def _refusal(self, count: int, count_max: int, problem: Problem) -> Problem | None:
        """Why one more request of a kind is not taken on."""
        if self.draining:
            return problems.SHUTTING_DOWN
        if count >= count_max:
            return problem
        all_max = self._limits.requests_in_flight_max
        if all_max and self.commands_in_flight + self.waiting >= all_max:
            return problems.TOO_MANY_REQUESTS
        return None

    # Commands to the log.

    async def hand_over(self, pace: Pace) -> None:
        """Sends commands to the log, for ever."""
        while True:
            await self._commands.hand_over(pace)

    def _on_refused(self, key: bytes) -> None:
        """A command was not acknowledged: nobody knows its id."""
        self._undecided.forget(key)
        self._traces.forget(key)
        self._keyed.forget(key)

    # Decisions from the log.

    def on_reservations(self, records: Sequence[Pair], headers: PlacedHeaders = NO_PLACED_HEADERS) -> None:
        """Answers those who wait for these reservations; ``headers`` are those of the traced ones."""
        if headers:
            self._traces.on_decisions(records, headers)
        self._undecided.decide(records)
        self._keyed.on_reservations(records)
        self.changes.on_reservations(records)
        take, peers = self._waiting.take, self._waiting_peers
        for key, reservation in records:
            responders = take(key)
            if peers.waiters:
                responders += peers.take(key)
            if responders and reservation is not None:
                self._answer_all(responders, reservation)

    def _answer_all(self, responders: Sequence[Responder], reservation: bytes) -> None:
        answer = answers(reservation)
        if len(responders) > _ANSWERS_AT_ONCE_MAX:
            self._begin(in_turns(responders, answer))
            return
        for responder in responders:
            answer(responder)

    def on_table_opened(self) -> None:
        """Partitions were opened, with decisions that :meth:`on_reservations` did not see: looks for all that is waited for."""
        self._undecided.clear()
        self._keyed.clear()
        self._look_for_all()

    def on_assigned(self, assignment: Assignment) -> None:
        """Partitions have moved."""
        self._mint.own(assignment.partitions)
        # Decisions on partitions that others hold now are not seen here.
        self._undecided.clear()
        self._keyed.clear()
        for owners in (self._forwarding, self.changes, self._keyed):
            owners.on_assigned(assignment)
        self._look_for_all()

    def _look_for_all(self) -> None:
        """Looks for all that is waited for, here and elsewhere; once for however many partitions a rebalance opens in one step."""
        if not self._is_to_look:
            self._is_to_look = True
            self._begin(self._look())

    async def _look(self) -> None:
        self._is_to_look = False
        await in_turns(self._waiting.awaited() + self._waiting_peers.awaited(), self._look_for)
        await self.changes.look_for_all()

    def _look_for(self, key: bytes) -> None:
        """Answers those who wait for a reservation that is here, or has its owner asked."""
        partition = partition_of(key, self._partitions)
        reservation = self._reservations.get(partition, key)
        if reservation is not None:
            self.on_reservations([(key, reservation)])
        elif key in self._waiting:
            self._forwarding.look(key, partition)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def on_peer_answer(self, key: bytes, status: int, body: bytes, traceparent: bytes) -> None:
        """Another process has answered; ``traceparent`` is not empty if the reservation is traced."""
        if is_change_id(key):
            self.changes.on_peer_answer(key, status, body)
        elif is_number(key):
            self._keyed.on_peer_answer(key, status)
        elif status == 200:
            self._forwarding.answered(key)
            for responder in self._waiting.take(key):
                self._traces.on_peer_answer(key, responder, traceparent)
                responder.response_bytes(200, JSON, body)
        else:
            self._forwarding.failed(key)

    def on_peer_failure(self, key: bytes) -> None:
        """Another process has not answered."""
        self.on_peer_answer(key, 0, b"", b"")

    def on_areas(self, records: Sequence[Pair]) -> list[Unreadable]:
        """Takes the status of areas, and returns the records that are none."""
        unreadable = self.catalog.apply(records)
        self._announcements.on_catalog()
        return unreadable

    def on_events(self, records: Sequence[Pair]) -> list[Unreadable]:
        """Takes the rules of events, and returns the records that are none."""
        unreadable = self.catalog.apply_rules(records)
        self._event_changes.on_events(records)
        self._announcements.on_catalog()
        return unreadable

    async def sweep(self) -> None:
        """Answers those who have waited long enough, for ever."""
        loop = asyncio.get_running_loop()
        idle_s = max(min(self._limits.long_poll_ms / 1000 / _IDLE_PARTS, _IDLE_SWEEP_S), _SWEEP_S)
        while True:
            await asyncio.sleep(_SWEEP_S if self.waiting or self.commands_in_flight else idle_s)
            early_s = max(self._limits.long_poll_ms / 1000 - _CROWDED_POLL_S, 0) if self.is_crowded() else 0
            for waiting in (self._waiting, self._waiting_peers):
                await in_turns(waiting.take_expired(loop.time() + early_s), refuse_undecided)
            await in_turns(self._forwarding.take_failed(), self._look_for)
            await self.changes.sweep(loop.time())
            await self._event_changes.sweep(loop.time())
            await self._keyed.sweep(loop.time())
            self._undecided.forget_old()

    async def drain(self) -> None:
        """Takes nothing new on; returns when all that was is answered, those who wait too long with 503."""
        self.draining = True
        self._commands.rests = False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.drain_ms / 1000
        while (self.commands_in_flight or self.waiting) and loop.time() < deadline:  # noqa: ASYNC110 - counters, watched once in a life
            await asyncio.sleep(_DRAIN_POLL_S)
        await self._give_up(problems.SHUTTING_DOWN)

    async def fail(self) -> None:
        """The log is gone: everybody who waits gets 503, and so does whoever comes."""
        self.draining = True
        await self._give_up(problems.LOG_UNAVAILABLE)

    async def _give_up(self, problem: Problem) -> None:
        """Answers everybody; ``problem`` is of commands that were not handed over to the log."""
        await self._commands.give_up(problem)
        await self._announcements.give_up()
        await self._keyed.give_up()
        await self.changes.give_up(problems.SHUTTING_DOWN)
        await self._event_changes.give_up()
        for waiting in (self._waiting, self._waiting_peers):
            await in_turns(waiting.take_expired(float("inf")), refuse_ending)
        # Those who are being answered in turns.
        await asyncio.gather(*self._jobs, return_exceptions=True)
