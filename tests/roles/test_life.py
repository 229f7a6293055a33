"""Payments, extensions, cancellations and keyed requests at several processes of each role, on a real Kafka."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import Any

import httpx

from tests.chaos.fleet import Fleet
from tests.e2e.site import announce, problem, seats

MANY = 60
# A partition whose process was killed is back when its session has ended.
AWAY_S = 60.0


async def until_answered(clients: list[httpx.AsyncClient], path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    """As a shop does it: repeats a request, at whatever process, until it is done or refused."""
    async with asyncio.timeout(AWAY_S):
        for client in cycle(clients):
            try:
                answer = await client.post(path, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code not in {429, 503} and not (answer.status_code == 409 and answer.json()["code"] == "not_decided"):
                return answer
            await asyncio.sleep(0.1)
    raise AssertionError(path)


async def test_any_process_changes_any_reservation_and_none_is_changed_twice(fleet: Fleet) -> None:
    await asyncio.to_thread(fleet.start_all, 2)
    first, second = (httpx.AsyncClient(base_url=f"http://{address}", timeout=20) for address in fleet.addresses())
    async with first, second:
        await announce(first, "life", rows=50, cols=20, holdSeconds=300, holdSecondsMax=600)
        for client in (first, second):
            assert (await client.get("/v1/event/life")).json()["holdSeconds"] == 300
        keys = [f"order-{number}" for number in range(MANY)]
        ids = [
            (await client.post("/v1/event/life/reservation", json=seats(), headers={"idempotency-key": key})).text
            for key, client in zip(keys, cycle((first, second)), strict=False)
        ]
        # Each again, at the other process.
        for key, found, client in zip(keys, ids, cycle((second, first)), strict=False):
            assert (await client.post("/v1/event/life/reservation", json=seats(), headers={"idempotency-key": key})).text == found
            reused = await client.post("/v1/event/life/reservation", json=seats(2), headers={"idempotency-key": key})
            assert problem(reused) == (422, "idempotency_key_reused")
        for found, client in zip(ids, cycle((second, first)), strict=False):
            path = f"/v1/reservation/{found}"
            assert (await client.post(f"{path}/extension", json={"seconds": 400})).json()["state"] == "RESERVED"
            assert (await client.post(f"{path}/payment", json={"reference": found})).json()["paymentReference"] == found
        cancelled = [await client.delete(f"/v1/reservation/{found}?refund=true") for found, client in zip(ids[:10], cycle((first, second)))]
        assert {answer.json()["state"] for answer in cancelled} == {"CANCELLED"}
        # Both at once, at both processes.
        path = f"/v1/reservation/{ids[-1]}"
        answers = await asyncio.gather(*(client.post(f"{path}/payment", json={"reference": "x"}) for client in (first, second)))
        assert [problem(answer) for answer in answers] == [(409, "already_paid")] * 2


async def test_a_killed_process_loses_no_payment(fleet: Fleet) -> None:
    await asyncio.to_thread(fleet.start_all, 2)
    clients = [httpx.AsyncClient(base_url=f"http://{address}", timeout=20) for address in fleet.addresses()]
    async with clients[0], clients[1]:
        await announce(clients[0], "killing", rows=50, cols=20, holdSeconds=300)

        async def buy(number: int) -> dict[str, Any]:
            key = {"idempotency-key": f"order-{number}"}
            mine = clients[number % 2 :] + clients[: number % 2]
            asked = await until_answered(mine, "/v1/event/killing/reservation", seats(), **key)
            paid = await until_answered(mine, f"/v1/reservation/{asked.text}/payment", {"reference": f"invoice {number}"})
            found: dict[str, Any] = paid.json()
            return found

        buying = [asyncio.create_task(buy(number)) for number in range(MANY)]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(fleet.kill, "ticket", 1)
        bought = await asyncio.gather(*buying)

        assert [one.get("state", one) for one in bought] == ["PAID"] * MANY
        assert [one["paymentReference"] for one in bought] == [f"invoice {number}" for number in range(MANY)]
        taken = [(seat["row"], seat["col"]) for one in bought for seat in one["seats"]]
        assert len(set(taken)) == len(taken) == MANY
        assert (await clients[0].get("/v1/event/killing")).json()["availableSeats"] == 1_000 - MANY
