"""The end of roles whose brokers hang: in order and in time, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.chaos.buyers import Buyers
from tests.chaos.fleet import READY_S, Fleet
from tests.process.sale import Sale
from tests.support.kafka import Cluster

BUYERS = 8
DRAIN_MS = 1_000
# On top of the drain: below the ten seconds after which a supervisor kills, and most of what Kubernetes gives to a pod.
END_S = 9.0


@pytest.mark.parametrize("workers", [1, 2])
async def test_roles_end_in_order_and_in_time_while_their_brokers_hang(fleet: Fleet, own_cluster: Cluster, workers: int) -> None:
    programs = [
        fleet.start("ticket", "-a", str(workers), "--drain-ms", str(DRAIN_MS)),
        fleet.start("reservation", "--workers", str(workers)),
        fleet.start("event", "--workers", str(workers)),
    ]
    for program in programs:
        program.wait_ready_line(READY_S)
    sale = Sale(workers, areas=4)
    await sale.announce(fleet.addresses()[0], f"hanging-{time.time_ns()}")
    buyers = Buyers(sale, fleet, BUYERS)
    buying = asyncio.create_task(buyers.buy())
    await asyncio.sleep(2)

    await asyncio.to_thread(own_cluster.suspend, 1)
    try:
        # Transactions are under way, and stay so.
        await asyncio.sleep(0.5)
        buyers.stop()
        asked_s = time.monotonic()
        for program in programs:
            program.send(signal.SIGTERM)
        ends = [(await asyncio.to_thread(program.wait, 60), time.monotonic() - asked_s) for program in programs]
    finally:
        await asyncio.to_thread(own_cluster.resume, 1)
    said = [line for name in ("ended_by_force", "workers_killed", "not_ended_in_time", "failed") for line in fleet.logged(name)]
    assert ([code for code, _ in ends], said) == ([0, 0, 0], [])
    assert max(took_s for _, took_s in ends) < DRAIN_MS / 1_000 + END_S, ends

    fleet.kill_all()
    fleet.start_all()
    async with asyncio.timeout(READY_S):
        # They ask until each id is decided.
        await buying
    await sale.check(*fleet.addresses())
    await asyncio.to_thread(fleet.stop_all)
    await asyncio.to_thread(fleet.audit)
