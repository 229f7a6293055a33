"""The whole system in the test's own loop, served over real sockets: for limits that are small, and disks that are held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.storages import GatedStorage
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.port import Pair, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.reservation.rules import KnownRules
from ticketmaster.state.memory import MemoryStores
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.settings import EMBEDDED
from ticketmaster.streams.table import GlobalTable, OwnedTable, Unreadable
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.observer import Observer
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.door import Door
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.listing import Lists
from ticketmaster.ticket.routes import Routes
from ticketmaster.ticket.server import HttpServer
from ticketmaster.ticket.settings import ServerSettings
from ticketmaster.wire import topics

# Longer than anything takes here, on a loaded machine too: what takes longer hangs. Shorter than what ends by itself after half a minute.
TIMEOUT_S = 25.0
PARTITIONS = 2
READY_WITHIN_S = 30.0


class Site:
    """Three roles and their HTTP side. ``storage.gate`` holds up the log."""

    def __init__(self, limits: TicketLimits, settings: ServerSettings, door: Door | None = None, *, lists: bool = False) -> None:
        clock, streams, observer = SystemClock(), EMBEDDED, Observer()
        self.port = 0
        self.storage = GatedStorage()
        self._broker = broker = EmbeddedBroker(self.storage, clock)
        areas, rules = AreaCache(PARTITIONS, lambda: self._areas.fresh), KnownRules(lambda: self._events.fresh)
        self._event = StreamWorker(event_topology(PARTITIONS), broker, self._open_stores, streams, observer)
        self._reservation = StreamWorker(reservation_topology(PARTITIONS, areas, rules), broker, self._open_stores, streams, observer)
        self._reservations = OwnedTable(
            topics.TICKET_SERVICE, topics.USER_RESERVATION.name, "Reservation", broker, self._open_stores, streams, observer
        )
        catalog = Catalog(lambda: self._areas.ready and self._events.ready)
        self.gateway = Gateway(broker.producer(), self._reservations, catalog, PARTITIONS, clock, limits)

        def on_areas(records: Sequence[Pair]) -> list[Unreadable]:
            areas.apply(records)
            return self.gateway.on_areas(records)

        def on_events(records: Sequence[Pair]) -> list[Unreadable]:
            rules.apply(records)
            return self.gateway.on_events(records)

        self._areas = GlobalTable(broker, topics.AREA_STATUS.name, PARTITIONS, on_areas, streams, Observer())
        self._events = GlobalTable(broker, topics.EVENT.name, PARTITIONS, on_events, streams, Observer())
        self._lists = Lists(self._reservations, PARTITIONS, limits, lambda: self.gateway.draining) if lists else None
        self._server = HttpServer(Routes(self.gateway, lambda: self.ready, limits, lists=self._lists), settings, door=door)
        self._jobs: list[asyncio.Task[None]] = []

    @staticmethod
    def _open_stores(_application_id: str, _names: Sequence[str], _partition: int) -> MemoryStores:
        return MemoryStores()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def ready(self) -> bool:
        """Whether every part serves."""
        return all(part.ready for part in (self._event, self._reservation, self._reservations, self._areas, self._events))

    async def renew(self) -> None:
        """Serves by the certificate that its file holds now."""
        await self._server.renew()

    @property
    def ended(self) -> bool:
        """Whether HTTP is served no more."""
        return self._ended.done()

    async def listen(self) -> None:
        """Serves HTTP; the roles do not work yet."""
        await self._broker.start()
        await self._broker.create_topics([TopicSpec(topic.name, PARTITIONS, topic.compacted) for topic in topics.ALL_TOPICS])
        self.port = await self._server.start()
        self._ended = asyncio.create_task(self._server.ended())

    async def work(self) -> None:
        """Puts the roles to work; returns when they serve."""
        work = (
            self._areas.run(),
            self._events.run(),
            self._reservations.run(self.gateway.on_reservations, self.gateway.on_table_opened),
            self._event.run(),
            self._events.before(self._reservation.run),
            self.gateway.hand_over(Pace(0)),
            self.gateway.sweep(),
        )
        self._jobs = [asyncio.create_task(one) for one in work]
        async with asyncio.timeout(READY_WITHIN_S):
            while not self.ready:
                await asyncio.sleep(0.002)

    async def close(self) -> None:
        """Stops all of it. Raises what a job died of."""
        died = [error for job in self._jobs if job.done() and (error := job.exception())]
        self.storage.gate.set()
        self._ended.cancel()
        await asyncio.gather(self._ended, return_exceptions=True)
        await self._server.stop()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._broker.close()
        if died:
            raise died[0]


@asynccontextmanager
async def site(
    limits: TicketLimits | None = None, settings: ServerSettings | None = None, door: Door | None = None, *, lists: bool = False
) -> AsyncIterator[Site]:
    """A site that serves, on a free port; ``lists`` reservations."""
    one = Site(limits or TicketLimits(), settings or ServerSettings(port=0), door, lists=lists)
    try:
        await one.listen()
        await one.work()
        yield one
    finally:
        await one.close()


def client_of(address: str, version: int) -> httpx.AsyncClient:
    """A client that speaks HTTP/1.1, or HTTP/2 by prior knowledge."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=f"http://{address}", http1=version == 1, http2=version == 2, timeout=TIMEOUT_S, limits=limits)


async def announce(client: httpx.AsyncClient, name: str = "concert", rows: int = 3, cols: int = 4, **more: object) -> None:
    """An event of one area A."""
    event = {"eventName": name, "areas": [{"areaId": "A", "price": 5, "rowCount": rows, "colCount": cols}], **more}
    response = await client.post("/v1/event", json=event)
    assert response.status_code == 200, response.text


def seats(count: int = 1, **more: object) -> dict[str, object]:
    """The body of a request for seats."""
    return {"userId": "ann", "areaId": "A", "numOfSeats": count, "type": "RANDOM", **more}


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document, after a look at all of it."""
    document: dict[str, Any] = response.json()
    # Some say more behind these.
    assert list(document)[:5] == ["type", "title", "status", "code", "detail"]
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert document["status"] == response.status_code
    assert document["type"] == f"/docs#{document['code']}"
    assert document["title"]
    assert document["detail"].endswith(".")
    assert ("retry-after" in response.headers) == (response.status_code in {429, 503} or document["code"] == "sale_not_open")
    return response.status_code, document["code"]
