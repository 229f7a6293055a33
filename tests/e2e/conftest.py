"""A site, and clients of it in every way there is to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.e2e.site import Site, client_of, site
from ticketmaster.domain.event import EventLimits
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.settings import ServerSettings

BODY_BYTES_MAX = 64 << 10
LIMITS = TicketLimits(
    event=EventLimits(areas_max=5, seats_per_area_max=100, seats_per_event_max=250),
    request_body_bytes_max=BODY_BYTES_MAX,
    seats_per_reservation_max=20,
    long_poll_ms=300,
    listed_events_max=50,
)


@pytest.fixture(params=[True, False], ids=["notes", "rsgi"])
def settings(request: pytest.FixtureRequest) -> ServerSettings:
    """Both ways to serve."""
    return ServerSettings(port=0, notes=request.param)


@pytest.fixture
async def small_site(settings: ServerSettings) -> AsyncIterator[Site]:
    """A site of small limits, served in both ways."""
    async with site(LIMITS, settings) as one:
        yield one


@pytest.fixture
async def listing_site(settings: ServerSettings) -> AsyncIterator[Site]:
    """The same, where reservations are listed."""
    async with site(LIMITS, settings, lists=True) as one:
        yield one


@pytest.fixture(params=[1, 2], ids=["http1", "http2"])
async def client(request: pytest.FixtureRequest, small_site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the small site, in both versions of HTTP."""
    async with client_of(small_site.address, request.param) as one:
        yield one
