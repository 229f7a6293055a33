"""Each route of the OpenAPI document by each kind of caller, and what else tokens decide."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import LIMITS
from tests.e2e.site import Site, announce, client_of, problem, seats, site
from tests.support.doors import bearing, line, scope_tokens
from ticketmaster.ticket.access import RULES, Scope
from ticketmaster.ticket.documents import OPENAPI_JSON
from ticketmaster.ticket.door import Door
from ticketmaster.ticket.routes import HEALTH_PATHS
from ticketmaster.ticket.settings import ServerSettings

DOCUMENT: dict[str, Any] = json.loads(OPENAPI_JSON)
OPERATIONS = [
    (path, method.upper(), operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
]
KINDS: list[Scope | None] = [*Scope, None]
UNKNOWN_ID = "01a2124a-fc96-7000-8855-0ce95bc3ca78"
CONCERTS = line("concerts", *Scope, events="concert*")


@pytest.fixture(params=[True, False], ids=["by id", "token needed"])
def by_id(request: pytest.FixtureRequest) -> bool:
    """Whether a reservation's id is right enough."""
    return bool(request.param)


@pytest.fixture
async def guarded(settings: ServerSettings, *, by_id: bool) -> AsyncIterator[Site]:
    """A small site that asks for tokens."""
    async with site(LIMITS, settings, Door(scope_tokens(CONCERTS, by_id=by_id), by_id=by_id)) as one:
        yield one


@pytest.fixture(params=[1, 2], ids=["http1", "http2"])
async def client(request: pytest.FixtureRequest, guarded: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it, in both versions of HTTP; the event ``concert`` is there, and another one."""
    async with client_of(guarded.address, request.param) as one:
        one.headers.update(bearing("organiser"))
        await announce(one)
        await announce(one, "gala")
        del one.headers["authorization"]
        yield one


async def reserve(client: httpx.AsyncClient, event: str = "concert") -> str:
    """A reservation of the box office's, decided."""
    answer = await client.post(f"/v1/event/{event}/reservation", json=seats(), headers=bearing("box_office"))
    assert answer.status_code == 200, answer.text
    decided = await client.get(f"/v1/reservation/{answer.text}", headers=bearing("reader"))
    assert decided.status_code == 200, decided.text
    return answer.text


async def test_each_route_takes_the_scopes_that_the_document_names_and_no_other(client: httpx.AsyncClient, *, by_id: bool) -> None:
    for path, method, operation in OPERATIONS:
        await try_route(client, path, method, operation, by_id=by_id)


async def try_route(client: httpx.AsyncClient, path: str, method: str, operation: dict[str, Any], *, by_id: bool) -> None:
    """Asks for a route as each kind of caller."""
    security: list[dict[str, list[str]]] = operation["security"]
    url = path.replace("{eventId}", "concert").replace("{areaId}", "A").replace("{reservationId}", UNKNOWN_ID)
    allowed = {scope for one in security for scope in one.get("token", ())}
    is_open = not security or (operation.get("x-by-id", False) and by_id)
    assert ({} in security) == operation.get("x-by-id", False), (method, path)
    for kind in KINDS:
        headers = bearing(kind.value) if kind else {}
        # No body is needed: who asks is looked at before.
        answer = await client.request(method, url, headers=headers)

        admitted = answer.status_code not in {401, 403}
        assert admitted == (is_open or (kind is not None and kind.value in allowed)), (method, path, kind, answer.text)
        if admitted:
            continue
        if kind is None:
            assert problem(answer) == (401, "token_needed")
            assert answer.headers["www-authenticate"] == 'Bearer realm="ticketmaster"'
        else:
            assert problem(answer) == (403, "missing_scope")
            named = answer.headers["www-authenticate"].partition('scope="')[2].removesuffix('"').split()
            assert set(named) == allowed
            assert all(scope in answer.json()["detail"] for scope in allowed)


def test_every_operation_has_a_rule_and_says_it() -> None:
    for path, item in DOCUMENT["paths"].items():
        for method in item.keys() - {"parameters"}:
            assert "security" in item[method], (method, path)
            assert (method.upper(), path) in RULES, (method, path)


async def test_a_token_that_is_none_is_refused_wherever_one_is_looked_at(client: httpx.AsyncClient) -> None:
    for given in (b"Bearer tm_00", b"Bearer", b"Basic YTpi", b"", b"Bearer " + b"x" * 1_000, b"Bearer \xe9", b"tm_00"):
        answer = await client.get("/v1/event", headers=[(b"authorization", given)])
        assert problem(answer) == (401, "invalid_token"), given
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    for path in HEALTH_PATHS:
        assert (await client.get(path, headers={"authorization": "Bearer tm_00"})).status_code == 200


async def test_the_scheme_is_written_in_any_case(client: httpx.AsyncClient) -> None:
    given = bearing("reader")["authorization"].replace("Bearer", "bEARER")
    assert (await client.get("/v1/event", headers={"authorization": given})).status_code == 200


async def test_paths_and_methods_that_are_not_there_are_told_as_ever(client: httpx.AsyncClient) -> None:
    assert problem(await client.get("/v2")) == (404, "no_such_path")
    assert problem(await client.request("BREW", "/v1/event")) == (405, "wrong_method")
    assert (await client.options("/v1/event")).status_code == 204


async def test_a_refund_takes_the_organiser_or_the_box_office(client: httpx.AsyncClient) -> None:
    reservation = await reserve(client)
    paid = await client.post(f"/v1/reservation/{reservation}/payment", json={"reference": "7"}, headers=bearing("seller"))
    assert paid.json()["state"] == "PAID"
    url = f"/v1/reservation/{reservation}?refund=true"
    assert problem(await client.delete(url)) == (401, "token_needed")
    for scope in ("seller", "reader"):
        assert problem(await client.delete(url, headers=bearing(scope))) == (403, "missing_scope")

    refunded = await client.delete(url, headers=bearing("box_office"))

    assert (refunded.status_code, refunded.json()["state"]) == (200, "CANCELLED")


async def test_whoever_knows_the_id_may_read_pay_extend_and_cancel_unless_that_is_off(client: httpx.AsyncClient, *, by_id: bool) -> None:
    url = f"/v1/reservation/{await reserve(client)}"
    answers = [
        await client.get(url),
        await client.post(f"{url}/extension", json={"seconds": 1}),
        await client.delete(url),
    ]
    if by_id:
        assert [answer.status_code for answer in answers] == [200, 200, 200]
    else:
        assert [problem(answer) for answer in answers] == [(401, "token_needed")] * 3


async def test_a_token_for_some_events_is_refused_for_others(client: httpx.AsyncClient) -> None:
    headers = bearing("concerts")
    event = {"eventName": "gala-2", "areas": [{"areaId": "A", "price": 5, "rowCount": 1, "colCount": 1}]}
    refused = [
        await client.post("/v1/event", json=event, headers=headers),
        await client.get("/v1/event/gala", headers=headers),
        await client.get("/v1/event/gala/area/A", headers=headers),
        await client.get("/v1/event/nowhere", headers=headers),
        await client.post("/v1/event/gala/reservation", json=seats(), headers=headers),
    ]
    assert [problem(answer) for answer in refused] == [(403, "other_event")] * 5
    assert (await client.get("/v1/event/gala-2", headers=bearing("reader"))).status_code == 404

    event["eventName"] = "concert-2"
    taken = [
        await client.post("/v1/event", json=event, headers=headers),
        await client.get("/v1/event/concert", headers=headers),
        await client.get("/v1/event/concert/area/A", headers=headers),
        await client.post("/v1/event/concert/reservation", json=seats(), headers=headers),
    ]
    assert [answer.status_code for answer in taken] == [200] * 4
    names = [one["eventName"] for one in (await client.get("/v1/event", headers=headers)).json()["events"]]
    assert names == ["concert", "concert-2"]
    page = (await client.get("/v1/event?limit=1", headers=headers)).json()
    assert ([one["eventName"] for one in page["events"]], page["next"]) == (["concert"], "concert")


async def test_a_token_for_some_events_uses_no_reservation_of_others(client: httpx.AsyncClient, *, by_id: bool) -> None:
    headers = bearing("concerts")
    gala, concert = [f"/v1/reservation/{await reserve(client, event)}" for event in ("gala", "concert")]
    asked: dict[str, Callable[[str], Awaitable[httpx.Response]]] = {
        "read": lambda url: client.get(url, headers=headers),
        "extend": lambda url: client.post(f"{url}/extension", json={"seconds": 1}, headers=headers),
        "pay": lambda url: client.post(f"{url}/payment", json={"reference": "7"}, headers=headers),
        "refund": lambda url: client.delete(f"{url}?refund=true", headers=headers),
    }
    if by_id:
        # As a buyer it may do what each buyer may, and no more.
        refused = await asked["refund"](gala)
        assert problem(refused) == (403, "other_event")
        # A seller's token would not do, for this event or any.
        assert 'scope="organiser box_office"' in refused.headers["www-authenticate"]
        assert (await asked["pay"](gala)).status_code == 200
    else:
        for ask in asked.values():
            assert problem(await ask(gala)) == (403, "other_event")
        still = await client.get(gala, headers=bearing("reader"))
        assert still.json()["state"] == "RESERVED"
    assert [(await ask(concert)).status_code for ask in asked.values()] == [200] * 4


async def test_a_reservation_that_is_not_there_has_no_event_to_look_at(client: httpx.AsyncClient) -> None:
    answer = await client.delete(f"/v1/reservation/{UNKNOWN_ID}?refund=true", headers=bearing("concerts"))

    assert problem(answer) == (409, "not_decided")


async def test_other_processes_are_not_asked_for_where_there_are_none() -> None:
    async with site(LIMITS, door=Door(scope_tokens(), has_peers=False)) as one, client_of(one.address, 1) as client:
        for method, end in (("GET", ""), ("POST", "/change"), ("POST", "/command")):
            answer = await client.request(method, f"/internal/v1/reservation/{UNKNOWN_ID}{end}", headers=bearing("organiser"))
            assert problem(answer) == (404, "no_such_path")
