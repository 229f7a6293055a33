"""Who buys, who announces, and who writes to the topics from outside: the load of a simulated sale, and what its people were told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import TopicPartition
from ticketmaster.domain.reservation import ErrorCode, Refusal, ReservationType
from ticketmaster.errors import Retriable
from ticketmaster.simulation.deployment import Deployment, Reply
from ticketmaster.simulation.roles import RoleProcess
from ticketmaster.wire import topics
from ticketmaster.wire.reservations import encode_create, encode_seats, encode_who_and_where, refused, succeeded

_BUYERS = 24
_RETRY_S = 0.3
_JSON = msgspec.json.Encoder().encode


class Crowd:
    """Everybody outside. ``commands``: how many reservations are asked for, by HTTP or on the topic."""

    def __init__(self, deployment: Deployment, random: Random, commands: int, span_s: float) -> None:
        self._deployment = deployment
        self._random = random
        self._left = commands
        # So that the commands are spread over the time in which faults happen.
        self._think_s = span_s * _BUYERS / commands
        self._span_s = span_s
        self.events = [f"event-{number}" for number in range(random.choice((1, 2, 3)))]
        self.sizes: dict[str, tuple[int, int]] = {}
        self.announced: set[str] = set()
        # What was asked for by the id that was acknowledged, and the decision that somebody was told.
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.told: dict[str, bytes] = {}
        # Commands with ids of their own, written to the topic by others.
        self.foreign: dict[bytes, bytes] = {}
        # How others write a command.
        self.write: Callable[[bytes], bytes] = lambda value: value
        # Results that no area has written: these very objects.
        self.forged: list[bytes] = []
        for event in self.events:
            for number in range(random.choice((1, 2, 4))):
                self.sizes[f"{event}#area-{number}"] = (random.randrange(3, 11), random.randrange(4, 13))

    async def run(self) -> None:
        """Until every command was sent and every buyer who waits has been told."""
        async with asyncio.TaskGroup() as group:
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

    def _event_body(self, event: str, grown: int = 0) -> bytes:
        areas = [
            {"areaId": area.partition("#")[2], "price": 100, "rowCount": rows + grown, "colCount": cols + grown}
            for area, (rows, cols) in self.sizes.items()
            if area.startswith(f"{event}#")
        ]
        return _JSON({"eventName": event, "artist": "The Band", "areas": areas})

    async def _announce(self, event: str) -> None:
        await asyncio.sleep(self._random.random() * self._span_s / 3 if event != self.events[0] else 0)
        while event not in self.announced:
            reply = await self._deployment.ask(await self._one(), "POST", "/v1/event", self._event_body(event))
            if reply and reply.status == 200:
                self.announced.add(event)
            else:
                await asyncio.sleep(_RETRY_S)

    async def announce_again(self) -> None:
        """An event is announced once more, with other sizes: what is sold stays sold."""
        if self.announced:
            event = self._random.choice(sorted(self.announced))
            self._deployment.journal.fault("client", "event announced again", event)
            body = self._event_body(event, self._random.choice((0, 1)))
            await self._deployment.ask(await self._one(), "POST", "/v1/event", body)

    # Buyers.

    async def _buy(self, random: Random, *, patient: bool) -> None:
        await asyncio.sleep(random.random() * self._think_s)
        while self._left > 0:
            self._left -= 1
            reservation_id = await self._order(random)
            if reservation_id and patient:
                await self.await_decision(reservation_id)
            # Now in a rush, now after a while.
            await asyncio.sleep(random.choice((0.0, 0.0, 0.5, 1.0, 3.5)) * self._think_s)

    def _body(self, random: Random) -> dict[str, Any]:
        area = random.choice(list(self.sizes)[: random.choice((1, 99))])
        event, _, area_id = area.partition("#")
        rows, cols = self.sizes[area]
        if random.random() < 0.02:
            area_id = "nowhere"
        body: dict[str, Any] = {"userId": "ann", "eventId": event, "areaId": area_id}
        if random.random() < 0.6:
            return body | {"type": "RANDOM", "numOfSeats": random.choice((1, 1, 2, 3))}
        row, col, count = random.randrange(rows), random.randrange(cols), random.choice((1, 2))
        seats = [{"row": row, "col": min(col, cols - 2) + number} for number in range(count)]
        return body | {"type": "SELF_PICK", "numOfSeats": count, "seats": seats}

    async def _order(self, random: Random) -> str | None:
        body = self._body(random)
        reply = await self._deployment.ask(await self._one(), "POST", f"/v1/event/{body['eventId']}/reservation", _JSON(body))
        if reply is None or reply.status == 503:
            return None
        if reply.status != 200:
            self._deployment.journal.violation(f"{body} was answered with {reply}")
            return None
        reservation_id = reply.body.decode()
        if reservation_id in self.acknowledged:
            self._deployment.journal.violation(f"{reservation_id} was handed out twice")
        self.acknowledged[reservation_id] = body
        return reservation_id

    async def await_decision(self, reservation_id: str) -> None:
        """Asks until the decision comes, each time whom it likes."""
        while not await self.look(reservation_id, await self._one()):
            await asyncio.sleep(_RETRY_S)

    async def look(self, reservation_id: str, one: RoleProcess) -> bool:
        """Asks one process for a decision; whether it had one, which must be what everybody else was told."""
        reply = await self._deployment.ask(one, "GET", f"/v1/reservation/{reservation_id}")
        if reply is None or reply.status == 503:
            return False
        self._check_decision(reservation_id, reply)
        return True

    def _check_decision(self, reservation_id: str, reply: Reply) -> None:
        violation = self._deployment.journal.violation
        known = self.told.setdefault(reservation_id, reply.body)
        if reply.status != 200 or reply.body != known:
            violation(f"{reservation_id}: told {known!r}, then {reply}")
            return
        asked, found = self.acknowledged[reservation_id], msgspec.json.decode(reply.body)
        if found["state"] not in ("RESERVED", "FAILED") or any(found[name] != asked[name] for name in asked if name != "seats"):
            violation(f"{reservation_id}: asked for {asked}, told {found}")
        if found["state"] == "RESERVED" and (
            len(found["seats"]) != asked["numOfSeats"] or found["seats"] != asked.get("seats", found["seats"])
        ):
            violation(f"{reservation_id}: asked for {asked}, told {found}")

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

    async def write_rubbish(self) -> None:
        """Records that nobody can read, tombstones, and results that nobody waits for."""
        self._deployment.journal.fault("client", "bad records")
        rubbish = (b"", b"\x00", b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x63rest", self._random.randbytes(30), None)
        inputs = (topics.CREATE_EVENT, topics.CREATE_RESERVATION, topics.RESERVE_SEAT, topics.RESERVATION_RESULT, topics.AREA_REPARTITION)
        for topic in inputs:
            await self._send(topic.name, b"rubbish-%d" % self._random.randrange(9), self._random.choice(rubbish))
        # What is decided already, so that nobody is told of seats that are not theirs.
        for key in (b"unknown", *(reservation_id.encode() for reservation_id in list(self.told)[:1])):
            result = self._random.choice((succeeded(key, encode_seats([(0, 0)])), refused(key, Refusal(ErrorCode.INVALID_SEAT, "no"))))
            self.forged.append(result)
            await self._send(topics.RESERVATION_RESULT.name, key, result)
