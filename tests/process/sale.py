"""A sale under load that remembers every answer, and checks the server against them, however often it was killed in between."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from typing import Any

from tests.process.client import Connection, Lost, Reply, ask, connected

Seat = tuple[str, str, int, int]
Area = tuple[str, str]

SEATS_MAX = 4
CHECKERS = 16


class Sale:
    """Events and what the server said about reservations of their seats."""

    def __init__(self, seed: int, *, areas: int = 6, rows: int = 30, cols: int = 40) -> None:
        self.random = random.Random(seed)
        self.areas = [f"area-{number}" for number in range(areas)]
        self.rows = rows
        self.cols = cols
        self.events: list[str] = []
        # What was asked for by the id that was answered, and how many seats at most were asked for without an answer, by area.
        self.answered: dict[str, dict[str, Any]] = {}
        self.lost_seats: Counter[Area] = Counter()
        self.decisions: dict[str, bytes] = {}
        self.refused: Counter[int] = Counter()

    def event_body(self, event: str) -> dict[str, Any]:
        """The announcement: the same for the same name, but for the time."""
        areas = [{"areaId": name, "price": 100, "rowCount": self.rows, "colCount": self.cols} for name in self.areas]
        return {"eventName": event, "artist": "The Band", "areas": areas}

    async def announce(self, address: str, event: str) -> None:
        """Announces an event, for the first time or once again."""
        reply = await ask(address, "POST", "/v1/event", self.event_body(event))
        assert reply.status == 200, reply
        if event not in self.events:
            self.events.append(event)

    async def sell(self, address: str, count: int) -> None:
        """More and more of one event; looks at all that was sold of it."""
        await self.announce(address, "concert")
        for _ in range(count):
            reply = await ask(address, "POST", "/v1/event/concert/reservation", body := self._request())
            self.answered[reply.body.decode()] = body
        await self.check(address)

    # Load.

    async def load(self, address: str, *, buyers: int = 24, hurried: int = 8) -> None:
        """Buys until every connection is lost. The hurried ones don't wait for decisions."""
        async with asyncio.TaskGroup() as group:
            for number in range(buyers + hurried):
                group.create_task(self._buy(address, patient=number < buyers))

    async def _buy(self, address: str, *, patient: bool) -> None:
        try:
            async with connected(address) as connection:
                while True:
                    reservation_id = await self.post(connection)
                    if reservation_id is None:
                        # It stops, or its disk is full: the connection will go too.
                        await asyncio.sleep(0.02)
                    elif patient:
                        await self.read_decision(connection, reservation_id, may_wait=True)
        except Lost:
            pass

    def _request(self) -> dict[str, Any]:
        event, area = self.random.choice(self.events[-2:]), self.random.choice(self.areas)
        body: dict[str, Any] = {"userId": "ann", "eventId": event, "areaId": area}
        count = self.random.randint(1, SEATS_MAX)
        if self.random.random() < 0.7:
            return body | {"type": "RANDOM", "numOfSeats": count}
        row, col = self.random.randrange(self.rows), self.random.randrange(self.cols - SEATS_MAX)
        return body | {"type": "SELF_PICK", "numOfSeats": count, "seats": [{"row": row, "col": col + i} for i in range(count)]}

    async def post(self, connection: Connection) -> str | None:
        body = self._request()
        area = (body["eventId"], body["areaId"])
        try:
            reply = await connection.request("POST", f"/v1/event/{body['eventId']}/reservation", body)
        except (Lost, TimeoutError):
            self.lost_seats[area] += body["numOfSeats"]
            raise
        if reply.status != 200:
            self._note_refusal(reply)
            # A 503 says that nobody knows whether it will be carried out: the write failed, or the server went away.
            self.lost_seats[area] += body["numOfSeats"]
            return None
        reservation_id = reply.body.decode()
        assert reservation_id not in self.answered, f"{reservation_id} was handed out twice"
        self.answered[reservation_id] = body
        return reservation_id

    def _note_refusal(self, reply: Reply) -> None:
        assert reply.status == 503, reply
        assert reply.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "code"} <= reply.json.keys()
        self.refused[reply.status] += 1

    async def read_decision(self, connection: Connection, reservation_id: str, *, may_wait: bool = False) -> None:
        reply = await connection.request("GET", f"/v1/reservation/{reservation_id}")
        if reply.status == 503 and may_wait:
            self._note_refusal(reply)
            return
        assert reply.status == 200, (reservation_id, reply)
        self.note(reservation_id, reply)

    def note(self, reservation_id: str, reply: Reply) -> None:
        """Remembers a reply about a reservation, which must fit the request and the replies before."""
        asked = self.answered[reservation_id]
        found = reply.json
        assert found["reservationId"] == reservation_id
        assert found["state"] in {"RESERVED", "FAILED"}
        assert {name: found[name] for name in asked if name != "seats"} == {name: asked[name] for name in asked if name != "seats"}
        if found["state"] == "RESERVED":
            assert len(found["seats"]) == asked["numOfSeats"]
            assert "seats" not in asked or found["seats"] == asked["seats"]
        known = self.decisions.setdefault(reservation_id, reply.body)
        assert reply.body == known, f"{reservation_id} has changed"

    async def go_on(self, _connection: Connection, _reservation_id: str, _plan: str) -> bool:
        """Does what somebody has in mind with what is decided: nothing here. False: it is to be tried again."""
        return True

    # Checks.

    async def check(self, address: str, *, sample: int | None = None) -> None:
        """Every answered id has its decision, or those without a known one and ``sample`` others; no seat is sold twice; maps agree."""
        undecided = [reservation_id for reservation_id in self.answered if reservation_id not in self.decisions]
        decided = list(self.decisions)
        if sample is not None and sample < len(decided):
            decided = self.random.sample(decided, sample)
        queue = undecided + decided
        async with asyncio.TaskGroup() as group:
            for number in range(CHECKERS):
                group.create_task(self._check_decisions(address, queue[number::CHECKERS]))
        assert self.decisions.keys() == self.answered.keys()
        await self._check_maps(address)

    async def _check_decisions(self, address: str, ids: list[str]) -> None:
        async with connected(address) as connection:
            for reservation_id in ids:
                await self.read_decision(connection, reservation_id)

    def sold(self) -> dict[Area, set[tuple[int, int]]]:
        """The seats of live reservations by area; fails if one was sold twice."""
        sold: dict[Area, set[tuple[int, int]]] = defaultdict(set)
        for reservation_id, body in self.decisions.items():
            if not self.is_live(body):
                continue
            asked = self.answered[reservation_id]
            taken = sold[asked["eventId"], asked["areaId"]]
            for seat in Reply(200, {}, body).json["seats"]:
                place = (seat["row"], seat["col"])
                assert place not in taken, f"{asked} {place} was sold twice"
                taken.add(place)
        return sold

    def is_live(self, body: bytes) -> bool:
        """Whether a reservation has its seats, by what was told of it."""
        return b'"RESERVED"' in body

    async def _check_maps(self, address: str) -> None:
        sold = self.sold()
        async with connected(address) as connection:
            for event in self.events:
                reply = await connection.request("GET", f"/v1/event/{event}")
                assert reply.status == 200, reply
                free = {area["areaId"]: area["availableSeats"] for area in reply.json["areas"]}
                assert sorted(free) == sorted(self.areas)
                for area in self.areas:
                    await self._check_map(connection, (event, area), free[area], sold[event, area])

    async def _check_map(self, connection: Connection, area: Area, free: int, sold: set[tuple[int, int]]) -> None:
        taken = await self._taken(connection, area)
        assert free == self.rows * self.cols - len(taken)
        assert sold <= taken, f"{area}: seats that were sold are free: {sorted(sold - taken)}"
        nobodys = len(taken - sold)
        assert nobodys <= self.lost_seats[area], f"{area}: {nobodys} seats are taken, {self.lost_seats[area]} were asked for without answer"

    async def _taken(self, connection: Connection, area: Area) -> set[tuple[int, int]]:
        """The seats that a map shows to be taken."""
        found = (await connection.request("GET", f"/v1/event/{area[0]}/area/{area[1]}")).json
        taken = {(row, col) for row, seats in enumerate(found["rows"]) for col, mark in enumerate(seats) if mark == "#"}
        assert found["availableSeats"] == self.rows * self.cols - len(taken)
        return taken
