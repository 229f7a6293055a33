"""A sale that is paused, resumed and cancelled by one gateway is so at every process, on a real Kafka."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from contextlib import AsyncExitStack

from tests.chaos.fleet import READY_S, Fleet
from tests.process.client import Connection, Reply, connected
from ticketmaster.clock import SystemClock

# The kernel deals them out: of so many, each worker of a process has some.
CONNECTIONS = 12
ROUNDS = 5
WITHIN_S = 30.0
WISH = {"userId": "ann", "areaId": "A", "numOfSeats": 1, "type": "RANDOM"}
# Other tests sell on the same topics: an event that is cancelled stays so.
EVENT = {"eventName": "paused", "areas": [{"areaId": "A", "price": 5, "rowCount": 200, "colCount": 200}]}
SEATS = 40_000


def sells(reply: Reply) -> bool:
    return reply.status == 200


def refuses(code: str) -> Callable[[Reply], bool]:
    return lambda reply: reply.status == 409 and reply.json["code"] == code


async def until_told(connection: Connection, is_so: Callable[[Reply], bool], asked: list[str]) -> float:
    """Asks for seats until the answer is the one that is waited for; the moment in which it came. ``asked`` gets the ids."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            reply = await connection.request("POST", "/v1/event/paused/reservation", WISH)
            if reply.status == 200:
                asked.append(reply.body.decode())
            if is_so(reply):
                return SystemClock().monotonic_s()
            await asyncio.sleep(0.005)


async def until_all_is_over(connection: Connection, asked: list[str]) -> None:
    """Every reservation is decided and ended, and all seats are back: other tests audit the same topics."""
    async with asyncio.timeout(READY_S):
        for reservation_id in asked:
            while True:
                reply = await connection.request("GET", f"/v1/reservation/{reservation_id}")
                if reply.status == 200 and reply.json["state"] in ("CANCELLED", "FAILED"):
                    break
                await asyncio.sleep(0.05)
        while (await connection.request("GET", "/v1/event/paused")).json["areas"][0]["availableSeats"] < SEATS:
            await asyncio.sleep(0.05)


async def test_a_pause_a_resumption_and_a_cancellation_reach_every_process_and_worker(fleet: Fleet) -> None:
    gateways = [fleet.start("ticket"), fleet.start("ticket"), fleet.start("ticket", "-a", "2")]
    for program in (*gateways, fleet.start("event"), *(fleet.start("reservation") for _ in range(2))):
        await asyncio.to_thread(program.wait_ready_line, READY_S)
    first, *_ = addresses = fleet.addresses()
    answered_ms, took_ms, asked = list[float](), list[float](), list[str]()
    async with AsyncExitStack() as stack:
        organiser = await stack.enter_async_context(connected(first))
        assert (await organiser.request("POST", "/v1/event", EVENT)).status == 200
        everybody = [await stack.enter_async_context(connected(address)) for address in addresses for _ in range(CONNECTIONS)]
        await asyncio.gather(*(until_told(connection, sells, asked) for connection in everybody))

        async def change(method: str, values: object, is_so: Callable[[Reply], bool]) -> None:
            began_s = SystemClock().monotonic_s()
            assert (await organiser.request(method, "/v1/event/paused", values)).status == 200
            answered_ms.append((SystemClock().monotonic_s() - began_s) * 1000)
            told_s = await asyncio.gather(*(until_told(connection, is_so, asked) for connection in everybody))
            took_ms.append((max(told_s) - began_s) * 1000)

        for _ in range(ROUNDS):
            await change("PATCH", {"status": "PAUSED"}, refuses("sale_paused"))
            await change("PATCH", {"status": "OPEN"}, sells)
        await change("DELETE", None, refuses("event_cancelled"))
        await until_all_is_over(organiser, asked)
    for name, figures_ms in (("answered", answered_ms), ("at every process", took_ms)):
        print(f"{name} after {statistics.median(figures_ms):.0f} ms (median), {max(figures_ms):.0f} ms (longest)")  # noqa: T201
    fleet.stop_all()
    assert fleet.audit()
