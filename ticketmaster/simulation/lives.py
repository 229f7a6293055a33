"""What people do with the seats that they hold: they pay, extend, cancel and repeat themselves, at moments that matter, or let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import msgspec

from ticketmaster.domain.life import Change, Kind
from ticketmaster.simulation.clock import true_ms
from ticketmaster.simulation.deployment import Deployment, Reply
from ticketmaster.simulation.roles import RoleProcess
from ticketmaster.wire.changes import encode_change

_AGAIN_S: Final = 0.3
_TRIES_MAX: Final = 4
# Around the instant in which a hold ends, in seconds.
_NEAR_S: Final = (-0.6, -0.05, -0.001, 0.0, 0.0, 0.001, 0.05, 0.6, 1.5)
_PLANS: Final = (("pay",) * 6, ("pay late",) * 4, ("cancel",) * 3, ("extend",) * 3, ("let go",) * 4)
# So far the end of a hold may be from the moment in which somebody is told: a hold lasts for a minute, an outage for some.
_APART_S: Final = 900.0
# After what the answer says, the reservation never has its seats again.
_OVER: Final = ("hold_expired", "reservation_cancelled", "reservation_failed", "event_cancelled")
_REFUSED: Final = (*_OVER, "hold_limit", "already_paid", "not_decided")


class Lives:
    """The people whose reservations are decided."""

    def __init__(
        self,
        deployment: Deployment,
        one: Callable[[], Awaitable[RoleProcess]],
        told: Callable[[str, Reply], None],
        append: Callable[[str, bytes], Awaitable[bool]],
        asked: Callable[[], None],
    ) -> None:
        """``one()`` is a process to go to; ``told(id, answer)`` notes a reservation; ``append(id, command)`` is another gateway.

        ``asked()`` counts the changes.
        """
        self._deployment = deployment
        self._one = one
        self._told = told
        self._append = append
        self._asked = asked
        self._references = 0
        self._changes = 0
        # Reservations of which somebody was told that they are over; and payments that were acknowledged, by their references.
        self.over: set[str] = set()
        self.paid: dict[str, str] = {}

    async def live(self, reservation_id: str, reservation: dict[str, Any], random: Random) -> None:
        """What becomes of a reservation that somebody was told of."""
        plan = random.choice([plan for plans in _PLANS for plan in plans])
        ends_s = float(reservation.get("holdExpiresAt", 0.0))
        if ends_s and abs(ends_s - true_ms() / 1000) > _APART_S:
            self._deployment.journal.violation(f"{reservation_id}: its hold lasts until {ends_s:.0f}, and it is {true_ms() / 1000:.0f}")
        if plan == "let go" or (not ends_s and random.random() < 0.5):
            return
        if plan == "extend":
            await self._ask(reservation_id, "extend", random)
            plan = random.choice(("pay", "let go", "cancel", "pay late"))
        if plan in ("pay late", "cancel") and ends_s:
            await asyncio.sleep(max(0.0, ends_s - true_ms() / 1000 + random.choice(_NEAR_S)))
        elif random.random() < 0.5:
            await asyncio.sleep(random.random())
        if plan == "let go":
            return
        await self._ask(reservation_id, "cancel" if plan == "cancel" else "pay", random)
        if random.random() < 0.15:
            # Somebody thinks better of it, or does it twice.
            await self._ask(reservation_id, random.choice(("pay", "cancel", "refund", "extend")), random)

    async def cancel_at_once(self, reservation_id: str, random: Random) -> None:
        """Before anybody was told."""
        await self._ask(reservation_id, "cancel", random)

    async def _ask(self, reservation_id: str, what: str, random: Random) -> None:
        """Until there is an answer that says something, or patience is over."""
        self._references += 1
        self._asked()
        reference = f"payment-{self._references}"
        path = f"/v1/reservation/{reservation_id}"
        for _ in range(_TRIES_MAX):
            one = await self._one()
            if what == "pay":
                reply = await self._deployment.ask(one, "POST", f"{path}/payment", msgspec.json.encode({"reference": reference}))
            elif what == "extend":
                seconds = random.choice((1, 2, 5, 30))
                reply = await self._deployment.ask(one, "POST", f"{path}/extension", msgspec.json.encode({"seconds": seconds}))
            else:
                reply = await self._deployment.ask(one, "DELETE", path, query="refund=true" if what == "refund" else "")
            if reply and self._is_answer(reservation_id, what, reference, reply):
                return
            await asyncio.sleep(_AGAIN_S)

    def _is_answer(self, reservation_id: str, what: str, reference: str, reply: Reply) -> bool:
        """Whether the change is known to be made, or to be refused."""
        if reply.status == 503:
            return False
        body = msgspec.json.decode(reply.body)
        violation = self._deployment.journal.violation
        if reply.status == 200:
            self._told(reservation_id, reply)
            wanted = {"pay": "PAID", "extend": "RESERVED"}.get(what, "CANCELLED")
            if body["state"] != wanted:
                violation(f"{reservation_id}: {what} was answered with {body}")
            if what == "pay":
                self.paid.setdefault(reservation_id, reference)
                if body.get("paymentReference") != reference:
                    violation(f"{reservation_id}: paid by {reference}, answered with {body}")
            return True
        if reply.status != 409 or body["code"] not in _REFUSED:
            violation(f"{reservation_id}: {what} was answered with {reply}")
        elif body["code"] in _OVER:
            self.over.add(reservation_id)
        return bool(body["code"] != "not_decided")

    async def change_from_outside(self, reservation_id: str, random: Random) -> None:
        """Another gateway sends a change, once or twice."""
        self._changes += 1
        kind = random.choice(tuple(Kind))
        change = Change(b"%032x" % (self._changes << 64), kind, b"outside-%d" % self._changes, random.choice((1, 4, 20)))
        for _ in range(random.choice((1, 1, 2))):
            await self._append(reservation_id, encode_change(change._replace(seconds=change.seconds if kind is Kind.EXTEND else 0)))
