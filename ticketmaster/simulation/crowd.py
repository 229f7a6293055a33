"""Who buys, who announces, and who writes to the topics from outside: the load of a simulated sale, and what its people were told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType
from ticketmaster.errors import Retriable
from ticketmaster.simulation.deployment import Deployment, Reply
from ticketmaster.simulation.lives import Lives
from ticketmaster.simulation.organisers import PAST_BY_BOX_OFFICES, Organisers
from ticketmaster.simulation.roles import RoleProcess
from ticketmaster.ticket.access import EVERYBODY, Caller
from ticketmaster.wire import topics
from ticketmaster.wire.reservations import encode_create, encode_seats, encode_who_and_where, refused, succeeded

_BUYERS = 24
_RETRY_S = 0.3
# When nothing fails any more, everybody is told within this.
_TOLD_WITHIN_S = 240.0
# How long seats are held, in seconds; of most events for a while only.
_HOLDS_S = (0, 1, 2, 4, 8)
_HELD_LONGER = (1, 2, 5)
# So many of those who do not wait for their decision cancel at once.
_CANCELLED_AT_ONCE = 0.1
_JSON = msgspec.json.Encoder().encode


class Crowd:
    """Everybody outside. ``commands``: how many reservations are asked for, by HTTP or on the topic."""

    def __init__(self, deployment: Deployment, random: Random, commands: int, span_s: float, rules: Random | None = None) -> None:
        """``rules``: the chance by which events have rules; None: they have none."""
        self._deployment = deployment
        self._random = random
        self._left = commands
        # So that the commands are spread over the time in which faults happen.
        self._think_s = span_s * _BUYERS / commands
        self._span_s = span_s
        self.events = [f"event-{number}" for number in range(random.choice((1, 2, 3)))]
        self.sizes: dict[str, tuple[int, int]] = {}
        self.announced: set[str] = set()
        self.holds: dict[str, tuple[int, int]] = {}
        for event in self.events:
            seconds = random.choice(_HOLDS_S)
            self.holds[event] = seconds, seconds * random.choice(_HELD_LONGER)
        # What was asked for by the id that was acknowledged, and what somebody was told of it, in this order, each once.
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.told: dict[str, dict[bytes, None]] = {}
        self.box_offices: set[str] = set()
        self.lives = Lives(deployment, self._one, self._note_told, self._send_change, self._note_change)
        # Commands with ids of their own, written to the topic by others.
        self.foreign: dict[bytes, bytes] = {}
        # How others write a command.
        self.write: Callable[[bytes], bytes] = lambda value: value
        # Results that no area has written: these very objects.
        self.forged: list[bytes] = []
        # Commands to give seats back, as the log has them: (key, value).
        self.releases: list[Pair] = []
        # Hears what somebody is told, in that moment.
        self.on_told: Callable[[str, bytes], None] = lambda _reservation_id, _told: None
        for event in self.events:
            for number in range(random.choice((1, 2, 4))):
                self.sizes[f"{event}#area-{number}"] = (random.randrange(3, 11), random.randrange(4, 13))

        self.organisers = Organisers(deployment, self.events if rules else (), rules or random, span_s, self._one)

    async def run(self) -> None:
        """Until every command was sent and every buyer who waits has been told."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for event in self.events:
                group.create_task(self._announce(event))
            for number in range(_BUYERS):
                group.create_task(self._buy(Random(self._random.random()), patient=number % 4 > 0))
            group.create_task(self._write_foreign())

    async def _one(self) -> RoleProcess:
        """A ticket process to go to."""
        while not (serving := self._deployment.serving("ticket")):
            await asyncio.sleep(_RETRY_S)
        return self._random.choice(serving)

    # Announcements.

    def _event_body(self, event: str, grown: int = 0, held_longer: int = 0) -> bytes:
        areas = [
            {"areaId": area.partition("#")[2], "price": 100, "rowCount": rows + grown, "colCount": cols + grown}
            for area, (rows, cols) in self.sizes.items()
            if area.startswith(f"{event}#")
        ]
        seconds, seconds_max = self.holds[event]
        holds = {"holdSeconds": seconds + held_longer, "holdSecondsMax": seconds_max + held_longer} if seconds else {}
        return _JSON({"eventName": event, "artist": "The Band", "areas": areas, **holds, **self.organisers.rules(event)})

    async def _announce(self, event: str) -> None:
        await asyncio.sleep(self._random.random() * self._span_s / 3 if event != self.events[0] else 0)
        while event not in self.announced:
            reply = await self._deployment.ask(await self._one(), "POST", "/v1/event", self._event_body(event))
            if reply and reply.status == 200:
                self.announced.add(event)
            else:
                await asyncio.sleep(_RETRY_S)
        if self.organisers.is_ruled(event):
            await self.organisers.organise(event)

    async def announce_again(self) -> None:
        """An event is announced once more, with other sizes and other holds: what is sold stays sold, what is held as long as it was."""
        if self.announced:
            event = self._random.choice(sorted(self.announced))
            self._deployment.journal.fault("client", "event announced again", event)
            body = self._event_body(event, self._random.choice((0, 1)), self._random.choice((0, 3)))
            await self._deployment.ask(await self._one(), "POST", "/v1/event", body)

    # Buyers.

    async def _buy(self, random: Random, *, patient: bool) -> None:
        await asyncio.sleep(random.random() * self._think_s)
        while self._left > 0:
            self._left -= 1
            reservation_id = await self._order(random)
            if reservation_id and patient:
                await self.await_decision(reservation_id)
                reservation = msgspec.json.decode(next(reversed(self.told[reservation_id])))
                if reservation["state"] == "RESERVED":
                    self._group.create_task(self.lives.live(reservation_id, reservation, Random(random.random())))
            elif reservation_id and random.random() < _CANCELLED_AT_ONCE:
                self._group.create_task(self.lives.cancel_at_once(reservation_id, Random(random.random())))
            # Now in a rush, now after a while.
            await asyncio.sleep(random.choice((0.0, 0.0, 0.5, 1.0, 3.5)) * self._think_s)

    def _body(self, random: Random) -> dict[str, Any]:
        area = random.choice(list(self.sizes)[: random.choice((1, 99))])
        event, _, area_id = area.partition("#")
        rows, cols = self.sizes[area]
        if random.random() < 0.02:
            area_id = "nowhere"
        body: dict[str, Any] = {"userId": self.organisers.user(event, random), "eventId": event, "areaId": area_id}
        if random.random() < 0.6:
            return body | {"type": "RANDOM", "numOfSeats": random.choice((1, 1, 2, 3))}
        row, col, count = random.randrange(rows), random.randrange(cols), random.choice((1, 2))
        seats = [{"row": row, "col": min(col, cols - 2) + number} for number in range(count)]
        return body | {"type": "SELF_PICK", "numOfSeats": count, "seats": seats}

    def _note_change(self) -> None:
        """So that a run has as many requests as it is to have, whatever they ask for."""
        self._left -= 1

    async def _order(self, random: Random) -> str | None:
        body = self._body(random)
        return await self._order_that(body, self.organisers.seller(body["eventId"]))

    async def _order_that(self, body: dict[str, Any], caller: Caller = EVERYBODY) -> str | None:
        event = body["eventId"]
        reply = await self._deployment.ask(await self._one(), "POST", f"/v1/event/{event}/reservation", _JSON(body), caller=caller)
        if reply is None or reply.status == 503:
            return None
        if reply.status == 409 and self.organisers.may_refuse(event, msgspec.json.decode(reply.body)["code"], caller):
            return None
        if reply.status != 200:
            self._deployment.journal.violation(f"{body} was answered with {reply}")
            return None
        reservation_id = reply.body.decode()
        if reservation_id in self.acknowledged:
            self._deployment.journal.violation(f"{reservation_id} was handed out twice")
        self.acknowledged[reservation_id] = body
        if caller.is_box_office:
            self.box_offices.add(reservation_id)
        return reservation_id

    async def await_decision(self, reservation_id: str) -> None:
        """Asks until the decision comes, each time whom it likes."""
        while not await self.look(reservation_id, await self._one()):
            await asyncio.sleep(_RETRY_S)

    async def look(self, reservation_id: str, one: RoleProcess) -> bool:
        """Asks one process for a decision; whether it had one."""
        reply = await self._deployment.ask(one, "GET", f"/v1/reservation/{reservation_id}")
        if reply is None or reply.status == 503:
            return False
        self._note_told(reservation_id, reply)
        return True

    def _note_told(self, reservation_id: str, reply: Reply) -> None:
        violation = self._deployment.journal.violation
        if reply.status != 200:
            violation(f"{reservation_id}: told {reply}")
            return
        self.on_told(reservation_id, reply.body)
        told = self.told.setdefault(reservation_id, {})
        if reply.body in told:
            # The last one is what was told last.
            del told[reply.body]
        told[reply.body] = None
        asked, found = self.acknowledged[reservation_id], msgspec.json.decode(reply.body)
        state = found["state"]
        if reservation_id in self.box_offices and found.get("failedReason", "").startswith(PAST_BY_BOX_OFFICES):
            violation(f"{reservation_id}: a box office was told {found}")
        if state not in ("RESERVED", "FAILED", "PAID", "CANCELLED") or any(found[name] != asked[name] for name in asked if name != "seats"):
            violation(f"{reservation_id}: asked for {asked}, told {found}")
        if state in ("RESERVED", "PAID") and (
            len(found["seats"]) != asked["numOfSeats"] or found["seats"] != asked.get("seats", found["seats"])
        ):
            violation(f"{reservation_id}: asked for {asked}, told {found}")

    async def buy_what_is_free(self, areas: dict[str, bytes]) -> None:
        """When all has come to rest: what an area shows to be free can be had, a seat at a time. ``areas``: its JSON by its key."""
        for area, view in sorted(areas.items()):
            event, _, area_id = area.partition("#")
            shown = msgspec.json.decode(view)
            if not self.holds.get(event, (0, 0))[0] or not shown["availableSeats"] or self.organisers.is_ruled(event):
                continue
            body = {"userId": "ann", "eventId": event, "areaId": area_id, "type": "RANDOM", "numOfSeats": 1}
            reservation_id = await self._order_that(body)
            if reservation_id is None:
                continue
            try:
                async with asyncio.timeout(_TOLD_WITHIN_S):
                    await self.await_decision(reservation_id)
            except TimeoutError:
                text = f"all had come to rest, and nobody tells of {reservation_id} within {_TOLD_WITHIN_S:.0f} s"
                self._deployment.journal.violation(text)
                return
            found = msgspec.json.decode(next(iter(self.told[reservation_id])))
            if found["state"] == "FAILED":
                text = f"{area} has {shown['availableSeats']} free seats, and nobody gets one: {found['failedReason']}"
                self._deployment.journal.violation(text)

    # From outside.

    async def _write_foreign(self) -> None:
        """Another gateway: it mints ids of its own, and sends commands as often as it likes."""
        count = self._left // 10
        self._left -= count
        for number in range(count):
            await asyncio.sleep(self._random.random() * 2 * self._span_s / count)
            self.foreign[b"foreign-%04d" % number] = self._foreign_command()
            await self._send_foreign(b"foreign-%04d" % number, self._random.choice((1, 1, 2)))

    def _foreign_command(self) -> bytes:
        body = self._body(self._random)
        who = encode_who_and_where(body["userId"], body["eventId"], body["areaId"])
        seats = [(seat["row"], seat["col"]) for seat in body.get("seats", ())]
        kind = self._random.choice((ReservationType[body["type"]],) * 9 + (ReservationType.INVALID,))
        return encode_create(who, body["numOfSeats"], kind, encode_seats(seats))

    async def _send_foreign(self, key: bytes, times: int) -> None:
        """Until the log has it: an outside command that is never acknowledged may be lost."""
        for _ in range(times):
            while not await self._send(topics.CREATE_RESERVATION.name, key, self.write(self.foreign[key])):
                await asyncio.sleep(_RETRY_S)

    async def _send_change(self, reservation_id: str, value: bytes) -> bool:
        return await self._send(topics.CHANGE_RESERVATION.name, reservation_id.encode(), self.write(value))

    async def _send(self, topic: str, key: bytes, value: bytes | None) -> bool:
        source = TopicPartition(topic, partition_of(key, self._deployment.partitions))
        host = self._deployment.host
        try:
            async with asyncio.timeout(5):
                await host.send(source, [(key, value)])
        except (Retriable, TimeoutError):
            return False
        return True

    async def repeat_commands(self) -> None:
        """Commands that were sent before come again, one of them with another content: the first one counts."""
        if self.foreign:
            self._deployment.journal.fault("client", "commands repeated")
            for _ in range(4):
                key = self._random.choice(list(self.foreign))
                value = self.foreign[key] if self._random.random() < 0.8 else self._foreign_command()
                await self._send(topics.CREATE_RESERVATION.name, key, self.write(value))
                await self.lives.change_from_outside(key.decode(), self._random)
        for key, release in self._random.sample(self.releases, min(4, len(self.releases))):
            await self._send(topics.RELEASE_SEATS.name, key, release)

    async def write_rubbish(self) -> None:
        """Records that nobody can read, tombstones, and results that nobody waits for."""
        self._deployment.journal.fault("client", "bad records")
        rubbish = (b"", b"\x00", b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x63rest", self._random.randbytes(30), None)
        inputs = (
            *(topics.CREATE_EVENT, topics.CREATE_RESERVATION, topics.RESERVE_SEAT, topics.RESERVATION_RESULT, topics.AREA_REPARTITION),
            *(topics.CHANGE_RESERVATION, topics.RELEASE_SEATS, topics.RULED_AREA_REPARTITION),
            *((topics.CHANGE_EVENT, topics.CANCEL_EVENT) if self.organisers.kinds else ()),
        )
        for topic in inputs:
            await self._send(topic.name, b"rubbish-%d" % self._random.randrange(9), self._random.choice(rubbish))
        # What has failed already, so that nobody is told of seats that are not theirs, or gives them back.
        failed = [name.encode() for name, told in self.told.items() if b'"state":"FAILED"' in next(iter(told))]
        for key in (b"unknown", *failed[:1]):
            result = self._random.choice((succeeded(key, encode_seats([(0, 0)])), refused(key, Refusal(ErrorCode.INVALID_SEAT, "no"))))
            self.forged.append(result)
            await self._send(topics.RESERVATION_RESULT.name, key, result)
