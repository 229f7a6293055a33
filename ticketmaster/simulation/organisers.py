"""The rules of simulated events: windows, limits, pauses, an event that is cancelled; and a crowd that tries to get round them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final

import msgspec

from ticketmaster.simulation.clock import true_ms
from ticketmaster.simulation.deployment import Deployment, Reply
from ticketmaster.simulation.roles import RoleProcess

_RETRY_S: Final = 0.3
_KINDS: Final = ("window", "limit", "pauses", "cancelled", "none")
_LIMIT_MAX: Final = 7
# What a request for seats may be told of such an event.
NOT_SOLD: Final = ("sale_not_open", "sale_closed", "sale_paused", "event_cancelled")
_ANSWERED: Final = (200, 409, 412)
_USERS: Final = ("ann", "bob", "cid")


class Organisers:
    """Each event has an organiser, and rules of one kind. Without events they do nothing, and draw nothing."""

    def __init__(
        self, deployment: Deployment, events: Sequence[str], random: Random, span_s: float, one: Callable[[], Awaitable[RoleProcess]]
    ) -> None:
        self._deployment = deployment
        self._random = random
        self._span_s = span_s
        self._one = one
        self.kinds: dict[str, str] = {event: random.choice(_KINDS) for event in events}
        self._announced: dict[str, dict[str, Any]] = {}

    def is_ruled(self, event: str) -> bool:
        """Whether it may sell nothing to somebody."""
        return self.kinds.get(event, "none") != "none"

    def rules(self, event: str) -> dict[str, Any]:
        """What its announcement says besides, each time the same."""
        if event not in self._announced:
            kind, random, now_s = self.kinds.get(event), self._random, true_ms() / 1000
            rules: dict[str, Any] = {}
            if kind == "window":
                opening_s = now_s + random.random() * self._span_s / 2
                rules = {"reservationOpeningTime": opening_s, "reservationClosingTime": opening_s + random.random() * self._span_s}
            elif kind == "limit":
                rules = {"seatsPerUserMax": random.randrange(1, _LIMIT_MAX)}
            self._announced[event] = rules
        return self._announced[event]

    def user(self, event: str, random: Random) -> str:
        """The user that asks for seats: a few users share an event with a limit."""
        return random.choice(_USERS) if self.kinds.get(event) == "limit" else "ann"

    async def organise(self, event: str) -> None:
        """Pauses and resumes the sale, or cancels the event, some time while it is on."""
        kind, random = self.kinds[event], self._random
        if kind == "pauses":
            for _ in range(random.randrange(1, 5)):
                await asyncio.sleep(random.random() * self._span_s / 5)
                await self._change(event, "PATCH", {"status": random.choice(("PAUSED", "PAUSED", "CLOSED"))})
                await asyncio.sleep(random.random() * self._span_s / 10)
                await self._change(event, "PATCH", {"status": "OPEN"})
        elif kind == "cancelled":
            await asyncio.sleep((0.2 + 0.8 * random.random()) * self._span_s)
            await self._change(event, "DELETE", {})

    async def _change(self, event: str, method: str, values: dict[str, Any]) -> None:
        """Asks again until an answer comes: the change may be made more than once."""
        path = f"/v1/event/{event}"
        while True:
            reply = await self._deployment.ask(await self._one(), method, path, msgspec.json.encode(values))
            if reply and reply.status in _ANSWERED:
                self._check(path, method, values, reply)
                return
            await asyncio.sleep(_RETRY_S)

    def _check(self, path: str, method: str, values: dict[str, Any], reply: Reply) -> None:
        wanted = values.get("status", "CANCELLED")
        if reply.status != 200 or msgspec.json.decode(reply.body)["status"] != wanted:
            self._deployment.journal.violation(f"{method} {path} {values} was answered with {reply}")
