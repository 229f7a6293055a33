"""Whatever becomes of requests, and however many fail: when they are over, no table of the gateway holds anything of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Sized
from typing import Any

import pytest

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import NO_RECORD_HEADERS, Assignment, Headers, Pair, RecordHeaders, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.domain.life import Change, Kind
from ticketmaster.errors import Fatal, Refused, Retriable, TicketmasterError
from ticketmaster.simulation.loop import run_virtual
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.pace import Pace
from ticketmaster.telemetry.metrics import Histogram
from ticketmaster.telemetry.observer import Observer
from ticketmaster.telemetry.tracing import Span
from ticketmaster.ticket import undecided
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.forwarding import Post
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Headers as HttpHeaders
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.responding import Watched
from ticketmaster.wire import avro
from ticketmaster.wire.changes import encode_change

PARTITIONS = 4
MANY = 200
BODY = b'{"userId":"ann","areaId":"A","numOfSeats":1,"type":"RANDOM"}'
EVENT = b'{"eventName":"show","artist":"x","areas":[{"areaId":"A","price":1,"rowCount":1,"colCount":1}]}'
OTHER = "other:1"
TRACEPARENT: Headers = [("traceparent", b"00-1-1-01")]


class Traced(Span):
    """A span of a request that is traced."""

    headers: Headers = TRACEPARENT


class Clock(SystemClock):
    """The loop's time, whatever the wall clock does."""

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class Client:
    """Is answered once."""

    def __init__(self, told: list[tuple[int, bytes]]) -> None:
        self._told = told
        self._answered = False

    def response_bytes(self, status: int, _headers: HttpHeaders, body: bytes) -> None:
        assert not self._answered
        self._answered = True
        self._told.append((status, body))


class Storm:
    """A gateway of half of the partitions, on a log and beside a process that do as they are told."""

    def __init__(self, limits: TicketLimits | None = None) -> None:
        self.log: Callable[[TopicPartition, Sequence[Pair]], TicketmasterError | None] = lambda _source, _records: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.told: list[tuple[int, bytes]] = []
        self.asked: list[bytes] = []
        self._keys = 0
        observer = Observer()
        observer.decision_durations = self.durations = Histogram((1.0, 10.0))
        limits = limits or TicketLimits(drain_ms=1_000)
        self.gateway = Gateway(
            self,
            self,  # type: ignore[arg-type]  # a table without decisions
            Catalog(lambda: True),
            PARTITIONS,
            Clock(),
            limits,
            self._ask,
            observer,
        )
        self.gateway.on_assigned(Assignment([0, 1], 1, {2: OTHER, 3: OTHER}))
        self._jobs = [asyncio.create_task(self.gateway.hand_over(Pace(0))), asyncio.create_task(self.gateway.sweep())]

    def _ask(self, _address: str, key: bytes, _post: Post | None = None, /) -> None:
        self.asked.append(key)

    def serves(self, _partition: int) -> bool:
        """As a table."""
        return True

    def get(self, _partition: int, _key: bytes) -> bytes | None:
        """As a table."""
        return None

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        """As a log."""
        await self.gate.wait()
        failures = {source: self.log(source, pairs) for source, pairs in records.items()}
        for failure in failures.values():
            if isinstance(failure, Fatal):
                raise failure
        return {source: failure for source, failure in failures.items() if failure}

    def post(self, count: int = MANY, body: bytes = BODY) -> None:
        for _ in range(count):
            client = Watched(Client(self.told))
            client.span = Traced()
            try:
                self.gateway.post_reservation("show", body, client)
            except Problem as problem:
                client.response_bytes(*problem.response)

    def post_keyed(self, count: int = MANY) -> None:
        for _ in range(count):
            self._keys += 1
            self.gateway.post_keyed("show", str(self._keys), BODY, Client(self.told))

    def announce(self, count: int = MANY) -> None:
        for _ in range(count):
            self.gateway.post_event(EVENT, Client(self.told))

    def poll(self, count: int = MANY) -> None:
        for number in range(count):
            self.gateway.get_reservation(key_of(number), Client(self.told))
            key = key_of(number).encode()
            self.gateway.get_for_peer(key, Client(self.told))
            for kind in Kind:
                self.gateway.change(key, Change(b"", kind, b"7", 60), Client(self.told))
            self.gateway.changes.take_for_peer(key, encode_change(Change(b"%032x" % number, Kind.PAY, b"7")), Client(self.told))

    async def end(self) -> None:
        await cancel(*self._jobs)


def key_of(number: int) -> str:
    return f"{number:08x}-0000-7000-8000-000000000000"


def decision(key: bytes) -> Pair:
    fields = {"reservationId": key.decode(), "userId": "ann", "eventId": "show", "areaId": "A", "numOfSeats": 1, "numOfSeat": 1}
    return key, avro.encode("Reservation", {**fields, "type": "RANDOM", "seats": [], "state": "RESERVED", "failedReason": ""})


def tables(of: object, path: str = "gateway", seen: frozenset[int] = frozenset()) -> Iterator[tuple[str, int]]:
    """Every table below an object of the ticket role, with its size."""
    slots = [name for kind in type(of).__mro__ for name in getattr(kind, "__slots__", ())]
    names = {**getattr(of, "__dict__", {}), **{name: getattr(of, name) for name in slots if hasattr(of, name)}}
    for name, value in names.items():
        if isinstance(value, Sized) and not isinstance(value, str | bytes | tuple | frozenset):
            yield f"{path}.{name}", len(value)
        elif type(value).__module__.startswith("ticketmaster.ticket") and id(value) not in seen:
            yield from tables(value, f"{path}.{name}", seen | {id(of)})


def left(storm: Storm) -> dict[str, int]:
    """What is left, but for what does not come with requests: partitions and their owners."""
    return {path: size for path, size in tables(storm.gateway) if size and not path.endswith(("._sources", "._owners"))}


async def refused(storm: Storm, failure: Callable[[TopicPartition, Sequence[Pair]], TicketmasterError]) -> None:
    storm.log = failure
    storm.post()
    storm.post_keyed()
    storm.announce()
    await asyncio.sleep(10)


async def posts_fail_for_now(storm: Storm) -> None:
    await refused(storm, lambda _source, _records: Retriable("no leader"))


async def posts_are_too_large(storm: Storm) -> None:
    await refused(storm, lambda source, records: Refused("max.message.bytes", source, tuple(key for key, _ in records)))


async def the_log_is_gone(storm: Storm) -> None:
    await refused(storm, lambda _source, _records: Fatal("the disk is full"))
    storm.post()
    await storm.gateway.fail()


async def the_end_comes_before_the_log_answers(storm: Storm) -> None:
    storm.gate.clear()
    storm.post()
    await asyncio.sleep(0.1)
    # What is under way, and what has not been handed over.
    storm.post()
    storm.post_keyed()
    storm.poll()
    await storm.gateway.drain()


async def the_log_fails_while_it_is_written(storm: Storm) -> None:
    storm.gate.clear()
    storm.post()
    storm.post_keyed()
    storm.poll()
    await asyncio.sleep(0.1)
    await storm.gateway.fail()


async def bodies_are_none(storm: Storm) -> None:
    storm.post(body=b"{")


async def posts_come_in_the_end(storm: Storm) -> None:
    storm.gateway.draining = True
    storm.post()
    storm.post_keyed()
    storm.poll()
    storm.announce()


async def nothing_is_decided_in_time(storm: Storm) -> None:
    storm.poll()
    await asyncio.sleep(10)
    # The other process answers each question, if only that it does not know.
    while storm.asked:
        storm.gateway.on_peer_answer(storm.asked.pop(), 503, b"", b"")
        await asyncio.sleep(0.01)


async def other_processes_fail_again_and_again(storm: Storm) -> None:
    storm.poll()
    for _ in range(60):
        asked, storm.asked = storm.asked, []
        for key in asked:
            storm.gateway.on_peer_failure(key)
        await asyncio.sleep(0.25)


async def partitions_move_all_the_time(storm: Storm) -> None:
    asked: list[bytes] = []
    for number in range(20):
        storm.poll(50)
        asked, storm.asked = storm.asked, []
        owned = [number % PARTITIONS, (number + 1) % PARTITIONS]
        others = {partition: f"other:{number % 3}" for partition in range(PARTITIONS) if partition not in owned}
        storm.gateway.on_assigned(Assignment(owned, number, others))
        await asyncio.sleep(0.1)
        for key in asked:
            storm.gateway.on_peer_failure(key)
    await asyncio.sleep(11)


STORMS = [
    posts_fail_for_now,
    posts_are_too_large,
    the_log_is_gone,
    the_end_comes_before_the_log_answers,
    the_log_fails_while_it_is_written,
    bodies_are_none,
    posts_come_in_the_end,
    nothing_is_decided_in_time,
    other_processes_fail_again_and_again,
    partitions_move_all_the_time,
]


def run_storm(storm: Callable[[Storm], Awaitable[None]], limits: TicketLimits | None = None) -> None:
    async def main() -> None:
        one = Storm(limits)
        await storm(one)
        await asyncio.sleep(10)
        # What was asked is told, in time.
        for key in one.asked:
            one.gateway.on_peer_failure(key)
        await asyncio.sleep(1)
        found = left(one)
        await one.end()
        assert found == {}
        assert all(status >= 400 for status, _ in one.told)
        assert one.told

    run_virtual(main())


@pytest.mark.parametrize("storm", STORMS, ids=lambda storm: storm.__name__.replace("_", " "))
def test_nothing_is_left_of_requests_that_failed(storm: Callable[[Storm], Awaitable[None]]) -> None:
    run_storm(storm)


def test_nothing_is_left_of_requests_beyond_the_limits() -> None:
    async def too_many(storm: Storm) -> None:
        storm.gate.clear()
        storm.post()
        storm.post_keyed()
        storm.poll()
        assert [status for status, _ in storm.told].count(429) > MANY
        storm.log = lambda _source, _records: Retriable("no leader")
        storm.gate.set()
        await asyncio.sleep(11)

    run_storm(too_many, TicketLimits(commands_in_flight_max=10, waiting_requests_max=10))


def test_after_any_number_of_refused_commands_decisions_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undecided, "_IDS_MAX", 1_000)

    async def main() -> None:
        storm = Storm()
        storm.log = lambda _source, _records: Retriable("no leader")
        for _ in range(10):
            storm.post(500)
            await asyncio.sleep(1)
        storm.told.clear()
        storm.log = lambda _source, _records: None
        storm.post(100)
        await asyncio.sleep(5)
        storm.gateway.on_reservations([decision(key) for status, key in storm.told if status == 200])
        await storm.end()
        assert storm.durations.counts == [0, 100, 0]

    run_virtual(main())


def test_commands_that_are_never_decided_do_not_stop_the_measuring_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undecided, "_IDS_MAX", 1_000)

    async def main() -> None:
        storm = Storm()
        storm.post(2_000)
        await asyncio.sleep(1)
        assert len(storm.gateway._undecided) == 1_000
        await asyncio.sleep(2 * 3_600)
        assert len(storm.gateway._undecided) == 0
        await storm.end()

    run_virtual(main())


def test_a_key_that_is_always_waited_for_keeps_nothing_of_those_that_are_gone() -> None:
    async def main() -> None:
        storm = Storm()
        key = next(
            key for key in map(key_of, range(100)) if not storm.gateway._forwarding.lives_elsewhere(partition_of(key.encode(), PARTITIONS))
        )
        for _ in range(20_000):
            storm.gateway.get_reservation(key, Client(storm.told))
            await asyncio.sleep(0.1)
        waiting: Any = storm.gateway._waiting
        assert 90 <= len(waiting) <= 110
        assert len(waiting._by_key[key.encode()]) <= 2 * len(waiting) + 2
        storm.gateway.on_reservations([decision(key.encode())])
        assert sum(status == 200 for status, _ in storm.told) == 20_000 - sum(status == 503 for status, _ in storm.told)
        await storm.end()

    run_virtual(main())
