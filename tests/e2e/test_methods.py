"""HEAD and OPTIONS, in both versions of HTTP and both ways to serve."""

from __future__ import annotations

from uuid import uuid4

import httpx

from tests.e2e.site import announce, seats
from ticketmaster.ticket.routes import READ_METHODS

EVENT = "/v1/event"
RESERVATION = "/v1/event/concert/reservation"


async def test_head_is_a_get_without_its_body(client: httpx.AsyncClient) -> None:
    await announce(client)
    asked = await client.post(RESERVATION, json=seats())
    decided = f"/v1/reservation/{asked.text}"
    assert (await client.get(decided)).status_code == 200
    found = ("/v1/health_check", decided, EVENT, "/v1/event/concert", "/v1/event/concert/area/A", "/openapi.json", "/docs")

    for path in (*found, "/v1/event/no", "/no", RESERVATION, "/v1/reservation/7", "/v1/event?limit=0"):
        full, bare = await client.get(path), await client.head(path)
        # Over HTTP/2 an answer to GET without a body has no length.
        full.headers.setdefault("content-length", "0")
        full.headers["date"] = bare.headers["date"]
        assert (bare.status_code, bare.content, bare.headers) == (full.status_code, b"", full.headers), path

    same = await client.head(EVENT, headers={"if-none-match": (await client.head(EVENT)).headers["etag"]})
    assert (same.status_code, same.headers.get("content-length")) == (304, None)


async def test_options_tells_the_methods_of_a_path(client: httpx.AsyncClient) -> None:
    for path, allowed in (
        (EVENT, "GET, HEAD, OPTIONS, POST"),
        (RESERVATION, "OPTIONS, POST"),
        ("/v1/event/unknown", f"DELETE, {READ_METHODS}, PATCH"),
        ("/v1/event/unknown/area/A", READ_METHODS),
        (f"/v1/reservation/{uuid4()}", f"DELETE, {READ_METHODS}"),
        (f"/v1/reservation/{uuid4()}/payment", "OPTIONS, POST"),
        (f"/v1/reservation/{uuid4()}/extension", "OPTIONS, POST"),
        ("/v1/health_check/ready", READ_METHODS),
    ):
        for body in (None, b"{}"):
            told = await client.request("OPTIONS", path, content=body)
            assert (told.status_code, told.headers["allow"], told.content) == (204, allowed, b"")
            assert "content-length" not in told.headers
