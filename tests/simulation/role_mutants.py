"""Bugs of the roles and the gateway, to be planted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from tests.simulation.planting import Mutants, replaced
from ticketmaster.broker.port import Pair
from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.event import processor as event_role
from ticketmaster.event.lagging import Lagging
from ticketmaster.event.processor import EventProcessor
from ticketmaster.event.stores import HOLDERS
from ticketmaster.reservation import processor as reservation_role
from ticketmaster.reservation.lives import RESERVATIONS
from ticketmaster.reservation.processor import ReservationProcessor
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.task import Task
from ticketmaster.streams.topology import Outputs
from ticketmaster.ticket.commands import Commands
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.ids import IdMint
from ticketmaster.wire import reservations
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.binary import UNREADABLE

MUTANTS = Mutants()
mutant = MUTANTS.add

# The roles.


@mutant("an event that is announced again is new")
def _created_again() -> AbstractContextManager[Any]:
    def open_areas(self: EventProcessor, records: Sequence[Pair], stores: Any, outputs: Any) -> None:
        for at, (key, value) in enumerate(records):
            try:
                if value is not None:
                    self._changed[key] = self._cache(key, value, stores)
            except UNREADABLE as reason:
                outputs.reject(at, f"{reason}")

    return replaced(EventProcessor, "_open_areas", open_areas)


@mutant("a repeated command is another reservation")
def _repeated() -> AbstractContextManager[Any]:
    create = ReservationProcessor._create

    class Forgetful:
        def __init__(self, state: Any) -> None:
            self.put = state.put
            self.scan, self.prefetch = state.scan, state.prefetch

        def get(self, _: bytes) -> None:
            return None

    def create_again(self: ReservationProcessor, records: Sequence[Pair], stores: Any, outputs: Any) -> None:
        create(self, records, {**stores, RESERVATIONS: Forgetful(stores[RESERVATIONS])}, outputs)

    return replaced(ReservationProcessor, "_create", create_again)


@mutant("a decision is decided again")
def _decided_again() -> AbstractContextManager[Any]:
    decided = reservations.decided
    first: dict[bytes, bytes] = {}

    def decide(reservation: bytes | None, result: bytes) -> reservations.Decision | None:
        decision = decided(reservation, result)
        if decision is not None and reservation is not None:
            first[decision.reservation[:45]] = reservation
        elif reservation is not None:
            decision = decided(first.get(reservation[:45]), result)
        return decision

    return replaced(reservation_role, "decided", decide)


@mutant("nobody knows who holds a seat")
def _holders_unknown() -> AbstractContextManager[Any]:
    reserve = EventProcessor._reserve

    class Forgetful:
        def __init__(self, holders: Any) -> None:
            self.put = holders.put
            self.scan, self.prefetch = holders.scan, holders.prefetch

        def get(self, _: bytes) -> None:
            return None

    def reserve_again(self: EventProcessor, records: Sequence[Pair], stores: Any, outputs: Any) -> None:
        reserve(self, records, {**stores, HOLDERS: Forgetful(stores[HOLDERS])}, outputs)

    return replaced(EventProcessor, "_reserve", reserve_again)


@mutant("a holder is another transaction's business")
def _holder_outside() -> AbstractContextManager[Any]:
    committed, told = Task.committed, [0]

    def lose_holders(self: Task, ends: Any) -> None:
        told[0] += 1
        if HOLDERS in self.overlays and told[0] % 3 == 0:
            self.overlays[HOLDERS].forget_open()
        committed(self, ends)

    return replaced(Task, "committed", lose_holders)


@mutant("seats that somebody has may be chosen")
def _chosen_twice() -> AbstractContextManager[Any]:
    return replaced(event_role, "pick_chosen", lambda *_: None)


@mutant("the last seat of a run stays free in the map")
def _one_too_few() -> AbstractContextManager[Any]:
    take_run = AreaImage.take_run

    def take_fewer(self: AreaImage, row: int, col: int, count: int) -> None:
        take_run(self, row, col, count - 1 if count > 2 else count)

    return replaced(AreaImage, "take_run", take_fewer)


@mutant("a status is not told now and then")
def _status_lost() -> AbstractContextManager[Any]:
    write, told = EventProcessor._write, [0]

    def write_some(self: EventProcessor, key: bytes, area: Any, stores: Any, outputs: Outputs) -> None:
        told[0] += 1
        write(self, key, area, stores, outputs if told[0] % 5 else Outputs())

    return replaced(EventProcessor, "_write", write_some)


@mutant("a large area whose status is behind is taken as its status shows it")
def _changes_forgotten() -> AbstractContextManager[Any]:
    return replaced(event_role, "catch_up", lambda _seats, _image, _changes: None)


@mutant("a status that is behind stays so until the next reservation")
def _status_stays_behind() -> AbstractContextManager[Any]:
    return replaced(EventProcessor, "deadline_ms", None)


@mutant("changes are those since the last transaction, not since the status")
def _changes_of_one_transaction() -> AbstractContextManager[Any]:
    changes = Lagging.changes

    def since_last(self: Lagging, key: bytes, size_bytes: int, seats: SeatMap, now_ms: int) -> bytes | None:
        found = changes(self, key, size_bytes, seats, now_ms)
        if found is not None:
            self._shown[key] = self._shown[key]._replace(free=bytes(seats.free))
        return found

    return replaced(Lagging, "changes", since_last)


# The gateway.


@mutant("a command is acknowledged before the log has it")
def _acknowledged_early() -> AbstractContextManager[Any]:
    async def hand_over(self: Commands, _pace: Pace) -> None:
        await self._wake.wait()
        self._wake.clear()
        gathered, self._gathered = self._gathered, {}
        for one in gathered.values():
            for responder, key in one.acknowledge:
                responder.response_bytes(200, [], key)
        await self._producer.send({source: one.records for source, one in gathered.items()})

    return replaced(Commands, "hand_over", hand_over)


@mutant("who waits too long is never answered")
def _never_answered() -> AbstractContextManager[Any]:
    async def sweep(_: Gateway) -> None:
        await asyncio.get_running_loop().create_future()

    return replaced(Gateway, "sweep", sweep)


@mutant("an id is handed out twice")
def _same_id() -> AbstractContextManager[Any]:
    following, minted = IdMint._next, list[bytes]()

    def sometimes_the_last(self: IdMint) -> bytes:
        minted.append(following(self) if len(minted) % 20 else (minted or [following(self)])[-1])
        return minted[-1]

    return replaced(IdMint, "_next", sometimes_the_last)


@mutant("who waits is told of a reservation that is not decided")
def _told_early() -> AbstractContextManager[Any]:
    def get_reservation(self: Gateway, reservation_id: str, responder: Any) -> None:
        responder.response_bytes(200, [], b'{"reservationId":"' + reservation_id.encode() + b'","state":"PROCESSING"}')

    return replaced(Gateway, "get_reservation", get_reservation)
