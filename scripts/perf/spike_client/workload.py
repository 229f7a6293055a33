"""The requests to the server: the event, and for each request an area and a number of seats."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from scripts.perf.spike_client.options import Options

USER_ID = "spike"
PRICE = 100
PAYMENT = b'{"reference":"spike"}'


class Fate(IntEnum):
    """The client's next step with seats that it got."""

    LEAVE = 0
    PAY = 1
    CANCEL = 2


@dataclass(frozen=True, slots=True)
class Workload:
    """Request i asks for `seats[i]` adjacent seats of area `areas[i]`; `fates[i]` becomes of them, where there are fates."""

    areas: array[int]
    seats: bytes
    fates: bytes = b""

    def __len__(self) -> int:
        return len(self.seats)

    def share(self, worker: int, workers: int) -> Workload:
        """Every `workers`-th request, from request `worker` on."""
        return Workload(self.areas[worker::workers], self.seats[worker::workers], self.fates[worker::workers])

    def fate(self, number: int) -> Fate:
        """The fate of a request's seats."""
        return Fate(self.fates[number]) if self.fates else Fate.LEAVE


def draw(options: Options) -> Workload:
    """The same requests for the same seed, whatever the number of processes and clients."""
    rng = random.Random(options.seed)  # noqa: S311 - a seeded load, no secret
    areas = array("I", rng.choices(range(options.areas), k=options.requests))
    seats = bytes(rng.choices(range(1, options.seats_max + 1), k=options.requests))
    if not (options.pay or options.cancel):
        return Workload(areas, seats)
    weights = (1 - options.pay - options.cancel, options.pay, options.cancel)
    return Workload(areas, seats, bytes(rng.choices((Fate.LEAVE, Fate.PAY, Fate.CANCEL), weights, k=options.requests)))


DAY_S = 86_400


def event_body(options: Options, event: str, opening_s: int = 0) -> bytes:
    """The body of POST /v1/event; the areas are named "0", "1", …; missing times mean now. `opening_s`: when its sale opens."""
    area = {"price": PRICE, "rowCount": options.rows, "colCount": options.cols}
    areas = [{"areaId": str(number), **area} for number in range(options.areas)]
    rules = {} if options.hold_seconds is None else {"holdSeconds": options.hold_seconds}
    if opening_s:
        rules |= {"reservationOpeningTime": opening_s, "reservationClosingTime": opening_s + DAY_S}
    return msgspec.json.encode({"eventName": event, "artist": "The Spikes", "areas": areas, **rules})


def reservation_template(event: str) -> bytes:
    """The body of POST /v1/event/{event}/reservation, to be filled with `% (area, seats)`."""
    name = msgspec.json.encode(event).replace(b"%", b"%%")
    return b'{"userId":"%s","eventId":%s,"areaId":"%%d","numOfSeats":%%d,"seats":[],"type":"RANDOM"}' % (USER_ID.encode(), name)
