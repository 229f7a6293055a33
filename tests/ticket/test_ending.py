"""The end of a gateway, in order or not: everybody who waits gets an answer, whatever the log does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from ticketmaster.broker.port import NO_RECORD_HEADERS, Pair, RecordHeaders, TopicPartition
from ticketmaster.clock import SystemClock
from ticketmaster.errors import TicketmasterError
from ticketmaster.streams.pace import Pace
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Headers

RESERVATION = b'{"userId":"ann","areaId":"A","numOfSeats":1,"type":"RANDOM"}'
EVENT = b'{"eventName":"show","areas":[{"areaId":"A","price":5,"rowCount":1,"colCount":1}]}'
ID = "01890000-0000-7000-8000-000000000000"
DRAIN_MS = 100


class Client:
    """Gets one answer."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        document = json.loads(body)
        assert status < 500 or ("content-type", "application/problem+json") in headers
        self.answers.append((status, document.get("code", "")))


class HeldLog:
    """Never answers, or at once, or by a defect; and a table without anything."""

    def __init__(self, does: str) -> None:
        self.does = does

    async def send(
        self, records: Mapping[TopicPartition, Sequence[Pair]], headers: RecordHeaders = NO_RECORD_HEADERS
    ) -> Mapping[TopicPartition, TicketmasterError]:
        if self.does == "hangs":
            await asyncio.Event().wait()
        if self.does == "breaks":
            raise ZeroDivisionError
        return {}

    def get(self, partition: int, key: bytes) -> None:
        """As a table."""


def gateway_on(log: HeldLog) -> Gateway:
    return Gateway(log, log, Catalog(lambda: True), 1, SystemClock(), TicketLimits(drain_ms=DRAIN_MS))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["drain", "fail"])
@pytest.mark.parametrize("turns", [0, 1, 50])
async def test_everybody_who_waits_for_a_log_that_hangs_gets_503_at_the_end(how: str, turns: int) -> None:
    gateway = gateway_on(HeldLog("hangs"))
    handing_over = asyncio.create_task(gateway.hand_over(Pace(0)))
    buyer, announcer, waiting, peer = (Client() for _ in range(4))
    gateway.post_reservation("show", RESERVATION, buyer)
    gateway.post_event(EVENT, announcer)
    gateway.get_reservation(ID, waiting)
    gateway.get_for_peer(ID.encode(), peer)
    for _ in range(turns):
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await getattr(gateway, how)()

    refused_if_unsent = {(503, "log_unavailable"), (503, "shutting_down")}
    assert len(buyer.answers) == 1
    assert buyer.answers[0] in refused_if_unsent
    assert announcer.answers == [(503, "log_unavailable")]
    assert waiting.answers == peer.answers == [(503, "shutting_down")]
    requests: list[Callable[[Client], None]] = [
        lambda late: gateway.post_reservation("show", RESERVATION, late),
        lambda late: gateway.post_event(EVENT, late),
        lambda late: gateway.get_reservation(ID, late),
        lambda late: gateway.get_for_peer(ID.encode(), late),
    ]
    for request in requests:
        late = Client()
        request(late)
        assert late.answers == [(503, "shutting_down")]
    handing_over.cancel()


@pytest.mark.parametrize("how", ["drain", "fail"])
async def test_an_event_that_is_in_the_log_is_acknowledged_though_its_areas_are_not_seen(how: str) -> None:
    gateway = gateway_on(HeldLog("takes"))
    announcer = Client()
    gateway.post_event(EVENT, announcer)
    for _ in range(10):
        await asyncio.sleep(0)
    assert announcer.answers == []

    async with asyncio.timeout(5):
        await getattr(gateway, how)()

    assert announcer.answers == [(200, "")]


async def test_a_defect_while_an_event_is_announced_is_answered() -> None:
    announcer = Client()
    gateway_on(HeldLog("breaks")).post_event(EVENT, announcer)

    async with asyncio.timeout(5):
        while not announcer.answers:
            await asyncio.sleep(0.01)

    assert announcer.answers == [(500, "internal_error")]
