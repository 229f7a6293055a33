"""The HTTP side of a process, from before it serves until after it has drained or failed: every request gets an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.e2e.site import TIMEOUT_S, client_of, problem, seats
from tests.support.tools import lacking
from tests.ticket.test_ending import DRAIN_MS, EVENT, ID, HeldLog, gateway_on
from ticketmaster.bootstrap.front import Front
from ticketmaster.bootstrap.operations import operations
from ticketmaster.bootstrap.running import Readiness, Work, run_until_stopped
from ticketmaster.clock import SystemClock
from ticketmaster.errors import UsageError
from ticketmaster.streams.pace import Pace
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.listening import is_listening, listeners, stop_listening
from ticketmaster.ticket.peers import Peers
from ticketmaster.ticket.requests import RequestWatch
from ticketmaster.ticket.routes import Routes
from ticketmaster.ticket.settings import ServerSettings
from ticketmaster.urls import host_and_port

BODY_BYTES_MAX = 1_000
REQUESTS = (
    ("GET", "/v1/event"),
    ("GET", "/v1/event/show"),
    ("GET", f"/v1/reservation/{ID}"),
    ("GET", f"/internal/v1/reservation/{ID}"),
    ("GET", "/v1/health_check"),
    ("GET", "/v1/health_check/ready"),
    ("GET", "/docs"),
    ("POST", "/v1/event"),
    ("POST", "/v1/event/show/reservation"),
)


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with Front(ServerSettings(), RequestWatch(SystemClock(), counts=False, logs=False), BODY_BYTES_MAX) as one:
        yield one


async def refusals(client: httpx.AsyncClient) -> set[tuple[int, str]]:
    """What requests of every kind are refused with."""
    replies = [await client.request(method, path, content=EVENT if method == "POST" else b"") for method, path in REQUESTS]
    assert (await client.get("/v1/health_check/live")).status_code == 200
    return {problem(reply) for reply in replies}


async def test_before_it_is_given_anything_to_serve_it_refuses_every_request(front: Front) -> None:
    (listener,) = listeners("127.0.0.1", 0)
    ports = [await front.listen(listener), await front.listen_apart()]
    for port in ports:
        for version in (1, 2):
            async with client_of(f"127.0.0.1:{port}", version) as client:
                assert await refusals(client) == {(503, "not_serving")}


async def test_the_successor_of_a_worker_listens_when_it_serves_and_not_before(front: Front) -> None:
    shared = listeners("127.0.0.1", 0, 2)
    port, ready = shared[0].getsockname()[1], Readiness()
    with shared[0]:
        stop_listening(shared[1])
        listening = asyncio.create_task(front.listen_when(ready, shared[1]))
        await asyncio.sleep(0.1)
        assert not is_listening(shared[1])
        stop_listening(shared[0])

        ready.watch(lambda: True)

        async with client_of(f"127.0.0.1:{port}", 1) as client, asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    assert (await client.get("/v1/health_check/live")).status_code == 200
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.01)
        assert not listening.done()
        listening.cancel()


@pytest.mark.parametrize("log_fails", [False, True])
async def test_at_the_end_requests_are_answered_whatever_hangs_and_both_ports_say_503(front: Front, *, log_fails: bool) -> None:
    (listener,) = listeners("127.0.0.1", 0)
    port = await front.listen(listener)
    (apart,) = listeners("127.0.0.1", 0)
    operators = apart.getsockname()[1]
    apart.close()
    gateway, ready, signals, gone = gateway_on(HeldLog("hangs")), Readiness(), asyncio.Queue[str](), asyncio.Event()
    ready.watch(lambda: True)
    front.serve(Routes(gateway, ready, TicketLimits()), gateway)
    ending, ended = asyncio.Event(), asyncio.Event()

    async def end_slowly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await ended.wait()

    async def log() -> None:
        await gone.wait()
        raise ZeroDivisionError

    async def families() -> list[object]:
        return []

    async with (
        operations(operators, "127.0.0.1", ready, families) as operated,  # type: ignore[arg-type]
        # Told to go away, this client of HTTP/2 gives up what it has asked for.
        client_of(f"127.0.0.1:{port}", 2 if log_fails else 1) as client,
        client_of(f"127.0.0.1:{operators}", 1) as operator,
        asyncio.timeout(TIMEOUT_S),
    ):
        jobs = {"hand-over": gateway.hand_over(Pace(0)), "slow": end_slowly(), "log": log(), "operations": operated(), **front.jobs()}
        running = asyncio.create_task(run_until_stopped(Work(jobs, ready, lambda: None, front.drain, front.fail), signals))
        while (await operator.get("/v1/health_check")).status_code != 200:
            await asyncio.sleep(0.01)
        under_way = [
            asyncio.create_task(client.post("/v1/event", content=EVENT)),
            asyncio.create_task(client.post("/v1/event/show/reservation", json=seats())),
            asyncio.create_task(client.get(f"/v1/reservation/{ID}")),
        ]
        await asyncio.sleep(0.05)
        if log_fails:
            gone.set()
        else:
            signals.put_nowait("SIGTERM")
            await asyncio.sleep(DRAIN_MS / 2_000)
            # It drains: both say so.
            for each in (client, operator):
                assert (await each.get("/v1/health_check")).status_code == 503
        await ending.wait()

        # The jobs are on their way out, and take their time.
        assert {problem(await one)[0] for one in under_way} == {503}
        if log_fails:
            assert await refusals(client) == {(503, "shutting_down")}
        else:
            with pytest.raises(httpx.ConnectError):
                await client.get("/v1/health_check")
        assert (await operator.get("/v1/health_check")).status_code == 503
        ended.set()
        assert await running == (1 if log_fails else 0)


async def test_a_process_that_has_served_gets_requests_through_a_rebalance_and_says_that_it_does_not_serve_all(front: Front) -> None:
    (listener,) = listeners("127.0.0.1", 0)
    port = await front.listen(listener)
    (apart,) = listeners("127.0.0.1", 0)
    operators = apart.getsockname()[1]
    apart.close()
    serves, rebalancing, ready, gateway = False, True, Readiness(), gateway_on(HeldLog("hangs"))
    ready.watch(lambda: serves, lambda: rebalancing)
    front.serve(Routes(gateway, ready, TicketLimits(), ready.is_open), gateway)

    async def families() -> list[object]:
        return []

    async with (
        operations(operators, "127.0.0.1", ready, families, ready.is_open),  # type: ignore[arg-type]
        client_of(f"127.0.0.1:{port}", 1) as client,
        client_of(f"127.0.0.1:{operators}", 1) as operator,
        asyncio.timeout(TIMEOUT_S),
    ):

        async def answers() -> set[tuple[int, int]]:
            """Of both ports, in full health and to be asked."""
            paths = ("/v1/health_check", "/v1/health_check/ready")
            found = [[(await each.get(path)).status_code for path in paths] for each in (client, operator)]
            return {(healthy, is_open) for healthy, is_open in found}

        assert await answers() == {(503, 503)}, "it has never served"
        serves = True
        assert await answers() == {(200, 200)}
        serves = False
        assert await answers() == {(503, 200)}
        rebalancing = False
        assert await answers() == {(503, 503)}, "something else is wrong"
        rebalancing = True
        ready.end()
        assert await answers() == {(503, 503)}, "it ends"


async def test_a_process_is_asked_by_others_at_an_address_of_ipv6() -> None:
    try:
        (listener,) = listeners("::1", 0)
    except UsageError as reason:
        lacking(f"this machine has no IPv6: {reason}")
    answers: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue()
    peers = Peers(lambda key, status, *_: answers.put_nowait((key, status)), lambda key: answers.put_nowait((key, 0)), 1_000)
    async with Front(ServerSettings("::1"), RequestWatch(SystemClock(), counts=False, logs=False), BODY_BYTES_MAX) as front:
        port = await front.listen(listener)
        peers.ask(host_and_port("::1", port), ID.encode())
        assert await asyncio.wait_for(answers.get(), 5) == (ID.encode(), 503)
        peers.close()
