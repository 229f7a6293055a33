"""Commands gather under load before they are handed over to the log, and none is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from ticketmaster.broker.port import NO_RECORD_HEADERS, Pair, RecordHeaders, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.errors import TicketmasterError
from ticketmaster.simulation.loop import run_virtual
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.table import OwnedTable
from ticketmaster.telemetry.observer import Observer
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits

BODY = b'{"userId":"ann","areaId":"A","numOfSeats":1,"type":"RANDOM"}'


class NotedLog:
    """A log that takes a millisecond, and counts what it is given at once."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        await asyncio.sleep(0.001)
        self.sent.append(sum(map(len, records.values())))
        return {}


class Client:
    """Keeps its answer."""

    status = 0

    def response_bytes(self, status: int, _headers: Sequence[tuple[str, str]], _body: bytes) -> None:
        assert not self.status, "answered twice"
        self.status = status


def sold(interval_max_ms: int, *, per_s: int, seconds: float, drain_ms: int = 5_000) -> tuple[list[int], list[int]]:
    """(records by hand-over, statuses) of so many commands a second, one every 5 ms or more, and of a drain in the end."""

    async def test() -> tuple[list[int], list[int]]:
        log, clients = NotedLog(), list[Client]()
        table = OwnedTable("t", "t", "T", None, None, StreamSettings(), Observer())  # type: ignore[arg-type]  # it is never run
        gateway = Gateway(log, table, Catalog(), 1, SystemClock(), TicketLimits(drain_ms=drain_ms))
        job = asyncio.create_task(gateway.hand_over(Pace(interval_max_ms)))
        for _ in range(int(seconds * 200)):
            for _ in range(per_s // 200):
                clients.append(Client())
                gateway.post_reservation("show", BODY, clients[-1])
            await asyncio.sleep(0.005)
        await gateway.drain()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        return log.sent, [client.status for client in clients]

    return run_virtual(test())


def test_under_load_commands_gather() -> None:
    at_once, statuses = sold(0, per_s=10_000, seconds=1)
    gathered, _ = sold(100, per_s=10_000, seconds=1)

    assert set(statuses) == {200}
    assert sum(gathered) == sum(at_once) == 10_000
    assert len(at_once) > 150
    assert len(gathered) < 40


def test_at_a_trickle_they_do_not() -> None:
    gathered, _ = sold(100, per_s=200, seconds=1)

    assert len(gathered) > 150


@pytest.mark.parametrize("drain_ms", [0, 200, 5_000])
def test_whoever_waits_when_the_gateway_ends_is_answered(drain_ms: int) -> None:
    sent, statuses = sold(1_000, per_s=10_000, seconds=0.5, drain_ms=drain_ms)

    assert set(statuses) <= {200, 503}
    assert statuses.count(200) <= sum(sent)
