"""Each role is replaced in a running sale, as in a take-over role by role. The registry has the original's schemas alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.fleet import ROLES, Fleet, HealthWatch, wait_serving
from tests.process.client import Lost, connected
from tests.process.sale import Sale
from tests.process.server import run, wait_until
from tests.support.kafka import Cluster
from tests.support.kafka_topics import without_topics
from tests.support.registry import registry_of_tests

# Shown by pytest with --log-cli-level=INFO.
TOOK = logging.getLogger(__name__)
# From the moment at which its group is empty, for the next process of a role to start and to serve.
SERVES_S = 15.0
# Orders never pause, whichever role is away.
ORDER_EVERY_S = 0.05
# Of all that were acknowledged; fewer would be no sale that goes on.
ORDERS_MIN = 30


@pytest.fixture
async def fleet(tmp_path: Path, own_cluster: Cluster) -> AsyncIterator[Fleet]:
    async with without_topics(own_cluster.bootstrap_servers):
        with registry_of_tests(first_id=101) as registry:
            registry.put_original()
            registry.may_register = False
            fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, registry.url)
            try:
                await asyncio.to_thread(fleet.create_topics)
                yield fleet
            finally:
                fleet.kill_all()


async def order(sale: Sale, address: str) -> None:
    try:
        async with connected(address) as connection:
            await sale.post(connection)
    except (Lost, TimeoutError):
        # The ticket process ends, or has ended.
        pass


async def order_steadily(sale: Sale, fleet: Fleet, closed: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        while not closed.is_set():
            for address in await asyncio.to_thread(fleet.addresses):
                group.create_task(order(sale, address))
            await asyncio.sleep(ORDER_EVERY_S)


def wait_empty(fleet: Fleet, role: str) -> None:
    """Until the documented command says that the group of a role has no members."""

    def is_empty() -> bool:
        done = run("topics", "groups", "-c", str(fleet.config), cwd=fleet.folder)
        assert done.returncode in {0, 1}, done.stderr
        return f"{role}-service: no members" in done.stdout

    wait_until(is_empty, f"the group of {role} is empty")


async def serves(fleet: Fleet, sale: Sale) -> None:
    """Returns when every process is well and an order that came after that is decided."""
    health = HealthWatch(fleet)
    while not await health.are_well(*ROLES):
        await asyncio.sleep(0.05)
    (address,) = fleet.serving("ticket")
    async with connected(address) as connection:
        reservation_id = await sale.post(connection)
        assert reservation_id is not None
        while reservation_id not in sale.decisions:
            await sale.read_decision(connection, reservation_id, may_wait=True)


async def test_each_role_that_is_swapped_in_a_running_sale_soon_serves_again(fleet: Fleet) -> None:
    # Successors find nothing of this on their disk, as after another system.
    predecessors = [fleet.start(role, state=fleet.folder / "before" / role) for role in ROLES]
    await asyncio.to_thread(wait_serving, predecessors)
    sale = Sale(17)
    (address,) = fleet.addresses()
    await sale.announce(address, "swapped")
    closed = asyncio.Event()
    ordering = asyncio.create_task(order_steadily(sale, fleet, closed))
    await serves(fleet, sale)

    for role in ROLES:
        await asyncio.to_thread(fleet.stop, role)
        await asyncio.to_thread(wait_empty, fleet, role)
        empty_s = time.monotonic()
        async with asyncio.timeout(SERVES_S):
            fleet.start(role)
            await serves(fleet, sale)
        TOOK.info("%s serves %.1f s after its group was empty, %d orders so far", role, time.monotonic() - empty_s, len(sale.answered))
    closed.set()
    await ordering

    # Every order that was acknowledged is decided, once.
    await sale.check(*fleet.addresses())
    await asyncio.to_thread(fleet.stop_all)
    audited = await asyncio.to_thread(fleet.audit)
    assert audited["totals"]["decisions"] >= len(sale.answered) > ORDERS_MIN
