"""A gateway of two partitions of four, beside a reservation role and another process that do as they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import NO_RECORD_HEADERS, Assignment, Pair, RecordHeaders, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.domain.life import NO_LIFE, Change, Kind, Life, changed
from ticketmaster.domain.reservation import ReservationType, State
from ticketmaster.errors import TicketmasterError
from ticketmaster.simulation.loop import run_virtual
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.pace import Pace
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.forwarding import AskOwner, Post
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Headers as HttpHeaders
from ticketmaster.wire import topics
from ticketmaster.wire.changes import read_change
from ticketmaster.wire.lives import standing, stands
from ticketmaster.wire.reservations import encode_create, encode_seats, encode_who_and_where, processing

PARTITIONS = 4
OTHER = "other:1"
IDS = [f"{number:08x}-0000-7000-8000-000000000000".encode() for number in range(40)]
HERE = next(key for key in IDS if partition_of(key, PARTITIONS) < 2)
THERE = next(key for key in IDS if partition_of(key, PARTITIONS) >= 2)
CREATE = encode_create(encode_who_and_where("ann", "show", "A"), 1, ReservationType.SELF_PICK, encode_seats([(0, 0)]))
PAY = Change(b"", Kind.PAY, b"invoice 7")
EXTEND = Change(b"", Kind.EXTEND, seconds=60)
CANCEL = Change(b"", Kind.CANCEL)


def reservation(key: bytes, state: State, reason: str = "", life: Life = NO_LIFE) -> bytes:
    """A reservation of the second form."""
    begun = processing(key, CREATE)
    return stands(begun, standing(begun).seats_end, state, reason.encode(), life)


class Client:
    """Is answered once."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    def response_bytes(self, status: int, _headers: HttpHeaders, body: bytes) -> None:
        assert not self.status
        self.status, self.body = status, body

    @property
    def told(self) -> tuple[int, str]:
        """Status, and the state of the reservation or the code of the problem."""
        document = json.loads(self.body) if self.body.startswith(b"{") else {}
        return self.status, document.get("state") or document.get("code") or self.body.decode()


class Till:
    """``role`` works off what the log has; ``asked`` is what the other process is asked."""

    def __init__(self, limits: TicketLimits | None = None, ask: AskOwner | None = None) -> None:
        self.table: dict[bytes, bytes] = {}
        self.opened = True
        self.log: list[tuple[str, bytes, bytes]] = []
        self.failure: TicketmasterError | None = None
        self.asked: list[tuple[str, bytes, Post]] = []
        self._worked_off = 0
        self.gateway = Gateway(self, self, Catalog(lambda: True), PARTITIONS, SystemClock(), limits or TicketLimits(), ask or self._ask)  # type: ignore[arg-type]
        self.own(0, 1)
        self._jobs = [asyncio.create_task(self.gateway.hand_over(Pace(0))), asyncio.create_task(self.gateway.sweep())]

    def own(self, *partitions: int, other: str = OTHER) -> None:
        """From now on it owns these; the other process has the rest."""
        owners = {partition: other for partition in range(PARTITIONS) if partition not in partitions}
        self.gateway.on_assigned(Assignment(list(partitions), 1, owners))

    def _ask(self, address: str, key: bytes, post: Post | None = None, /) -> None:
        assert post
        self.asked.append((address, key, post))

    def get(self, _partition: int, key: bytes) -> bytes | None:
        """As a table."""
        return self.table.get(key) if self.opened else None

    def serves(self, _partition: int) -> bool:
        """As a table."""
        return self.opened

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], _headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        """As a log."""
        if self.failure:
            return dict.fromkeys(records, self.failure)
        for source, pairs in records.items():
            for key, value in pairs:
                assert source.partition == partition_of(key, PARTITIONS)
                assert value
                self.log.append((source.topic, key, value))
        return {}

    @property
    def changes(self) -> list[Change]:
        """Those that the log has."""
        return [read_change(value) for topic, _, value in self.log if topic == topics.CHANGE_RESERVATION.name]

    def decide(self, key: bytes, value: bytes) -> None:
        """The reservation role has decided."""
        self.table[key] = value
        self.gateway.on_reservations([(key, value)])

    def role(self, time_ms: int = 1_000) -> None:
        """Works off the changes that the log has."""
        for topic, key, value in self.log[self._worked_off :]:
            if topic == topics.CHANGE_RESERVATION.name and (found := self.table.get(key)):
                where = standing(found)
                moved = changed(read_change(value), where.state, where.reason.decode(), where.life, time_ms)
                if moved:
                    self.decide(key, stands(found, where.seats_end, moved.state, moved.reason.encode(), moved.life))
        self._worked_off = len(self.log)

    def change(self, key: bytes, change: Change) -> Client:
        """A client asks for a change."""
        client = Client()
        self.gateway.change(key, change, client)
        return client

    async def end(self) -> None:
        """Stops it."""
        await cancel(*self._jobs)


def run(main: Callable[[Till], Coroutine[Any, Any, None]], limits: TicketLimits | None = None) -> None:
    """Runs a story on virtual time."""

    async def story() -> None:
        till = Till(limits)
        try:
            await main(till)
        finally:
            await till.end()

    run_virtual(story())


async def soon() -> None:
    """After what is written at once is written."""
    await asyncio.sleep(0.05)
