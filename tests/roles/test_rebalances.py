"""A member that hangs holds a rebalance up: the ticket processes beside it serve what they can, and stay where requests find them."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.chaos.fleet import READY_S, SESSION_S, Fleet
from tests.process.client import ask


class Watch:
    """Asks a ticket process all the time how it is."""

    def __init__(self, address: str) -> None:
        self._address = address
        # Seconds in which it did not serve all its partitions; and what it answered to load balancers.
        self.serves, self.not_serving_s = True, 0.0
        self.ready: set[int] = set()

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            began_s = time.monotonic()
            self.serves = (await ask(self._address, "GET", "/v1/health_check")).status == 200
            self.ready.add((await ask(self._address, "GET", "/v1/health_check/ready")).status)
            await asyncio.sleep(0.05)
            self.not_serving_s += 0.0 if self.serves else time.monotonic() - began_s


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_rebalance_that_a_hanging_member_holds_up_takes_no_other_out_of_the_way_of_requests(fleet: Fleet, workers: int) -> None:
    tickets = [fleet.start("ticket", "-a", str(workers)) for _ in range(2)]
    hanging, leaving = fleet.start("ticket"), fleet.start("ticket", "--lame-duck-ms", "0")
    for program in (*tickets, hanging, leaving):
        program.wait_ready_line(READY_S)
    watches = [Watch(address) for address in fleet.addresses()[:2]]
    watching = [asyncio.create_task(each.watch()) for each in watches]
    await asyncio.sleep(1)

    hanging.send(signal.SIGSTOP)
    # The group deals out the partitions anew, and waits for the one that hangs until its session is over.
    leaving.send(signal.SIGTERM)
    await asyncio.sleep(2 * SESSION_S)
    async with asyncio.timeout(READY_S):
        while not all(each.serves for each in watches):
            await asyncio.sleep(0.1)
    for job in watching:
        assert not job.done(), job
        job.cancel()
    await asyncio.gather(*watching, return_exceptions=True)

    assert min(each.not_serving_s for each in watches) > SESSION_S / 3, "nothing was held up"
    assert [each.ready for each in watches] == [{200}, {200}]
