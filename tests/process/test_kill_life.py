"""kill -9 in the middle of payments, cancellations and holds that end: what was answered stays true, and what is repeated is done once."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.site import announce, seats
from tests.process.server import Server, forget_state, run, serving

# More of them: KILL_ROUNDS=25 KILL_CARTS=500
ROUNDS = int(os.environ.get("KILL_ROUNDS", "4"))
CARTS = int(os.environ.get("KILL_CARTS", "40"))
SEED = int(os.environ.get("KILL_SEED", str(random.randrange(2**32))))
_LOG = logging.getLogger(__name__)
# Two seats for each cart: nobody is refused.
COLS = 50
ROWS = 2 * ROUNDS * CARTS // COLS + 1
# So many requests are under way at once.
GOING_MAX = 50
HOLD_S = 2
# A hold that was open when the process was killed ends this long after it is there again, at the latest.
OVER_S = 60.0
AUDIT_S = 120.0
# Also on a machine whose cores and disk are others'.
READY_S = 120.0
EVENT = "/v1/event/life"


class Cart:
    """What a shop knows of an order, and tries again until it is answered."""

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        # What becomes of it: "pay", "cancel", or "leave".
        self.kind = kind
        self.path = ""
        self.told: dict[str, Any] | None = None

    async def go_on(self, client: httpx.AsyncClient, going: asyncio.Semaphore) -> None:
        """As far as the process lets it."""
        async with going:
            await self._go_on(client)

    async def _go_on(self, client: httpx.AsyncClient) -> None:
        try:
            if not self.path:
                key = {"idempotency-key": f"{SEED}-{self.number}"}
                asked = await client.post(f"{EVENT}/reservation", json=seats(2), headers=key)
                if asked.status_code != 200:
                    return
                self.path = f"/v1/reservation/{asked.text}"
            if self.kind == "pay":
                answer = await client.post(f"{self.path}/payment", json={"reference": f"invoice {self.number}"})
            elif self.kind == "cancel":
                answer = await client.delete(self.path)
            else:
                answer = await client.get(self.path)
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            self.told = answer.json()
        elif answer.status_code == 409:
            # It may have been killed for so long that the hold has ended.
            assert answer.json()["code"] in {"hold_expired", "not_decided"}, answer.text
            self.told = {"state": "CANCELLED"} if answer.json()["code"] == "hold_expired" else None


async def test_what_was_paid_stays_paid_and_all_other_seats_come_back(tmp_path: Path) -> None:
    rng, directory, at_once = random.Random(SEED), tmp_path / "data", asyncio.Semaphore(GOING_MAX)
    _LOG.warning("KILL_SEED=%d", SEED)
    carts: list[Cart] = []
    for number in range(ROUNDS):
        if number and rng.random() < 0.25:
            forget_state(directory)
        server = Server(directory)
        try:
            async with httpx.AsyncClient(base_url=server.wait_ready_line(READY_S)["url"], timeout=20) as client:
                if not number:
                    await announce(client, "life", ROWS, COLS, holdSeconds=HOLD_S)
                carts += [Cart(len(carts) + more, rng.choice(["pay", "pay", "cancel", "leave"])) for more in range(CARTS)]
                going = [asyncio.create_task(cart.go_on(client, at_once)) for cart in carts if not cart.told]
                await asyncio.sleep(rng.uniform(0.02, 0.3))
                server.kill()
                await asyncio.gather(*going)
        finally:
            server.kill()
    with serving(directory) as (_, address):
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as client:
            async with asyncio.timeout(OVER_S):
                while waiting := [cart for cart in carts if not cart.told]:
                    await asyncio.gather(*(cart.go_on(client, at_once) for cart in waiting))
                    await asyncio.sleep(0.05)
            paid = [cart for cart in carts if cart.told and cart.told["state"] == "PAID"]
            async with asyncio.timeout(OVER_S):
                while (await client.get(EVENT)).json()["availableSeats"] != ROWS * COLS - 2 * len(paid):
                    await asyncio.sleep(0.1)
            taken: set[tuple[int, int]] = set()
            for cart in carts:
                found = (await client.get(cart.path)).json()
                assert found["state"] == ("PAID" if cart in paid else "CANCELLED"), (cart.kind, found)
                if cart in paid:
                    assert cart.kind == "pay"
                    assert found == cart.told
                    taken |= {(seat["row"], seat["col"]) for seat in found["seats"]}
            assert paid
            assert len(taken) == 2 * len(paid)
            _LOG.warning("%d orders, %d of them paid, %d over", len(carts), len(paid), len(carts) - len(paid))
            rows = (await client.get(f"{EVENT}/area/A")).json()["rows"]
            assert {(row, col) for row, line in enumerate(rows) for col, seat in enumerate(line) if seat == "#"} == taken
    audited = run("audit", "-d", str(directory), cwd=tmp_path, timeout_s=AUDIT_S)
    assert audited.returncode == 0, audited.stdout
