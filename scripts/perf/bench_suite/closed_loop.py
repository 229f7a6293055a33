"""The cost of a server over HTTP/1.1 with few clients, each of which asks, waits for the decision, and asks again: as ratios.

To the bulk of the same run, which comes over a few HTTP/2 connections, thousands under way; and to two GETs of the health check on as many
connections, which is what HTTP alone costs there.
"""

from __future__ import annotations

import asyncio
from typing import Final

from scripts.perf.bench_suite.figures import Goal, Kind, Notebook
from scripts.perf.bench_suite.load import HOST, Sale, Say, areas, sell
from scripts.perf.bench_suite.processes import Standalone

# Clients, reservations of a sale at most, and the goals against the bulk and against two health checks.
_LOOPS: Final = ((128, 10_000, Goal(1.6), Goal(2.5)), (32, 4_000, Goal(2.5), None), (8, 2_000, Goal(4.5), Goal(5.0)))
_AREAS: Final = 100
# Pairs of health checks: so many take some ticks of the processes' clocks.
_CHECKS: Final = 4_000
_HEALTH: Final = b"GET /v1/health_check HTTP/1.1\r\nHost: localhost\r\n\r\n"
_LENGTH: Final = b"content-length: "
_TIMEOUT_S: Final = 60.0


def kinds(name: str) -> list[Kind]:
    """The figures of a server."""
    found = []
    for clients, _, bulk, checks in _LOOPS:
        what = f"{name}, {clients} clients over HTTP/1.1"
        found += [
            Kind(f"{what}: CPU per reservation", "µs"),
            Kind(f"{what}: POST to decision, p50", "ms"),
            Kind(f"{what} / bulk: CPU", "×", bulk),
            Kind(f"{what} / two health checks: CPU", "×", checks),
        ]
    return found


def measure(server: Standalone, name: str, bulk_us: float, requests_max: int, notes: Notebook, say: Say) -> None:
    """``bulk_us`` is the cost of a reservation in bulk, in this run."""
    for clients, requests, _, _ in _LOOPS:
        what, count = f"{name}, {clients} clients over HTTP/1.1", min(requests, requests_max)
        say(f"{clients} clients over HTTP/1.1, {count:,} reservations one after the other")
        sale = sell_closed(server, clients, count)
        cpu_us, checks_us = sum(sale.cpu_us.values()), _checks_us(server, clients)
        notes.note(f"{what}: CPU per reservation", cpu_us)
        notes.note(f"{what}: POST to decision, p50", sale.decision_ms("p50"))
        notes.note(f"{what} / bulk: CPU", cpu_us / bulk_us)
        notes.note(f"{what} / two health checks: CPU", cpu_us / checks_us)


def sell_closed(server: Standalone, clients: int, requests: int) -> Sale:
    """A sale to so many clients."""
    return sell(server, "-n", str(requests), "--in-flight", str(clients), *areas(_AREAS), http2=False)


def _checks_us(server: Standalone, connections: int) -> float:
    """The cost of two health checks."""
    before_s = sum(server.cpus_s().values())
    asyncio.run(_check(server.port, connections, 2 * _CHECKS))
    return (sum(server.cpus_s().values()) - before_s) / _CHECKS * 1e6


async def _check(port: int, connections: int, times: int) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        await asyncio.gather(*(_ask(port, times // connections + (at < times % connections)) for at in range(connections)))


async def _ask(port: int, times: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for _ in range(times):
            writer.write(_HEALTH)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            at = head.index(_LENGTH) + len(_LENGTH)
            await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
    finally:
        writer.close()
        await writer.wait_closed()
