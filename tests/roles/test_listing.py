"""Lists of reservations at two ticket processes on a real Kafka, of which one is killed: what a list has is all there is, or it is 503."""

from __future__ import annotations

import asyncio

import httpx

from tests.chaos.fleet import READY_S, Fleet
from tests.e2e.site import announce, problem, seats

LIST = "/v1/event/listed/reservation"
RESERVATIONS = 120
# A partition whose process was killed is served again when its session has ended.
AWAY_S = 90.0


async def listed(client: httpx.AsyncClient, **query: str) -> tuple[list[str], bool]:
    """(the ids of all pages, whether every page was answered)."""
    found: list[str] = []
    while True:
        answer = await client.get(LIST, params=query)
        if answer.status_code != 200:
            assert problem(answer) == (503, "not_serving")
            return found, False
        found += [one["reservationId"] for one in answer.json()["reservations"]]
        if answer.json()["next"] is None:
            return found, True
        query["after"] = answer.json()["next"]


async def test_no_process_ever_gives_a_short_list_for_a_whole_one(fleet: Fleet) -> None:
    roles = [fleet.start(role) for role in ("event", "reservation")]
    tickets = [fleet.start("ticket", "--list-reservations") for _ in range(2)]
    for program in (*roles, *tickets):
        await asyncio.to_thread(program.wait_ready_line, READY_S)
    first, second = (httpx.AsyncClient(base_url=f"http://{address}", timeout=20) for address in fleet.addresses())
    async with first, second:
        await announce(first, "listed", rows=50, cols=20)
        users = {"ann": set[str](), "bob": set[str]()}
        for number in range(RESERVATIONS):
            user = ("ann", "bob")[number % 2]
            answer = await (first, second)[number % 3 % 2].post("/v1/event/listed/reservation", json=seats(userId=user))
            users[user].add(answer.text)
        everything = sorted(users["ann"] | users["bob"])
        for one in everything:
            assert (await first.get(f"/v1/reservation/{one}")).status_code == 200
        for client in (first, second):
            assert await listed(client, limit="25") == (everything, True)
            assert await listed(client, limit="25", user="bob", state="RESERVED") == (sorted(users["bob"]), True)
            assert await listed(client, state="PAID") == ([], True)

        fleet.kill("ticket", 1)
        async with asyncio.timeout(AWAY_S):
            refused = 0
            while True:
                found, whole = await listed(first, limit="25")
                if whole:
                    break
                refused += 1
                await asyncio.sleep(0.1)
        assert found == everything
        assert refused
