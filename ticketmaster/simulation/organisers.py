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
from ticketmaster.ticket.access import EVERYBODY, Caller, Scope

_RETRY_S: Final = 0.3
_KINDS: Final = ("window", "limit", "limit", "pauses", "cancelled", "contested", "none")
_LIMIT_MAX: Final = 7
# What a request for seats may be told of such an event.
_CANCELLED: Final = "event_cancelled"
_NOT_SOLD: Final = ("sale_not_open", "sale_closed", "sale_paused", _CANCELLED)
# Why no reservation of a box office fails.
PAST_BY_BOX_OFFICES: Final = ("[SALE_", "[USER_LIMIT]")
_ANSWERED: Final = (200, 409, 412)
_USERS: Final = ("ann", "bob", "cid")
_BOX_OFFICE: Final = Caller("till", frozenset({Scope.BOX_OFFICE}))
# So many of those who ask for seats of an event with rules are box offices.
_BOX_OFFICES: Final = 0.15
_ORGANISERS: Final = 2


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
        # Changes that were acknowledged to organisers who had named the revision before: (event, revision, artist).
        self.made: list[tuple[str, int, str]] = []
        self._artists = 0

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

    def seller(self, event: str) -> Caller:
        """Somebody who asks for seats: now and then a box office, which sells past the rules of an event that has some."""
        return _BOX_OFFICE if self.is_ruled(event) and self._random.random() < _BOX_OFFICES else EVERYBODY

    def may_refuse(self, event: str, code: str, caller: Caller) -> bool:
        """Whether an event of this kind may be sold to nobody like the caller."""
        return self.is_ruled(event) and (code == _CANCELLED if caller.is_box_office else code in _NOT_SOLD)

    async def organise(self, event: str) -> None:
        """Pauses and resumes the sale, cancels the event, or changes it in a race of two, some time while it is on."""
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
        elif kind == "contested":
            await asyncio.gather(*(self._contest(event, Random(random.random())) for _ in range(_ORGANISERS)))

    async def _contest(self, event: str, random: Random) -> None:
        """Changes what was read, unless somebody else was faster; now and then of an older revision, which never succeeds."""
        for _ in range(random.randrange(2, 6)):
            await asyncio.sleep(random.random() * self._span_s / 10)
            path = f"/v1/event/{event}"
            shown = await self._deployment.ask(await self._one(), "GET", path)
            if shown is None or shown.status != 200:
                continue
            newest = msgspec.json.decode(shown.body).get("revision", 0)
            is_old = newest > 0 and random.random() < 0.2
            revision = newest - 1 if is_old else newest
            self._artists += 1
            artist, if_match = f"artist-{self._artists}", f'"{revision}"' if revision else ""
            values = msgspec.json.encode({"artist": artist})
            reply = await self._deployment.ask(await self._one(), "PATCH", path, values, if_match=if_match)
            if reply is None or reply.status in (404, 503):
                # It may have been made, or be made later; or a process that begins does not know the event yet.
                continue
            if reply.status not in (200, 412) or (if_match and is_old and reply.status == 200):
                self._deployment.journal.violation(f"PATCH {path} of revision {if_match} was answered with {reply}")
            elif reply.status == 200 and if_match:
                self.made.append((event, revision + 1, artist))

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
