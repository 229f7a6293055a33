"""A sale whose people pay, cancel, and let their holds end; what was told of each reservation may only go on as the rules have it."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from typing import Any

from tests.process.client import Connection, Reply, connected
from tests.process.sale import CHECKERS, Area, Sale

HOLD_S = 4
# Everything is over by then: holds, restorations, and the queue of what they bring.
SETTLED_S = 90.0
PAID, CANCELLED, RESERVED = "PAID", "CANCELLED", "RESERVED"
# What people do with what they have got: as often as it stands here.
PLANS = ("pay", "pay", "pay", "cancel", "leave", "leave")
_EXPIRED, _ON_REQUEST = "[HOLD_EXPIRED]", "[CANCELLED]"


class LivedSale(Sale):
    """Of three events, one has no holds."""

    def __init__(self, seed: int, *, areas: int = 6, rows: int = 30, cols: int = 40) -> None:
        super().__init__(seed, areas=areas, rows=rows, cols=cols)
        # What was asked for, answered or not.
        self.asked: dict[str, set[str]] = {}

    @staticmethod
    def has_holds(event: str) -> bool:
        """Whether its reservations end by themselves: the same for the same name."""
        return zlib.crc32(event.encode()) % 3 > 0

    def event_body(self, event: str) -> dict[str, Any]:
        return super().event_body(event) | ({"holdSeconds": HOLD_S} if self.has_holds(event) else {})

    def note(self, reservation_id: str, reply: Reply) -> None:
        found, known = reply.json, self.decisions.get(reservation_id)
        asked, plans = self.answered[reservation_id], self.asked.get(reservation_id, set())
        assert found["reservationId"] == reservation_id
        state, reason = found["state"], found["failedReason"]
        assert {name: found[name] for name in asked if name != "seats"} == {name: asked[name] for name in asked if name != "seats"}
        if state in {RESERVED, PAID}:
            assert len(found["seats"]) == asked["numOfSeats"]
            assert "seats" not in asked or found["seats"] == asked["seats"]
        before = Reply(200, {}, known).json if known else None
        if before:
            # Only what is reserved may become something else, and with the same seats.
            may_move = before["state"] == RESERVED != state and found["seats"] == before["seats"]
            assert may_move or reply.body == known, f"{reservation_id} has changed"
        if state == PAID:
            assert "pay" in plans, f"{reservation_id} is paid, and nobody has paid"
        elif state == CANCELLED and reason.startswith(_ON_REQUEST):
            assert "cancel" in plans, f"{reservation_id} is cancelled, and nobody has asked for that"
        elif state == CANCELLED:
            assert reason.startswith(_EXPIRED), found
            assert self.has_holds(asked["eventId"]), f"{reservation_id} has no hold, and it has ended"
        self.decisions[reservation_id] = reply.body

    def state(self, reservation_id: str) -> str:
        """As it was told last."""
        found: str = Reply(200, {}, self.decisions[reservation_id]).json["state"]
        return found

    async def go_on(self, connection: Connection, reservation_id: str, plan: str) -> bool:
        """Does what somebody has in mind with a decided reservation; False: nobody could tell, so it is to be tried again."""
        if plan == "leave" or self.state(reservation_id) != RESERVED:
            return True
        self.asked.setdefault(reservation_id, set()).add(plan)
        path = f"/v1/reservation/{reservation_id}"
        if plan == "pay":
            reply = await connection.request("POST", f"{path}/payment", {"reference": f"of {reservation_id}"})
        else:
            reply = await connection.request("DELETE", path)
        if reply.status == 200:
            self.note(reservation_id, reply)
            assert self.state(reservation_id) == (PAID if plan == "pay" else CANCELLED), reply
            return True
        if reply.status == 503:
            self._note_refusal(reply)
            return False
        assert reply.status == 409, reply
        code = reply.json["code"]
        assert code in {"hold_expired", "not_decided"}, reply
        return bool(code == "hold_expired")

    async def settle(self, address: str) -> None:
        """Until each reservation is what it stays."""
        async with asyncio.timeout(SETTLED_S), asyncio.TaskGroup() as group:
            open_ones = [one for one in self.answered if one not in self.decisions or self._ends(one)]
            for number in range(CHECKERS):
                group.create_task(self._settle(address, open_ones[number::CHECKERS]))

    def _ends(self, reservation_id: str) -> bool:
        return self.state(reservation_id) == RESERVED and self.has_holds(self.answered[reservation_id]["eventId"])

    async def _settle(self, address: str, ids: list[str]) -> None:
        async with connected(address) as connection:
            for reservation_id in ids:
                await self.read_decision(connection, reservation_id)
                while self._ends(reservation_id):
                    await asyncio.sleep(0.2)
                    await self.read_decision(connection, reservation_id)

    def is_live(self, body: bytes) -> bool:
        return Reply(200, {}, body).json["state"] in {RESERVED, PAID}

    async def _check_map(self, connection: Connection, area: Area, free: int, sold: set[tuple[int, int]]) -> None:
        if not self.has_holds(area[0]):
            await super()._check_map(connection, area, free, sold)
            return
        # Also what nobody got an answer about has ended; the seats come back a moment later.
        async with asyncio.timeout(SETTLED_S):
            while (taken := await self._taken(connection, area)) != sold:
                assert sold <= taken, f"{area}: seats that were paid are free: {sorted(sold - taken)}"
                await asyncio.sleep(0.2)

    def told(self) -> Counter[str]:
        """How many reservations came to what, for a report."""
        names = {PAID: "paid", CANCELLED: "cancelled, or not paid in time", RESERVED: "reserved for good", "FAILED": "refused"}
        return Counter(f"reservations {names[self.state(one)]}" for one in self.decisions)
