"""A shop's whole sequence over real sockets, in both versions of HTTP and both ways to serve: hold, pay, extend, cancel, repeat."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import httpx
import pytest

from tests.e2e.site import Site, announce, problem, seats

EVENT = "/v1/event/concert"
RESERVATION = f"{EVENT}/reservation"


async def reserved(client: httpx.AsyncClient, count: int = 1, **headers: str) -> str:
    """The path of a reservation that has its seats."""
    asked = await client.post(RESERVATION, json=seats(count), headers=headers)
    assert asked.status_code == 200, asked.text
    path = f"/v1/reservation/{asked.text}"
    assert (await client.get(path)).json()["state"] == "RESERVED"
    return path


async def free(client: httpx.AsyncClient) -> int:
    found: int = (await client.get(EVENT)).json()["availableSeats"]
    return found


async def becomes_free(client: httpx.AsyncClient, count: int) -> None:
    async with asyncio.timeout(5):
        while await free(client) != count:
            await asyncio.sleep(0.01)


async def test_an_event_shows_its_hold_and_a_reservation_when_that_ends(client: httpx.AsyncClient) -> None:
    await announce(client, holdSeconds=600, holdSecondsMax=900)
    shown = (await client.get(EVENT)).json()
    assert (shown["holdSeconds"], shown["holdSecondsMax"]) == (600, 900)

    path = await reserved(client)
    held = await client.get(path)
    extended = await client.post(f"{path}/extension", json={"seconds": 800})
    paid = await client.post(f"{path}/payment", json={"reference": "invoice 7"})

    assert list(held.json())[-2:] == ["failedReason", "holdExpiresAt"]
    assert 100 < extended.json()["holdExpiresAt"] - held.json()["holdExpiresAt"] <= 205
    assert list(paid.json())[-3:] == ["state", "failedReason", "paymentReference"]
    assert (paid.json()["state"], paid.json()["paymentReference"]) == ("PAID", "invoice 7")
    assert (await client.get(path)).content == paid.content
    assert problem(await client.post(f"{path}/extension", json={"seconds": 800})) == (409, "already_paid")


async def test_a_hold_that_ends_gives_its_seats_back(client: httpx.AsyncClient) -> None:
    await announce(client, holdSeconds=1)
    path = await reserved(client, 2)
    assert problem(await client.post(f"{path}/extension", json={"seconds": 60})) == (409, "hold_limit")
    await becomes_free(client, 12)

    over = (await client.get(path)).json()
    assert over["state"] == "CANCELLED"
    assert over["failedReason"].startswith("[HOLD_EXPIRED]: ")
    assert "holdExpiresAt" not in over
    assert problem(await client.post(f"{path}/payment", json={"reference": "late"})) == (409, "hold_expired")
    assert (await client.delete(path)).json() == over


async def test_a_payment_may_be_repeated_and_is_made_once(client: httpx.AsyncClient) -> None:
    await announce(client)
    path = await reserved(client)
    answers = await asyncio.gather(*(client.post(f"{path}/payment", json={"reference": "invoice 7"}) for _ in range(5)))
    other = await client.post(f"{path}/payment", json={"reference": "invoice 8"})

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.content for answer in answers} == {answers[0].content}
    assert problem(other) == (409, "already_paid")


async def test_a_cancelled_reservation_gives_its_seats_back(client: httpx.AsyncClient) -> None:
    await announce(client)
    path = await reserved(client, 3)
    assert await free(client) == 9
    cancelled = await client.delete(path)
    again = await client.delete(path)

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "CANCELLED")
    assert cancelled.json()["failedReason"].startswith("[CANCELLED]: ")
    assert again.json() == cancelled.json()
    assert problem(await client.post(f"{path}/payment", json={"reference": "7"})) == (409, "reservation_cancelled")
    await becomes_free(client, 12)
    await reserved(client, 4)


async def test_a_refund_must_be_asked_for(client: httpx.AsyncClient) -> None:
    await announce(client)
    path = await reserved(client, 2)
    await client.post(f"{path}/payment", json={"reference": "invoice 7"})
    assert problem(await client.delete(path)) == (409, "already_paid")
    assert problem(await client.delete(f"{path}?refund=false")) == (409, "already_paid")
    refunded = await client.delete(f"{path}?refund=true")

    assert refunded.json()["state"] == "CANCELLED"
    assert refunded.json()["failedReason"].startswith("[REFUNDED]: ")
    await becomes_free(client, 12)


async def test_what_has_failed_stays_so(client: httpx.AsyncClient) -> None:
    await announce(client)
    asked = await client.post(RESERVATION, json=seats(areaId="nowhere"))
    path = f"/v1/reservation/{asked.text}"
    for answer in (
        await client.post(f"{path}/payment", json={"reference": "7"}),
        await client.post(f"{path}/extension", json={"seconds": 60}),
        await client.delete(path),
    ):
        assert problem(answer) == (409, "reservation_failed")
    assert (await client.get(path)).json()["state"] == "FAILED"


async def test_an_unknown_id_is_not_decided(client: httpx.AsyncClient, small_site: Site) -> None:
    await announce(client)
    written = len(small_site.storage.writes)
    assert problem(await client.post(f"/v1/reservation/{uuid4()}/payment", json={"reference": "7"})) == (409, "not_decided")
    assert problem(await client.post(f"/v1/reservation/{uuid4()}/extension", json={"seconds": 7})) == (409, "not_decided")
    assert len(small_site.storage.writes) == written
    assert problem(await client.delete(f"/v1/reservation/{uuid4()}")) == (409, "not_decided")


RUDE: list[tuple[str, object, str]] = [
    ("payment", b"", "malformed_json"),
    ("payment", {}, "invalid_field"),
    ("payment", {"reference": ""}, "invalid_reference"),
    ("payment", {"reference": "r" * 256}, "invalid_reference"),
    ("extension", b"7", "invalid_field"),
    ("extension", {"seconds": 0}, "invalid_extension"),
    ("extension", {"seconds": 604_801}, "invalid_extension"),
]


async def test_a_rude_change_is_refused_with_its_code_and_writes_nothing(client: httpx.AsyncClient, small_site: Site) -> None:
    await announce(client)
    path = await reserved(client)
    await asyncio.sleep(0.1)
    written = len(small_site.storage.writes)
    for end, body, code in RUDE:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        assert problem(await client.post(f"{path}/{end}", content=raw)) == (400, code), raw
    assert problem(await client.delete(f"{path}?refund=maybe")) == (400, "invalid_refund")
    for bad in ("", "a b", "k" * 256):
        assert problem(await client.post(RESERVATION, json=seats(), headers={"idempotency-key": bad})) == (400, "invalid_idempotency_key")
    assert len(small_site.storage.writes) == written


async def test_a_repeated_request_with_its_key_makes_one_reservation(client: httpx.AsyncClient) -> None:
    await announce(client)
    key = {"idempotency-key": str(uuid4())}
    at_once = await asyncio.gather(*(client.post(RESERVATION, json=seats(2), headers=key) for _ in range(5)))
    path = f"/v1/reservation/{at_once[0].text}"
    assert (await client.get(path)).json()["state"] == "RESERVED"
    later = await client.post(RESERVATION, json=seats(2), headers=key)
    reused = await client.post(RESERVATION, json=seats(3), headers=key)

    assert {answer.text for answer in (*at_once, later)} == {at_once[0].text}
    assert problem(reused) == (422, "idempotency_key_reused")
    assert await free(client) == 10
    # Also when it is over.
    await client.delete(path)
    assert (await client.post(RESERVATION, json=seats(2), headers=key)).text == at_once[0].text


@pytest.mark.parametrize("length", [1, 255])
async def test_a_key_has_up_to_255_characters(client: httpx.AsyncClient, length: int) -> None:
    await announce(client)
    asked = await client.post(RESERVATION, json=seats(), headers={"idempotency-key": "~" * length})
    assert asked.text.startswith("00000000-0000-8")
