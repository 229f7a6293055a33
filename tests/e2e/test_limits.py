"""What a process takes on at most, when it says that it serves, and what it answers when the log is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from tests.e2e.site import TIMEOUT_S, Site, announce, client_of, problem, seats, site
from tests.support.records import area_status
from ticketmaster.errors import Fatal
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.settings import ServerSettings

RESERVATION = "/v1/event/concert/reservation"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.005)


def poll(client: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    """Waits for an id that nobody knows."""
    return asyncio.create_task(client.get(f"/v1/reservation/{uuid4()}"))


def ask(client: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(client.post(RESERVATION, json=seats()))


async def test_one_long_poll_too_many_is_429(settings: ServerSettings) -> None:
    limits = TicketLimits(waiting_requests_max=2, long_poll_ms=500)
    async with site(limits, settings) as one, client_of(one.address, 1) as client:
        await announce(client)
        asked = await client.post(RESERVATION, json=seats())
        decided = await client.get(f"/v1/reservation/{asked.text}")
        waiting = [poll(client), poll(client)]
        await until(lambda: len(one.gateway._waiting) == 2)

        refused = await poll(client)
        assert problem(refused) == (429, "too_many_waiting")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get(f"/v1/reservation/{asked.text}")).json() == decided.json()
        assert [problem(await one_poll) for one_poll in waiting] == [(503, "not_decided")] * 2

        again = poll(client)
        await until(lambda: len(one.gateway._waiting) == 1)
        assert problem(await again) == (503, "not_decided")


async def test_one_command_too_many_is_429_until_the_log_has_the_others(settings: ServerSettings) -> None:
    async with site(TicketLimits(commands_in_flight_max=3), settings) as one, client_of(one.address, 1) as client:
        await announce(client)
        one.storage.gate.clear()
        taken = [ask(client), ask(client)]
        await until(lambda: one.gateway.commands_in_flight == 2)
        taken.append(asyncio.create_task(client.post("/v1/event", json={"eventName": "third"})))
        await until(lambda: one.gateway.commands_in_flight == 3)

        refused = await ask(client)
        assert problem(refused) == (429, "too_many_commands")
        assert refused.headers["retry-after"] == "1"
        assert problem(await client.post("/v1/event", json={"eventName": "fourth"})) == (429, "too_many_commands")
        assert (await client.get("/v1/event/concert")).status_code == 200

        one.storage.gate.set()
        assert [(await request).status_code for request in taken] == [200] * 3
        assert (await ask(client)).status_code == 200


async def test_polls_and_commands_together_are_limited_by_the_most_requests_in_flight(settings: ServerSettings) -> None:
    limits = TicketLimits(requests_in_flight_max=2, long_poll_ms=600)
    async with site(limits, settings) as one, client_of(one.address, 1) as client:
        await announce(client)
        one.storage.gate.clear()
        waiting, asking = poll(client), ask(client)
        await until(lambda: len(one.gateway._waiting) + one.gateway.commands_in_flight == 2)

        assert problem(await poll(client)) == (429, "too_many_requests")
        assert problem(await ask(client)) == (429, "too_many_requests")
        assert problem(await client.post("/v1/event", json={"eventName": "more"})) == (429, "too_many_requests")
        assert (await client.get("/v1/health_check")).status_code == 200

        one.storage.gate.set()
        assert (await asking).status_code == 200
        assert problem(await waiting) == (503, "not_decided")


@pytest.mark.parametrize("version", [1, 2], ids=["http1", "http2"])
async def test_health_is_200_only_while_every_part_serves(settings: ServerSettings, version: int) -> None:
    one = Site(TicketLimits(drain_ms=50), settings)
    try:
        await one.listen()
        async with client_of(one.address, version) as client:
            starting = await client.get("/v1/health_check")
            await one.work()
            serving = await client.get("/v1/health_check")
            waiting = poll(client)
            await until(lambda: len(one.gateway._waiting) == 1)
            await one.gateway.drain()
            stopping = await client.get("/v1/health_check")
            refused = [await waiting, await poll(client), await ask(client)]
    finally:
        await one.close()
    assert problem(starting) == problem(stopping) == (503, "not_serving")
    assert (serving.status_code, serving.content, serving.headers["cache-control"]) == (200, b"", "no-store")
    assert [problem(response) for response in refused] == [(503, "shutting_down")] * 3


async def test_what_a_process_has_not_read_yet_is_503_not_404(settings: ServerSettings) -> None:
    one = Site(TicketLimits(), settings, lists=True)
    event = "/v1/event/nowhere"

    async def answers(client: httpx.AsyncClient) -> list[httpx.Response]:
        looks = [await client.get(path) for path in (event, f"{event}/area/A", f"{event}/reservation")]
        return [*looks, await client.patch(event, json={"status": "PAUSED"}), await client.delete(event)]

    try:
        await one.listen()
        async with client_of(one.address, 1) as client:
            # Of this one there may be more: other areas, a newer status, rules.
            one.gateway.on_areas([(b"here#A", area_status(1, 1, event="here"))])
            halves = [await client.get(path) for path in ("/v1/event/here", "/v1/event/here/area/A")]
            # An id that was made without an event's rules could be one by which a reservation fails.
            keyed = {"idempotency-key": "a-key"}
            orders = [await client.post(f"{event}/reservation", json=seats(), headers=headers) for headers in ({}, keyed)]
            starting = [*await answers(client), *halves, *orders, await client.get("/v1/event")]
            await one.work()
            serving = await answers(client)
            events = await client.get("/v1/event")
    finally:
        await one.close()
    assert [problem(response) for response in starting] == [(503, "not_serving")] * 10
    assert {response.headers["retry-after"] for response in starting} == {"1"}
    codes = ["no_such_event", "no_such_area", "no_such_event", "no_such_event", "no_such_event"]
    assert [problem(response) for response in serving] == [(404, code) for code in codes]
    assert [event["eventName"] for event in events.json()["events"]] == ["here"]


async def test_a_command_that_the_log_can_not_take_is_503(settings: ServerSettings) -> None:
    one = Site(TicketLimits(), settings)
    await one.listen()
    await one.work()
    async with client_of(one.address, 1) as client:
        await announce(client)
        one.storage.failure = Fatal("the disk is full")
        command = await ask(client)
        event = await client.post("/v1/event", json={"eventName": "next"})
        known = await client.get("/v1/event/concert")
    with pytest.raises(Fatal, match="the disk is full"):
        await one.close()
    assert problem(command) == problem(event) == (503, "log_unavailable")
    assert known.status_code == 200
