"""The limit per user over two gateways, and over HTTP."""

from __future__ import annotations

import asyncio
import json

import httpx

from tests.e2e.site import PARTITIONS, TIMEOUT_S, announce, client_of, problem, seats, site
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.clock import SystemClock
from ticketmaster.streams.jobs import cancel
from ticketmaster.streams.pace import Pace
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Headers
from ticketmaster.wire.binary import encode_string
from ticketmaster.wire.user_seats import user_key

EVENT = "/v1/event/concert"
RESERVATION = f"{EVENT}/reservation"
HOME = partition_of(user_key(encode_string("concert"), b"ann"), PARTITIONS)


class Told:
    """Keeps the ids it is told."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def response_bytes(self, status: int, _headers: Headers, body: bytes) -> None:
        assert status == 200, body
        self.ids.append(body.decode())


async def decided(client: httpx.AsyncClient, reservation_id: str) -> tuple[str, str, int]:
    """State, reason and seats."""
    document = (await client.get(f"/v1/reservation/{reservation_id}")).json()
    return document["state"], document["failedReason"].partition(":")[0], len(document["seats"])


async def test_a_thousand_requests_of_one_user_over_two_gateways_get_what_the_event_allows() -> None:
    async with site() as one, client_of(one.address, 2) as client:
        await announce(client, rows=20, cols=20, seatsPerUserMax=7)
        other = Gateway(one._broker.producer(), one._reservations, one.gateway.catalog, PARTITIONS, SystemClock(), TicketLimits())
        job, told = asyncio.create_task(other.hand_over(Pace(0))), Told()
        try:
            for number in range(1_000):
                body = json.dumps(seats(1 + number % 2)).encode()
                (one.gateway, other)[number % 2].post_reservation("concert", body, told)
            async with asyncio.timeout(TIMEOUT_S):
                while len(told.ids) < 1_000:
                    await asyncio.sleep(0.01)
        finally:
            await cancel(job)
        found = await asyncio.gather(*(decided(client, one_id) for one_id in told.ids))

        assert {partition_of(one_id.encode(), PARTITIONS) for one_id in told.ids} == {HOME}
        assert sum(count for state, _, count in found if state == "RESERVED") == 7
        assert {(state, reason) for state, reason, _ in found} == {("RESERVED", ""), ("FAILED", "[USER_LIMIT]")}
        assert (await client.get(EVENT)).json()["availableSeats"] == 393


async def test_the_limit_counts_what_is_held_and_paid_and_is_freed_by_cancellation(client: httpx.AsyncClient) -> None:
    await announce(client, seatsPerUserMax=3, holdSeconds=60)

    async def reserve(count: int, user: str = "ann", key: str = "") -> tuple[str, str]:
        headers = {"idempotency-key": key} if key else {}
        asked = await client.post(RESERVATION, json=seats(count, userId=user), headers=headers)
        assert asked.status_code == 200, asked.text
        state, reason, _ = await decided(client, asked.text)
        return asked.text, reason or state

    paid, _ = await reserve(2)
    assert (await client.post(f"/v1/reservation/{paid}/payment", json={"reference": "r"})).json()["state"] == "PAID"
    held, state = await reserve(1, key="k1")
    assert state == "RESERVED"
    assert partition_of(held.encode(), PARTITIONS) == HOME
    assert (await reserve(1, key="k1")) == (held, "RESERVED")
    assert (await reserve(1))[1] == "[USER_LIMIT]"
    assert (await reserve(1, user="bob"))[1] == "RESERVED"

    await client.delete(f"/v1/reservation/{held}")
    assert (await reserve(1))[1] == "RESERVED"
    raised = await client.patch(EVENT, json={"seatsPerUserMax": 4})
    assert raised.json()["seatsPerUserMax"] == 4

    async def has_another() -> bool:
        _, reason = await reserve(1)
        assert reason in {"RESERVED", "[USER_LIMIT]", "[RULES_UNKNOWN]"}
        return reason == "RESERVED"

    async with asyncio.timeout(TIMEOUT_S):
        while not await has_another():
            await asyncio.sleep(0.01)
    assert (await reserve(1))[1] == "[USER_LIMIT]"


async def test_a_limit_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    for limit in (0, 1_001):
        event = {"eventName": "concert", "seatsPerUserMax": limit}
        assert problem(await client.post("/v1/event", json=event)) == (400, "invalid_limit_per_user")
