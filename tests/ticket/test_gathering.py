"""Commands gather under load before they are handed over to the log, and none is left behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from ticketmaster.broker.port import NO_RECORD_HEADERS, Pair, RecordHeaders, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.errors import Retriable, TicketmasterError
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
        gateway = Gateway(log, table, Catalog(lambda: True), 1, SystemClock(), TicketLimits(drain_ms=drain_ms))
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


def test_a_partition_that_takes_no_commands_gets_no_new_ones_for_a_while() -> None:
    sick, counts = [True], list[Counter[int]]()

    class Sick(NotedLog):
        async def send(
            self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
        ) -> Mapping[TopicPartition, TicketmasterError]:
            counts[-1].update({source.partition: len(pairs) for source, pairs in records.items()})
            await super().send(records, headers)
            return {source: Retriable("no leader") for source in records if source.partition == 2 and sick[0]}

    async def test() -> None:
        table = OwnedTable("t", "t", "T", None, None, StreamSettings(), Observer())  # type: ignore[arg-type]  # it is never run
        gateway = Gateway(Sick(), table, Catalog(lambda: True), 4, SystemClock(), TicketLimits())
        job = asyncio.create_task(gateway.hand_over(Pace(0)))

        async def taken() -> Counter[int]:
            counts.append(Counter())
            for _ in range(200):
                gateway.post_reservation("show", BODY, Client())
            await asyncio.sleep(0.1)
            return counts[-1]

        assert (await taken())[2] > 0
        assert (await taken()).keys() == {0, 1, 3}
        await asyncio.sleep(6)
        # It is tried again, and is sick still.
        assert (await taken())[2] > 0
        assert (await taken()).keys() == {0, 1, 3}
        sick[0] = False
        await asyncio.sleep(6)
        for _ in range(2):
            assert (await taken()).keys() == {0, 1, 2, 3}
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    run_virtual(test())
