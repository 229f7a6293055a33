"""A seat service on Starlette, with the routes that the load client uses. A store decides; this reads requests and writes answers.

It is what a careful developer would build first: it has no holds, no payments, no idempotency keys and no long polls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Literal, NamedTuple, Protocol
from uuid import UUID, uuid4

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern="^[^#]*$")]
Side = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
FREE, TAKEN, BETWEEN = "0", "1", "|"


class Area(msgspec.Struct, rename="camel"):
    """An area as it is announced."""

    area_id: Name
    row_count: Side
    col_count: Side
    price: int = 0


class Event(msgspec.Struct, rename="camel"):
    """An event as it is announced."""

    event_name: Name
    areas: list[Area]
    artist: str = ""


class Wish(msgspec.Struct, rename="camel"):
    """The seats that a buyer asks for."""

    user_id: str
    area_id: Name
    num_of_seats: Annotated[int, msgspec.Meta(ge=1, le=1_000)]
    type: Literal["RANDOM"]


class Reservation(msgspec.Struct, rename="camel"):
    """A decided reservation. ``seats`` are pairs of row and column."""

    reservation_id: str
    user_id: str
    event_id: str
    area_id: str
    num_of_seats: int
    seats: list[dict[str, int]]
    state: str
    failed_reason: str
    type: str = "RANDOM"


class AreaMap(NamedTuple):
    """An area as it is now; the map has a character a seat and a separator between rows."""

    area_id: str
    map: str


class Store(Protocol):
    """Where seats and reservations are. An answer of a method is on the disk."""

    async def open(self) -> None:
        """Connects."""

    async def close(self) -> None:
        """Disconnects."""

    async def announce(self, event: Event) -> None:
        """Makes the areas that are not there yet."""

    async def reserve(self, reservation_id: UUID, event_id: str, wish: Wish) -> None:
        """Decides, and keeps the decision."""

    async def reservation(self, reservation_id: UUID) -> bytes | None:
        """A decided reservation as JSON; None: there is none."""

    async def areas(self, event_id: str) -> Sequence[AreaMap]:
        """All areas of an event; none: there is no such event."""


def free_map(area: Area) -> str:
    """The map of an area without reservations."""
    return BETWEEN.join([FREE * area.col_count] * area.row_count)


def app(store: Store) -> Starlette:
    """The service on a store."""
    event_of, wish_of = msgspec.json.Decoder(Event).decode, msgspec.json.Decoder(Wish).decode

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await store.open()
        yield
        await store.close()

    async def announce(request: Request) -> Response:
        body = await request.body()
        await store.announce(event_of(body))
        return _json(body)

    async def reserve(request: Request) -> Response:
        reservation_id = uuid4()
        await store.reserve(reservation_id, request.path_params["event"], wish_of(await request.body()))
        return Response(str(reservation_id), media_type="text/plain")

    async def reservation(request: Request) -> Response:
        found = await store.reservation(request.path_params["id"])
        return _json(found) if found else _json(b'{"detail":"unknown"}', 404)

    async def event(request: Request) -> Response:
        areas = [_shown(area) for area in await store.areas(request.path_params["event"])]
        return _json(msgspec.json.encode({"areas": areas}), 200 if areas else 404)

    async def area(request: Request) -> Response:
        wanted = request.path_params["area"]
        for each in await store.areas(request.path_params["event"]):
            if each.area_id == wanted:
                rows = each.map.replace(FREE, ".").replace(TAKEN, "#").split(BETWEEN)
                return _json(msgspec.json.encode(_shown(each) | {"rows": rows}))
        return _json(b'{"detail":"unknown"}', 404)

    async def health(_: Request) -> Response:
        return Response("ok", media_type="text/plain")

    async def bad(_: Request, error: Exception) -> Response:
        return _json(msgspec.json.encode({"detail": str(error)}), 400)

    routes = [
        Route("/v1/event", announce, methods=["POST"]),
        Route("/v1/event/{event}", event),
        Route("/v1/event/{event}/area/{area}", area),
        Route("/v1/event/{event}/reservation", reserve, methods=["POST"]),
        Route("/v1/reservation/{id:uuid}", reservation),
        Route("/v1/health_check", health),
    ]
    return Starlette(lifespan=lifespan, routes=routes, exception_handlers={msgspec.DecodeError: bad})


def _shown(area: AreaMap) -> dict[str, object]:
    rows = area.map.split(BETWEEN)
    return {"areaId": area.area_id, "rowCount": len(rows), "colCount": len(rows[0]), "availableSeats": area.map.count(FREE)}


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
