"""Pages of other origins, as browsers ask for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from tests.e2e.conftest import LIMITS
from tests.e2e.site import announce, client_of, problem, site
from tests.support.doors import bearing, scope_tokens
from ticketmaster.ticket.cors import CrossOrigin
from ticketmaster.ticket.door import Door
from ticketmaster.ticket.settings import ServerSettings

SHOP = "https://shop.example"
SENT = ("authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "traceparent", "tracestate")
Serving = Callable[[Door | None], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(params=[1, 2], ids=["http1", "http2"])
def serving(request: pytest.FixtureRequest, settings: ServerSettings) -> Serving:
    """Serves behind a door."""

    @asynccontextmanager
    async def serve(door: Door | None) -> AsyncIterator[httpx.AsyncClient]:
        async with site(LIMITS, settings, door) as one, client_of(one.address, request.param) as client:
            yield client

    return serve


def asks(method: str, origin: str = SHOP) -> dict[str, str]:
    """A preflight."""
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }


def cors_of(answer: httpx.Response) -> dict[str, str]:
    """What an answer says of other origins."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-") or name == "vary"}


async def test_a_browser_may_send_what_the_path_takes_and_read_what_comes(serving: Serving) -> None:
    async with serving(Door(scope_tokens(), cors=CrossOrigin([SHOP, "http://localhost:3000"]))) as client:
        # A preflight has no token.
        may = await client.options("/v1/event/concert/reservation", headers=asks("POST"))
        assert may.status_code == 204
        assert cors_of(may) == {
            "access-control-allow-origin": SHOP,
            "vary": "origin",
            "access-control-allow-methods": "OPTIONS, POST",
            "access-control-allow-headers": ", ".join(SENT),
            "access-control-max-age": "600",
        }
        readable = {
            "access-control-allow-origin": SHOP,
            "vary": "origin",
            "access-control-expose-headers": "allow, etag, retry-after, www-authenticate",
        }
        for path, headers, status in (("/v1/event", bearing("reader"), 200), ("/v1/event", {}, 401), ("/v2", {}, 404)):
            answer = await client.get(path, headers={"origin": SHOP, **headers})
            assert (answer.status_code, cors_of(answer)) == (status, readable)
        head = await client.head("/v1/event", headers={"origin": SHOP, **bearing("reader")})
        assert cors_of(head) == readable


async def test_another_origin_is_told_nothing_and_caches_are_told_why(serving: Serving) -> None:
    async with serving(Door(cors=CrossOrigin([SHOP]))) as client:
        for origin in ("https://other.example", "null", "https://shop.example:8443", "http://shop.example", f"{SHOP}, {SHOP}"):
            assert cors_of(await client.options("/v1/event", headers=asks("GET", origin))) == {"vary": "origin"}
            assert cors_of(await client.get("/v1/event", headers={"origin": origin})) == {"vary": "origin"}
        assert cors_of(await client.get("/v1/event")) == {"vary": "origin"}


async def test_a_star_stands_for_all_origins_and_needs_no_vary(serving: Serving) -> None:
    async with serving(Door(cors=CrossOrigin(["*"]))) as client:
        answer = await client.get("/v1/event", headers={"origin": "null"})
        assert cors_of(answer)["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers
        assert cors_of(await client.get("/v1/event")) == {}


async def test_a_preflight_of_no_path_and_options_that_are_none_are_answered_as_ever(serving: Serving) -> None:
    async with serving(Door(cors=CrossOrigin([SHOP]))) as client:
        assert problem(await client.options("/v2", headers=asks("GET"))) == (404, "no_such_path")
        plain = await client.options("/v1/event", headers={"origin": SHOP})
        assert (plain.status_code, plain.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


async def test_nothing_is_said_of_other_origins_where_it_is_off(serving: Serving) -> None:
    async with serving(None) as client:
        await announce(client)
        assert cors_of(await client.get("/v1/event", headers={"origin": SHOP})) == {}
        assert cors_of(await client.options("/v1/event", headers=asks("GET"))) == {}
