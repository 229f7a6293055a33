"""Changes and keyed commands that one process passes on to another, over a real connection between real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.e2e.site import client_of, problem, seats
from tests.support.consuming import until
from tests.support.till import HERE, PARTITIONS, Till, reservation
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.domain.reservation import State
from ticketmaster.ticket.forwarding import Post
from ticketmaster.ticket.idempotency import derived_id
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.peers import Peers
from ticketmaster.ticket.routes import Routes
from ticketmaster.ticket.server import HttpServer
from ticketmaster.ticket.settings import ServerSettings

LIMITS = TicketLimits(long_poll_ms=2_000)
PAYMENT = f"/v1/reservation/{HERE.decode()}/payment"
KEY = next(key for key in map(str, range(100)) if partition_of(derived_id(b"show", b"ann", key), PARTITIONS) < 2)


class Served:
    """A process with its HTTP side."""

    def __init__(self, settings: ServerSettings) -> None:
        self.till = Till(LIMITS, self._ask)
        gateway = self.till.gateway
        self._peers = Peers(gateway.on_peer_answer, gateway.on_peer_failure, LIMITS.long_poll_ms + 1_000)
        self._server = HttpServer(Routes(gateway, lambda: True, LIMITS), settings)
        self.address = ""

    def _ask(self, address: str, key: bytes, post: Post | None = None, /) -> None:
        self._peers.ask(address, key, post)

    async def start(self) -> None:
        self.address = f"127.0.0.1:{await self._server.start()}"

    async def stop(self) -> None:
        self._peers.close()
        await self.till.end()
        await self._server.stop()


@pytest.fixture(params=[True, False], ids=["notes", "rsgi"])
async def owner(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """Has partitions 0 and 1."""
    one = Served(ServerSettings(port=0, notes=request.param))
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def other(owner: Served) -> AsyncIterator[Served]:
    """Has none of them."""
    one = Served(ServerSettings(port=0))
    await one.start()
    one.till.own(2, 3, other=owner.address)
    yield one
    await one.stop()


@pytest.fixture(params=[1, 2], ids=["http1", "http2"])
async def client(request: pytest.FixtureRequest, other: Served) -> AsyncIterator[httpx.AsyncClient]:
    """Of the process that does not own what is asked for."""
    async with client_of(other.address, request.param) as one:
        yield one


async def test_any_process_takes_a_payment(owner: Served, other: Served, client: httpx.AsyncClient) -> None:
    owner.till.table[HERE] = reservation(HERE, State.RESERVED)
    asked = asyncio.create_task(client.post(PAYMENT, json={"reference": "invoice 7"}))
    await until(lambda: len(owner.till.changes) == 1, "the owner has appended it")
    owner.till.role()
    paid = await asked

    assert (paid.status_code, paid.headers["content-type"]) == (200, "application/json")
    assert paid.json()["state"] == "PAID"
    assert paid.json()["paymentReference"] == "invoice 7"
    again = asyncio.create_task(client.post(PAYMENT, json={"reference": "invoice 8"}))
    await until(lambda: len(owner.till.changes) == 2, "the owner has appended it")
    owner.till.role()
    assert problem(await again) == (409, "already_paid")
    assert other.till.log == []


async def test_any_process_cancels(owner: Served, client: httpx.AsyncClient) -> None:
    owner.till.table[HERE] = reservation(HERE, State.RESERVED)
    asked = asyncio.create_task(client.delete(f"/v1/reservation/{HERE.decode()}"))
    await until(lambda: len(owner.till.changes) == 1, "the owner has appended it")
    owner.till.role()

    assert (await asked).json()["state"] == "CANCELLED"


async def test_the_owner_knows_that_nothing_is_decided(client: httpx.AsyncClient) -> None:
    assert problem(await client.post(PAYMENT, json={"reference": "invoice 7"})) == (409, "not_decided")


async def test_when_the_owner_ends_its_successor_is_asked_with_the_same_change(
    owner: Served, other: Served, client: httpx.AsyncClient
) -> None:
    owner.till.table[HERE] = reservation(HERE, State.RESERVED)
    asked = asyncio.create_task(client.post(PAYMENT, json={"reference": "invoice 7"}))
    await until(lambda: len(owner.till.changes) == 1, "the owner has appended it")
    await owner.stop()
    other.till.table[HERE] = reservation(HERE, State.RESERVED)
    other.till.own(0, 1, 2, 3)
    await until(lambda: len(other.till.changes) == 1, "the successor has appended it, too")
    assert other.till.changes == owner.till.changes
    other.till.role()

    assert (await asked).json()["state"] == "PAID"


async def test_while_the_owner_is_away_the_client_hears_to_send_it_again(owner: Served, client: httpx.AsyncClient) -> None:
    await owner.stop()
    assert problem(await client.post(PAYMENT, json={"reference": "invoice 7"})) == (503, "change_not_answered")


async def test_any_process_takes_a_keyed_request(owner: Served, other: Served, client: httpx.AsyncClient) -> None:
    path, headers = "/v1/event/show/reservation", {"idempotency-key": KEY}
    first = await client.post(path, json=seats(), headers=headers)
    again = await client.post(path, json=seats(), headers=headers)
    reused = await client.post(path, json=seats(2), headers=headers)

    assert first.text == again.text == derived_id(b"show", b"ann", KEY).decode()
    assert problem(reused) == (422, "idempotency_key_reused")
    assert {key.decode() for _, key, _ in owner.till.log} == {first.text}
    assert other.till.log == []

    await owner.stop()
    alone = await client.post(path, json=seats(), headers=headers)
    assert (alone.status_code, alone.text) == (200, first.text)
    assert [key.decode() for _, key, _ in other.till.log] == [first.text]
