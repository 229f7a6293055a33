"""A crowd that goes on buying, paying and cancelling whatever happens."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tests.chaos.fleet import Fleet
from tests.chaos.lives import PLANS
from tests.process.client import Connection, Lost, connected
from tests.process.sale import Sale

# How often a buyer goes to another ticket process after a request.
MOVES = 0.1


class Purchase(NamedTuple):
    """When a buyer began, refusals and lost connections included, and when the decision was seen; in seconds of the monotonic clock."""

    begun_s: float
    seen_s: float


@dataclass
class _Buyer:
    """What a buyer is at."""

    choice: random.Random
    begun_s: float | None = None
    # Of an order that was acknowledged and that is not done with.
    reservation_id: str | None = None
    # What becomes of it, once it is decided.
    plan: str = ""
    # When the last purchase began that came to its decision.
    served_s: float = field(default=0.0)


class Buyers:
    """They buy until told to stop; a lost connection or a refusal is tried again, elsewhere.

    Between two purchases a buyer pauses for up to twice ``pause_s``.
    """

    def __init__(self, sale: Sale, fleet: Fleet, count: int, pause_s: float = 0.0) -> None:
        self.sale = sale
        self.purchases: list[Purchase] = []
        self._fleet = fleet
        self._pause_s = pause_s
        self._buyers = [_Buyer(random.Random(number)) for number in range(count)]
        self._stopping = False

    async def buy(self) -> None:
        """Buys until :meth:`stop`."""
        async with asyncio.TaskGroup() as group:
            for buyer in self._buyers:
                group.create_task(self._buy(buyer))

    def stop(self) -> None:
        """Nobody begins another purchase."""
        self._stopping = True

    @property
    def seen_s(self) -> list[float]:
        """When decisions were seen."""
        return [purchase.seen_s for purchase in self.purchases]

    def unserved(self, since_s: float) -> int:
        """How many buyers have not yet made a purchase that began later than this."""
        return sum(buyer.served_s <= since_s for buyer in self._buyers)

    def silence_s(self, since_s: float, until_s: float) -> float:
        """The longest time without any decision between the two."""
        times = [since_s, *(seen_s for seen_s in self.seen_s if since_s < seen_s < until_s), until_s]
        return max(later - earlier for earlier, later in pairwise(times))

    def wait_s(self, since_s: float, until_s: float) -> float:
        """The longest that one buyer took over a purchase that ended between the two, or has not ended yet."""
        waits = [purchase.seen_s - purchase.begun_s for purchase in self.purchases if since_s < purchase.seen_s < until_s]
        waits += [until_s - buyer.begun_s for buyer in self._buyers if buyer.begun_s is not None]
        return max(waits, default=0.0)

    async def _buy(self, buyer: _Buyer) -> None:
        while not self._stopping or buyer.reservation_id:
            addresses = await asyncio.to_thread(self._fleet.addresses)
            try:
                async with connected(buyer.choice.choice(addresses or ["127.0.0.1:9"])) as connection:
                    while not self._stopping or buyer.reservation_id:
                        await self._once(buyer, connection)
                        if buyer.choice.random() < MOVES:
                            # Ids are minted where the buyer is: who never moved would leave new ticket processes without work.
                            break
            except (Lost, TimeoutError):
                await asyncio.sleep(0.1)

    async def _once(self, buyer: _Buyer, connection: Connection) -> None:
        """Orders, or looks after what was ordered, or does with it what the buyer has in mind."""
        if buyer.reservation_id is None:
            if buyer.begun_s is None:
                buyer.begun_s = time.monotonic()
            buyer.reservation_id = await self.sale.post(connection)
            if buyer.reservation_id is None:
                await asyncio.sleep(0.05)
                return
        if not buyer.plan:
            await self.sale.read_decision(connection, buyer.reservation_id, may_wait=True)
            if buyer.reservation_id not in self.sale.decisions:
                return
            assert buyer.begun_s is not None
            self.purchases.append(Purchase(buyer.begun_s, time.monotonic()))
            buyer.served_s, buyer.begun_s, buyer.plan = buyer.begun_s, None, buyer.choice.choice(PLANS)
        if not await self.sale.go_on(connection, buyer.reservation_id, buyer.plan):
            await asyncio.sleep(0.05)
            return
        buyer.reservation_id, buyer.plan = None, ""
        await asyncio.sleep(buyer.choice.uniform(0, 2 * self._pause_s))
