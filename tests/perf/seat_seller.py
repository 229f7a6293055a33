"""A small server that sells seats over HTTP/1.1 and HTTP/2, and can be told to do it wrong: what the load client is tested against."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import typing
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server

JSON = [("content-type", "application/json")]
CONNECTIONS_MAX = 1_000
TEXT = [("content-type", "text/plain; charset=utf-8")]


class Scope(typing.Protocol):
    """What the seller reads of Granian's scope."""

    method: str
    path: str


class Protocol(typing.Protocol):
    """What the seller uses of Granian's HTTP protocol."""

    async def __call__(self) -> bytes: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...


@dataclass
class SeatSeller:
    """Areas as one byte a seat with a separator a row; the flags are its faults."""

    sells_twice: bool = False
    # Of each so many reservations one, whose id is handed out and then unknown.
    loses_every: int = 0
    refuses_all: bool = False
    # The status of every POST, of the event's view and of its maps; 200 is as it should be.
    post_status: int = 200
    event_status: int = 200
    map_status: int = 200
    # So many commands are taken and answered with 503.
    unacknowledged: int = 0
    # Seats of an area that are gone without a reservation.
    leaks_seats: int = 0
    shows_maps: bool = True
    shows_taken_seats: bool = True
    forgets_decisions: bool = False
    busy_replies: int = 0
    slow_polls: int = 0
    port: int = 0
    areas: dict[str, tuple[int, int, bytearray]] = field(default_factory=dict)
    decisions: dict[str, bytes] = field(default_factory=dict)
    streams_max: int = 0
    posts: int = 0
    # The life of reservations: what payments are answered by instead; holds that end too early or too late, also those of paid ones.
    payment_answer: str = ""
    cancel_status: int = 200
    ends_holds_after_s: float | None = None
    frees_paid: bool = False
    keeps_cancelled: bool = False
    busy_changes: int = 0
    hold_s: float | None = None
    # When a reservation's hold ends, and its area, first place and number of seats.
    holds: dict[str, tuple[float, str, int, int]] = field(default_factory=dict)
    _waiting: int = 0

    async def __rsgi__(self, scope: Scope, protocol: Protocol) -> None:
        status, headers, body = await self.reply(scope.method, scope.path.split("/")[2:], protocol)
        protocol.response_bytes(status, headers, body)

    async def reply(self, method: str, path: list[str], protocol: Protocol) -> tuple[int, list[tuple[str, str]], bytes]:
        match method, path:
            case "POST", ["event"]:
                event = msgspec.json.decode(await protocol())
                self.hold_s = event.get("holdSeconds")
                for area in event["areas"]:
                    rows, cols = area["rowCount"], area["colCount"]
                    seats = bytearray(b"|".join([b"." * cols] * rows))
                    seats[: self.leaks_seats] = b"#" * self.leaks_seats
                    self.areas[area["areaId"]] = (rows, cols, seats)
                return 200, JSON, msgspec.json.encode(event)
            case "POST", ["event", event_id, "reservation"]:
                return self.reserve(event_id, msgspec.json.decode(await protocol()))
            case "POST", ["reservation", reservation_id, "payment"]:
                await protocol()
                return self.pay(reservation_id)
            case "DELETE", ["reservation", reservation_id]:
                return self.cancel(reservation_id)
            case "GET", ["reservation", reservation_id]:
                return await self.decision(reservation_id)
            case "GET", ["event", _, *rest] if self.shows_maps:
                return (self.map_status, JSON, self.map(rest[-1])) if rest else (self.event_status, JSON, self.event())
        return 404, JSON, b'{"title":"no such thing"}'

    def reserve(self, event_id: str, body: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        self.posts += 1
        self.expire()
        if self.post_status != 200:
            return self.post_status, JSON, b"{}"
        if self.busy_replies:
            self.busy_replies -= 1
            return 503, [*JSON, ("retry-after", "1")], b'{"code":"not_serving"}'
        reservation_id, seats = str(uuid.uuid4()), self.take(body["areaId"], body["numOfSeats"], body["seats"])
        reason = "" if seats else f"[NOT_AVAILABLE]: no continuous {body['numOfSeats']} seats at area {body['areaId']} in event {event_id}"
        state = "RESERVED" if seats else "FAILED"
        body |= {"reservationId": reservation_id, "numOfSeat": 0, "seats": seats, "state": state, "failedReason": reason}
        if seats:
            place = seats[0]["row"] * (self.areas[body["areaId"]][1] + 1) + seats[0]["col"]
            lasts_s = self.hold_s if self.ends_holds_after_s is None else self.ends_holds_after_s
            ends_s = float("inf") if self.hold_s is None or lasts_s is None else time.monotonic() + lasts_s
            self.holds[reservation_id] = (ends_s, body["areaId"], place, len(seats))
        if not self.loses_every or self.posts % self.loses_every:
            self.decisions[reservation_id] = msgspec.json.encode(body)
        if self.unacknowledged:
            self.unacknowledged -= 1
            return 503, [*JSON, ("retry-after", "1")], b'{"code":"log_unavailable"}'
        return 200, TEXT, reservation_id.encode()

    def pay(self, reservation_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
        self.expire()
        if self.busy_changes:
            self.busy_changes -= 1
            return 503, [*JSON, ("retry-after", "1")], b'{"code":"change_not_answered"}'
        code = self.payment_answer or ("" if reservation_id in self.holds else "hold_expired")
        if code.startswith("{"):
            return 200, JSON, code.encode()
        if code:
            return 409, JSON, msgspec.json.encode({"code": code})
        if not self.frees_paid:
            self.holds[reservation_id] = (float("inf"), *self.holds[reservation_id][1:])
        return 200, JSON, self.decisions[reservation_id].replace(b"RESERVED", b"PAID")

    def cancel(self, reservation_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
        self.expire()
        if self.cancel_status != 200:
            return self.cancel_status, JSON, b'{"code":"already_paid"}'
        if self.keeps_cancelled:
            self.holds[reservation_id] = (float("inf"), *self.holds[reservation_id][1:])
        else:
            self.free(reservation_id)
        return 200, JSON, self.decisions[reservation_id].replace(b"RESERVED", b"CANCELLED")

    def expire(self) -> None:
        now_s = time.monotonic()
        for reservation_id in [key for key, (ends_s, *_) in self.holds.items() if ends_s <= now_s]:
            self.free(reservation_id)

    def free(self, reservation_id: str) -> None:
        if held := self.holds.pop(reservation_id, None):
            _, area_id, place, count = held
            self.areas[area_id][2][place : place + count] = b"." * count

    def take(self, area_id: str, count: int, picked: list[dict[str, int]]) -> list[dict[str, int]]:
        _, cols, seats = self.areas[area_id]
        start = picked[0]["row"] * (cols + 1) + picked[0]["col"] if picked else seats.find(b"." * count)
        if self.refuses_all or start < 0 or seats[start : start + count] != b"." * count:
            return []
        if not self.sells_twice:
            seats[start : start + count] = b"#" * count
        return [{"row": start // (cols + 1), "col": start % (cols + 1) + offset} for offset in range(count)]

    async def decision(self, reservation_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
        if self.forgets_decisions or reservation_id not in self.decisions:
            return 404, JSON, b'{"title":"unknown reservation"}'
        self._waiting += 1
        self.streams_max = max(self.streams_max, self._waiting)
        await asyncio.sleep(0.02)
        self._waiting -= 1
        if self.slow_polls:
            self.slow_polls -= 1
            return 503, JSON, b"{}"
        return 200, JSON, self.decisions[reservation_id]

    def event(self) -> bytes:
        self.expire()
        areas = [
            {"areaId": name, "price": 1, "rowCount": rows, "colCount": cols, "availableSeats": self.shown(seats).count(b".")}
            for name, (rows, cols, seats) in self.areas.items()
        ]
        return msgspec.json.encode({"areas": areas})

    def map(self, area_id: str) -> bytes:
        seats = self.shown(self.areas[area_id][2])
        return msgspec.json.encode({"availableSeats": seats.count(b"."), "rows": seats.decode().split("|")})

    def shown(self, seats: bytearray) -> bytearray:
        return seats if self.shows_taken_seats else seats.replace(b"#", b".")


@contextmanager
def selling(seller: SeatSeller) -> Iterator[SeatSeller]:
    """The seller on a free port of this machine, in a thread, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        seller.port = probe.getsockname()[1]
    # Granian accepts no more connections than its backpressure; the default of 128 would leave the others waiting for 30 s.
    server = Server(
        seller,
        address="127.0.0.1",
        port=seller.port,
        interface=Interfaces.RSGI,
        websockets=False,
        log_enabled=False,
        backpressure=CONNECTIONS_MAX,
    )
    loop = asyncio.new_event_loop()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.serve())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        wait_for(seller.port)
        yield seller
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join(10)


def wait_for(port: int) -> None:
    """Until the port answers, 10 s at most."""
    deadline_s = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
        else:
            return
