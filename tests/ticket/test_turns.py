"""However many wait at the gateway, others get their turns while all of them are answered, or looked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import pytest

from ticketmaster.broker.port import NO_RECORD_HEADERS, Assignment, Pair, RecordHeaders, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Retriable, TicketmasterError
from ticketmaster.streams.pace import Pace
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Headers
from ticketmaster.wire import avro

MANY = 10_000
AT_ONCE_MAX = 1_000
KEYS = [f"01890000-0000-7000-8000-{number:012d}" for number in range(MANY)]
BODY = b'{"userId":"ann","areaId":"A","numOfSeats":1,"type":"RANDOM"}'


def reservation(key: str) -> bytes:
    """A decision."""
    fields = {"reservationId": key, "userId": "ann", "eventId": "show", "areaId": "A", "numOfSeats": 1, "numOfSeat": 1}
    return avro.encode("Reservation", {**fields, "type": "RANDOM", "seats": [], "state": "RESERVED", "failedReason": ""})


class Site:
    """A gateway on a table and a log that do what the test says."""

    def __init__(self, long_poll_ms: int = 60_000) -> None:
        self.statuses: list[int] = []
        self.asked: list[bytes] = []
        self.decided: dict[bytes, bytes] = {}
        self.failure: TicketmasterError | None = None
        limits = TicketLimits(long_poll_ms=long_poll_ms, drain_ms=0)
        self.gateway = Gateway(self, self, Catalog(lambda: True), 1, SystemClock(), limits, lambda _, key: self.asked.append(key))  # type: ignore[arg-type]

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """As everybody's responder."""
        self.statuses.append(status)

    def get(self, partition: int, key: bytes) -> bytes | None:
        """As a table."""
        return self.decided.get(key)

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        """As a log."""
        return dict.fromkeys(records, self.failure) if self.failure else {}

    def wait(self, keys: Sequence[str] = KEYS) -> None:
        for key in keys:
            self.gateway.get_reservation(key, self)


async def in_turns_of(count: Callable[[], int], *jobs: asyncio.Task[None]) -> None:
    """Until ``count`` is that of all; it rises in steps that are bounded."""
    seen = [count()]
    while seen[-1] < MANY:
        await asyncio.sleep(0)
        seen.append(count())
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    assert max(after - before for before, after in pairwise(seen)) <= AT_ONCE_MAX


async def test_when_they_time_out() -> None:
    site = Site(long_poll_ms=0)
    site.wait()
    await in_turns_of(lambda: len(site.statuses), asyncio.create_task(site.gateway.sweep()))
    assert set(site.statuses) == {503}


@pytest.mark.parametrize("end", [Gateway.drain, Gateway.fail])
async def test_when_the_process_ends(end: Callable[[Gateway], object]) -> None:
    site = Site()
    site.wait()
    await in_turns_of(lambda: len(site.statuses), asyncio.create_task(end(site.gateway)))  # type: ignore[arg-type]
    assert set(site.statuses) == {503}


async def test_when_a_reservation_is_decided_that_all_of_them_wait_for() -> None:
    site = Site()
    site.wait([KEYS[0]] * MANY)
    site.gateway.on_reservations([(KEYS[0].encode(), reservation(KEYS[0]))])
    await in_turns_of(lambda: len(site.statuses))
    assert set(site.statuses) == {200}


async def test_when_a_table_is_opened_that_has_the_decisions_of_all() -> None:
    site = Site()
    site.wait()
    site.decided = {key.encode(): reservation(key) for key in KEYS}
    site.gateway.on_table_opened()
    await in_turns_of(lambda: len(site.statuses))
    assert set(site.statuses) == {200}


async def test_when_another_process_is_asked_for_all() -> None:
    site = Site()
    site.wait()
    site.gateway.on_assigned(Assignment([], 1, {0: "other:1"}))
    await in_turns_of(lambda: len(site.asked))
    for key in KEYS:
        site.gateway.on_peer_failure(key.encode())
    site.asked.clear()
    await in_turns_of(lambda: len(site.asked), asyncio.create_task(site.gateway.sweep()))


@pytest.mark.parametrize("failure", [None, Retriable("the log is away")])
async def test_when_the_log_has_or_has_not_taken_their_commands(failure: TicketmasterError | None) -> None:
    site = Site()
    site.failure = failure
    for _ in KEYS:
        site.gateway.post_reservation("show", BODY, site)
    await in_turns_of(lambda: len(site.statuses), asyncio.create_task(site.gateway.hand_over(Pace(0))))
    assert set(site.statuses) == {503 if failure else 200}


async def test_commands_that_the_log_has_are_acknowledged_also_when_the_process_ends_meanwhile() -> None:
    site = Site()
    for _ in KEYS:
        site.gateway.post_reservation("show", BODY, site)
    job = asyncio.create_task(site.gateway.hand_over(Pace(0)))
    while not site.statuses:
        await asyncio.sleep(0)
    assert len(site.statuses) < MANY
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    assert site.statuses == [200] * MANY
