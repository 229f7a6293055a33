"""Processes behind the real nginx and HAProxy: connections that are kept, a process that is away, and ends without one 502."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from tests.process.server import Server, serving, wait_until
from tests.support.fronts import haproxy, nginx

FRONTS: Final[dict[str, Callable[..., AbstractContextManager[str]]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "haproxy-h2": partial(haproxy, http2=True),
}
EVENT: Final = {"eventName": "concert", "areas": [{"areaId": "A", "price": 5, "rowCount": 300, "colCount": 300}]}
ASK: Final = {"userId": "ann", "areaId": "A", "numOfSeats": 1, "type": "RANDOM"}
CLIENTS: Final = 4
DRAIN: Final = ("--drain-ms", "1000")


async def sell(address: str, ends: asyncio.Event, seen: Counter[int]) -> None:
    """Posts over one connection, as a client of the proxy, until it is told to end."""
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=15, trust_env=False) as client:
        while not ends.is_set():
            response = await client.post("/v1/event/concert/reservation", json=ASK)
            seen[response.status_code] += 1
            await asyncio.sleep(0.002)


def announce(*addresses: str) -> None:
    for address in addresses:
        assert httpx.post(f"http://{address}/v1/event", json=EVENT, trust_env=False).status_code == 200


@contextmanager
def fronts(folder: Path, *behind: str) -> Iterator[dict[str, str]]:
    """The address of each."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(front(folder / name, *behind)) for name, front in FRONTS.items()}


async def test_a_process_that_ends_and_comes_back_under_load_costs_no_request(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server, address = stack.enter_context(serving(tmp_path / "one", *DRAIN))
        _, other = stack.enter_context(serving(tmp_path / "two", *DRAIN))
        announce(address, other)
        through = stack.enter_context(fronts(tmp_path, address, other))
        ends, seen = asyncio.Event(), {name: Counter[int]() for name in FRONTS}
        load = [asyncio.create_task(sell(through[name], ends, seen[name])) for name in FRONTS for _ in range(CLIENTS)]
        await asyncio.sleep(0.5)
        server.send(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0
        again = ("-p", address.rpartition(":")[2], *DRAIN)
        await asyncio.to_thread(lambda: stack.enter_context(serving(tmp_path / "one", *again)))
        await asyncio.sleep(0.5)
        ends.set()
        await asyncio.gather(*load)
    assert {name: set(statuses) for name, statuses in seen.items()} == {name: {200} for name in FRONTS}
    assert min(statuses[200] for statuses in seen.values()) > 30


def test_a_kept_connection_is_used_again_after_an_idle_time_and_one_that_was_closed_is_not(tmp_path: Path) -> None:
    def ports_of(server: Server) -> list[str]:
        """Of all that have posted, in the order of the fronts, again and again."""
        return [line["client.address"] for line in server.lines() if line.get("url.path", "").endswith("/reservation")]

    pauses_s = (0.0, 0.5, 4.2)
    with serving(tmp_path / "one", "--idle-seconds", "2", "-r") as (server, address):
        announce(address)
        with fronts(tmp_path, address) as through, httpx.Client(trust_env=False) as client:
            for pause_s in pauses_s:
                time.sleep(pause_s)
                for front in through.values():
                    assert client.post(f"http://{front}/v1/event/concert/reservation", json=ASK).status_code == 200
        wait_until(lambda: len(ports_of(server)) == len(pauses_s) * len(FRONTS), "requests are logged")
        ports = ports_of(server)
    first, second, third = (ports[turn * len(FRONTS) :][: len(FRONTS)] for turn in range(len(pauses_s)))
    assert first == second
    # Of HTTP/2 the server can't tell an idle connection from one with a long poll, but by how long a poll may take.
    assert [before != after for before, after in zip(second, third, strict=True)] == [True, True, False]


def test_a_process_that_is_away_costs_no_request(tmp_path: Path) -> None:
    with serving(tmp_path / "one") as (_, address):
        announce(address)
        with fronts(tmp_path, "127.0.0.1:1", address) as through, httpx.Client(trust_env=False) as client:
            for front in [*through.values()] * 5:
                assert client.post(f"http://{front}/v1/event/concert/reservation", json=ASK).status_code == 200
