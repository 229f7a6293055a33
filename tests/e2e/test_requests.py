"""What each path answers, in both versions of HTTP and both ways to serve: over real sockets, from the client's side."""

from __future__ import annotations

import asyncio
import contextlib
import json
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.e2e.conftest import BODY_BYTES_MAX
from tests.e2e.site import Site, announce, problem, seats
from ticketmaster.ticket.routes import EVENT_METHODS, READ_METHODS

EVENT = "/v1/event"
RESERVATION = "/v1/event/concert/reservation"


def event(**more: object) -> dict[str, object]:
    return {"eventName": "concert", "areas": [area()], **more}


def area(**more: object) -> dict[str, object]:
    return {"areaId": "A", "price": 5, "rowCount": 3, "colCount": 4, **more}


async def test_a_sale_from_the_announcement_to_the_seat_map(client: httpx.AsyncClient) -> None:
    await announce(client)

    asked = await client.post(RESERVATION, json=seats(2))
    decided = await client.get(f"/v1/reservation/{asked.text}")
    shown = await client.get("/v1/event/concert/area/A")

    assert (asked.status_code, asked.headers["content-type"], len(asked.text)) == (200, "text/plain", 36)
    assert decided.json() == {
        "reservationId": asked.text,
        "userId": "ann",
        "eventId": "concert",
        "areaId": "A",
        "numOfSeats": 2,
        "numOfSeat": 0,
        "type": "RANDOM",
        "seats": [{"row": 0, "col": 0}, {"row": 0, "col": 1}],
        "state": "RESERVED",
        "failedReason": "",
    }
    assert shown.json()["rows"] == ["##..", "....", "...."]
    assert shown.json()["availableSeats"] == 10


async def test_announcing_an_event_again_frees_no_seat_and_may_add_areas(client: httpx.AsyncClient) -> None:
    await announce(client)
    asked = await client.post(RESERVATION, json=seats(2))
    assert (await client.get(f"/v1/reservation/{asked.text}")).json()["state"] == "RESERVED"

    await announce(client)
    await announce(client, areas=[area(rowCount=9), area(areaId="B")])

    found = (await client.get("/v1/event/concert")).json()
    assert [(one["areaId"], one["rowCount"], one["availableSeats"]) for one in found["areas"]] == [("A", 3, 10), ("B", 3, 12)]


RUDE_EVENTS: list[tuple[bytes, str]] = [
    (b"", "malformed_json"),
    (b"{", "malformed_json"),
    (b"nonsense", "malformed_json"),
    (b'{"eventName":"\xff\xfe"}', "malformed_json"),
    (b'{"eventName":"\\ud800"}', "malformed_json"),
    (b"\x00" * 10, "malformed_json"),
    (b"[" * 20_000, "invalid_field"),
    (b'{"eventName":"a","more":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "malformed_json"),
    (b"[]", "invalid_field"),
    (b"null", "invalid_field"),
    (b'{"eventName":7}', "invalid_field"),
    (b'{"artist":"x"}', "invalid_field"),
    (b'{"eventName":"a","areas":{}}', "invalid_field"),
    (b'{"eventName":"a","areas":[null]}', "invalid_field"),
    (b'{"eventName":"a","areas":[{"areaId":"A","rowCount":1.5,"colCount":1}]}', "invalid_field"),
    (b'{"eventName":"a","areas":[{"areaId":"A","rowCount":"1","colCount":1}]}', "invalid_field"),
    (b'{"eventName":"a","areas":[{"areaId":"A","price":2147483648,"rowCount":1,"colCount":1}]}', "invalid_field"),
    (b'{"eventName":"a","areas":[{"areaId":"A","price":-2147483649,"rowCount":1,"colCount":1}]}', "invalid_field"),
    (b'{"eventName":"a","areas":[{"areaId":"A","price":1' + b"0" * 5_000 + b',"rowCount":1,"colCount":1}]}', "invalid_field"),
    (b'{"eventName":"a","areas":[{"areaId":"A","price":1e400,"rowCount":1,"colCount":1}]}', "invalid_field"),
    (json.dumps(event(eventName="")).encode(), "empty_name"),
    (json.dumps(event(eventName="n" * 256)).encode(), "name_too_long"),
    (json.dumps(event(eventName="東" * 86)).encode(), "name_too_long"),
    (json.dumps(event(artist="n" * 256)).encode(), "name_too_long"),
    (json.dumps(event(areas=[area(areaId="")])).encode(), "empty_name"),
    (json.dumps(event(areas=[area(areaId="n" * 256)])).encode(), "name_too_long"),
    (json.dumps(event(eventName="a#b")).encode(), "invalid_event_name"),
    (json.dumps(event(areas=[area(), area()])).encode(), "duplicate_area"),
    (json.dumps(event(areas=[area(rowCount=0)])).encode(), "invalid_area_size"),
    (json.dumps(event(areas=[area(colCount=-1)])).encode(), "invalid_area_size"),
    (json.dumps(event(areas=[{"areaId": "A"}])).encode(), "invalid_area_size"),
    (json.dumps(event(areas=[area(rowCount=11, colCount=10)])).encode(), "area_too_large"),
    (json.dumps(event(areas=[area(rowCount=2**31 - 1, colCount=2**31 - 1)])).encode(), "area_too_large"),
    (json.dumps(event(areas=[area(areaId=str(n), rowCount=9, colCount=10) for n in range(3)])).encode(), "event_too_large"),
    (json.dumps(event(areas=[area(areaId=str(n)) for n in range(6)])).encode(), "too_many_areas"),
    (json.dumps(event(eventStartTime="tomorrow")).encode(), "invalid_time"),
    (json.dumps(event(eventStartTime=True)).encode(), "invalid_time"),
    (json.dumps(event(eventStartTime=[1])).encode(), "invalid_time"),
    (json.dumps(event(eventStartTime=1e300)).encode(), "invalid_time"),
    (b'{"eventName":"a","eventStartTime":1' + b"0" * 5_000 + b"}", "invalid_time"),
    (b'{"eventName":"a","eventStartTime":1e999999999}', "invalid_time"),
    (json.dumps(event(eventStartTime="2026-01-31T25:00:00Z")).encode(), "invalid_time"),
]

RUDE_RESERVATIONS: list[tuple[bytes, str]] = [
    (b"", "malformed_json"),
    (b'{"userId":"ann","areaId":"A"', "malformed_json"),
    (b'{"userId":"\xc3\x28","areaId":"A"}', "malformed_json"),
    (b'{"userId":"\\udfff","areaId":"A"}', "malformed_json"),
    (b'{"userId":"ann","areaId":"A","x":' + b'{"x":' * 10_000 + b"1" + b"}" * 10_000 + b"}", "malformed_json"),
    (b'"ann"', "invalid_field"),
    (json.dumps({"areaId": "A"}).encode(), "invalid_field"),
    (json.dumps({"userId": "ann"}).encode(), "invalid_field"),
    (json.dumps(seats(userId=None)).encode(), "invalid_field"),
    (json.dumps(seats(numOfSeats="2")).encode(), "invalid_field"),
    (json.dumps(seats(numOfSeats=2**31)).encode(), "invalid_field"),
    (json.dumps(seats(numOfSeats=-(2**31) - 1)).encode(), "invalid_field"),
    (json.dumps(seats(type=1)).encode(), "invalid_field"),
    (json.dumps(seats(seats={})).encode(), "invalid_field"),
    (json.dumps(seats(seats=[{"row": 0}])).encode(), "invalid_field"),
    (json.dumps(seats(seats=[{"row": 0, "col": 2**31}])).encode(), "invalid_field"),
    (json.dumps(seats(userId="")).encode(), "empty_name"),
    (json.dumps(seats(areaId="")).encode(), "empty_name"),
    (json.dumps(seats(userId="u" * 256)).encode(), "name_too_long"),
    (json.dumps(seats(areaId="é" * 128)).encode(), "name_too_long"),
    (json.dumps(seats(eventId="another")).encode(), "event_id_mismatch"),
    (json.dumps(seats(21)).encode(), "too_many_seats"),
    (json.dumps(seats(1, type="SELF_PICK", seats=[{"row": 0, "col": 0}] * 21)).encode(), "too_many_seats"),
]


async def test_a_rude_body_is_refused_with_its_code_and_writes_nothing(client: httpx.AsyncClient, small_site: Site) -> None:
    await announce(client, "calm")
    written = len(small_site.storage.writes)

    for path, bodies in ((EVENT, RUDE_EVENTS), (RESERVATION, RUDE_RESERVATIONS)):
        for body, code in bodies:
            assert problem(await client.post(path, content=body)) == (400, code), body[:200]

    assert len(small_site.storage.writes) == written
    assert [one["eventName"] for one in (await client.get(EVENT)).json()["events"]] == ["calm"]


async def test_what_a_body_may_leave_out_or_add_is_no_error(client: httpx.AsyncClient) -> None:
    bare = await client.post(EVENT, content=b'{"eventName":"bare"}')
    more = await client.post(EVENT, json=event(eventStartTime=None, eventEndTime="2026-01-31T20:00:00.5+01:00", more=[1]))
    assert (bare.status_code, bare.json()["areas"], bare.json()["artist"]) == (200, [], "")
    assert (more.status_code, more.json()["eventEndTime"]) == (200, 1769886000.5)

    for body in ({"userId": "ann", "areaId": "A"}, seats(eventId=None, seats=None), seats(eventId="concert", numOfSeat=7)):
        asked = await client.post(RESERVATION, json=body)
        assert asked.status_code == 200, asked.text
        assert (await client.get(f"/v1/reservation/{asked.text}")).status_code == 200


HOPELESS: list[tuple[int, dict[str, object], str]] = [
    (0, {}, "[INVALID_ARGUMENT]: 0 continuous seats is invalid"),
    (-(2**31), {}, f"[INVALID_ARGUMENT]: {-(2**31)} continuous seats is invalid"),
    (1, {"areaId": "Z"}, "[INVALID_EVENT_AREA]: concert#Z event area does not exist"),
    (5, {}, "request rejected at cache level"),
    (1, {"type": "STANDING"}, "INVALID type reservation is not supported"),
    (1, {"type": "SELF_PICK", "seats": [{"row": 2**31 - 1, "col": -(2**31)}]}, "request rejected at cache level"),
]


async def test_what_can_not_be_served_is_a_failed_reservation(client: httpx.AsyncClient) -> None:
    await announce(client)
    for count, more, reason in HOPELESS:
        asked = await client.post(RESERVATION, json=seats(count, **more))
        decided = (await client.get(f"/v1/reservation/{asked.text}")).json()
        assert (decided["state"], decided["failedReason"]) == ("FAILED", reason)


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_body_up_to_the_limit_is_taken_and_one_byte_more_is_413(client: httpx.AsyncClient, *, chunked: bool) -> None:
    body = json.dumps(event()).encode().ljust(BODY_BYTES_MAX)

    async def pieces(data: bytes) -> object:
        for start in range(0, len(data), 10_000):
            yield data[start : start + 10_000]

    fits = await client.post(EVENT, content=pieces(body) if chunked else body)  # type: ignore[arg-type]
    assert fits.status_code == 200, fits.text

    too_large = await client.post(EVENT, content=pieces(body + b" ") if chunked else body + b" ")  # type: ignore[arg-type]
    assert problem(too_large) == (413, "body_too_large")
    assert (await client.get("/v1/health_check")).status_code == 200


NOT_TAKEN: list[tuple[str, str, tuple[int, str], str | None]] = [
    ("GET", "/v2/event", (404, "no_such_path"), None),
    ("POST", "/nowhere", (404, "no_such_path"), None),
    ("DELETE", "/v1", (404, "no_such_path"), None),
    ("GET", "/v1/event/", (404, "no_such_event"), None),
    ("GET", "/v1/event/nowhere", (404, "no_such_event"), None),
    ("GET", "/v1/event/concert/area/Z", (404, "no_such_area"), None),
    ("GET", "/v1/event/nowhere/area/A", (404, "no_such_area"), None),
    ("GET", "/v1/event/concert%20/area/A", (404, "no_such_area"), None),
    ("GET", "/v1/event/%ff%fe", (400, "invalid_encoding"), None),
    ("GET", "/v1/event/%EF%BF%BD", (400, "invalid_encoding"), None),
    ("GET", "/v1/event/%C0%AF", (400, "invalid_encoding"), None),
    ("GET", "/v1/event/%ED%A0%80", (400, "invalid_encoding"), None),
    ("GET", "/v1/event/%F4%90%80%80", (400, "invalid_encoding"), None),
    ("GET", "/v1/event/%E6%9D", (400, "invalid_encoding"), None),
    ("GET", "/v1/event/concert/area/%FF", (400, "invalid_encoding"), None),
    ("POST", "/v1/event/%FF/reservation", (400, "invalid_encoding"), None),
    ("GET", "/v1/reservation/%FF", (400, "invalid_encoding"), None),
    ("GET", "/internal/v1/reservation/%FF", (400, "invalid_encoding"), None),
    ("OPTIONS", "/v1/event/%FF", (400, "invalid_encoding"), None),
    ("DELETE", "/v1/%FF", (400, "invalid_encoding"), None),
    ("GET", "/%FF", (400, "invalid_encoding"), None),
    ("GET", "/v1/event?after=%FF", (400, "invalid_encoding"), None),
    ("GET", "/v1/event?limit=%C0%AF", (400, "invalid_encoding"), None),
    ("GET", "/v1/event?more=%FF", (400, "invalid_encoding"), None),
    ("GET", "/v1/event?%FF=1", (400, "invalid_encoding"), None),
    ("GET", "/v1/event/%", (404, "no_such_event"), None),
    ("GET", "/v1/event/%00", (404, "no_such_event"), None),
    ("GET", "/v1/reservation/", (404, "no_such_reservation"), None),
    ("GET", "/v1/reservation/7", (404, "no_such_reservation"), None),
    ("GET", f"/v1/reservation/{uuid4().hex}", (404, "no_such_reservation"), None),
    ("GET", f"/v1/reservation/{uuid4()}x", (404, "no_such_reservation"), None),
    ("GET", f"/v1/reservation/%0a{uuid4()}", (404, "no_such_reservation"), None),
    ("GET", f"/v1/reservation/{uuid4()}/seats", (404, "no_such_path"), None),
    ("PUT", "/v1/event", (405, "wrong_method"), f"{READ_METHODS}, POST"),
    ("OPTIONS", "/v1", (404, "no_such_path"), None),
    ("PUT", "/v1/event/concert", (405, "wrong_method"), EVENT_METHODS),
    ("POST", "/v1/event/concert", (405, "wrong_method"), EVENT_METHODS),
    ("DELETE", "/v1/event/nowhere", (404, "no_such_event"), None),
    ("DELETE", "/v1/event/concert/area/A", (405, "wrong_method"), READ_METHODS),
    ("POST", "/v1/event/concert/area/A", (405, "wrong_method"), READ_METHODS),
    ("POST", "/v1/event/reservation", (405, "wrong_method"), EVENT_METHODS),
    ("GET", "/v1/event//reservation", (405, "wrong_method"), "OPTIONS, POST"),
    ("GET", "/v1/event/concert/reservation", (405, "wrong_method"), "OPTIONS, POST"),
    ("PATCH", "/v1/event/concert/reservation", (405, "wrong_method"), "OPTIONS, POST"),
    ("POST", f"/v1/reservation/{uuid4()}", (405, "wrong_method"), f"DELETE, {READ_METHODS}"),
    ("GET", f"/v1/reservation/{uuid4()}/payment", (405, "wrong_method"), "OPTIONS, POST"),
    ("DELETE", f"/v1/reservation/{uuid4()}/extension", (405, "wrong_method"), "OPTIONS, POST"),
    ("POST", f"/v1/reservation/{uuid4()}/seats", (404, "no_such_path"), None),
    ("DELETE", f"/v1/reservation/{uuid4()}/seats", (404, "no_such_path"), None),
    ("POST", "/v1/reservation/7/payment", (404, "no_such_reservation"), None),
    ("POST", "/v1/reservation//payment", (404, "no_such_reservation"), None),
    ("POST", f"/v1/reservation/{uuid4()}/1/payment", (404, "no_such_path"), None),
    ("DELETE", "/v1/reservation/7", (404, "no_such_reservation"), None),
    ("DELETE", f"/v1/reservation/{uuid4()}?refund=yes", (400, "invalid_refund"), None),
    ("DELETE", f"/v1/reservation/{uuid4()}?refund=%FF", (400, "invalid_encoding"), None),
    ("POST", "/v1/health_check", (405, "wrong_method"), READ_METHODS),
    ("POST", "/openapi.json", (405, "wrong_method"), READ_METHODS),
    ("PUT", "/docs", (405, "wrong_method"), READ_METHODS),
    ("BREW", "/", (405, "wrong_method"), READ_METHODS),
    ("GET", "/v1/event?limit=0", (400, "invalid_limit"), None),
    ("GET", "/v1/event?limit=51", (400, "invalid_limit"), None),
    ("GET", "/v1/event?limit=-1", (400, "invalid_limit"), None),
    ("GET", "/v1/event?limit=", (400, "invalid_limit"), None),
    ("GET", "/v1/event?limit=%D9%A3", (400, "invalid_limit"), None),
    ("GET", "/v1/event?limit=" + "9" * 5_000, (400, "invalid_limit"), None),
]


async def test_a_path_or_method_that_is_not_taken_is_refused(client: httpx.AsyncClient) -> None:
    await announce(client)
    for method, path, expected, allow in NOT_TAKEN:
        response = await client.request(method, path)
        assert problem(response) == expected, (method, path)
        assert response.headers.get("allow") == allow


async def test_a_reservation_of_no_event_lacks_its_name(client: httpx.AsyncClient) -> None:
    assert problem(await client.post("/v1/event//reservation", json=seats())) == (400, "empty_name")


async def test_a_body_changes_nothing_about_a_wrong_method(client: httpx.AsyncClient) -> None:
    for body in (None, b"{}", b"x" * (BODY_BYTES_MAX + 1)):
        assert problem(await client.request("PUT", EVENT, content=body)) == (405, "wrong_method")
    # The server may close a connection whose request's body it has not read to its end.
    with contextlib.suppress(httpx.RemoteProtocolError):
        await client.get("/v1/health_check")
    assert (await client.get("/v1/health_check")).status_code == 200


NAMES = [
    "with space",
    "東京 ✨",
    "a/b",
    "100%",
    "%2F",
    "a+b&c=d?e",
    "/",
    "..",
    "concert/reservation",
    "a/area/b",
    "x/area/",
    '"quoted"\\',
    "line\nbreak",
    "\x00",
    "\u202eright to left",
    "n" * 255,
    "é" * 127,
]


async def test_an_event_of_any_name_can_be_sold(client: httpx.AsyncClient) -> None:
    for name in NAMES:
        await sell(client, name)


async def sell(client: httpx.AsyncClient, name: str) -> None:
    await announce(client, name, areas=[area(areaId=name), area(areaId="plain")])
    encoded = quote(name, safe="").replace(".", "%2E")

    found = await client.get(f"/v1/event/{encoded}")
    assert (found.status_code, found.json()["eventName"]) == (200, name)
    for area_id in (name, "plain"):
        asked = await client.post(f"/v1/event/{encoded}/reservation", json=seats(1, eventId=name, areaId=area_id))
        assert asked.status_code == 200, asked.text
        decided = (await client.get(f"/v1/reservation/{asked.text}")).json()
        assert (decided["eventId"], decided["areaId"], decided["state"]) == (name, area_id, "RESERVED")
        shown = await client.get(f"/v1/event/{encoded}/area/{quote(area_id, safe='').replace('.', '%2E')}")
        assert (shown.status_code, shown.json()["areaId"]) == (200, area_id)


async def test_an_unchanged_answer_is_304_and_a_changed_one_is_not(client: httpx.AsyncClient) -> None:
    await announce(client)
    for path in (EVENT, "/v1/event/concert", "/v1/event/concert/area/A"):
        first = await client.get(path)
        tag = first.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            same = await client.get(path, headers={"if-none-match": known})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        for unknown in ('"other"', "", tag.strip('"')):
            assert (await client.get(path, headers={"if-none-match": unknown})).status_code == 200

        asked = await client.post(RESERVATION, json=seats())
        assert (await client.get(f"/v1/reservation/{asked.text}")).json()["state"] == "RESERVED"
        changed = await client.get(path, headers={"if-none-match": tag})
        assert (changed.status_code, changed.headers["etag"] != tag) == (200, True)


async def test_events_are_listed_by_pages_in_the_order_of_their_names(client: httpx.AsyncClient) -> None:
    names = ["a", "a b", "b", "ü", "東"]
    for name in reversed(names):
        await announce(client, name)

    listed, after = [], ""
    for _ in range(3):
        page = (await client.get(EVENT, params={"limit": 2, "after": after})).json()
        listed += [one["eventName"] for one in page["events"]]
        after = page["next"]

    assert listed == names
    assert after is None
    assert (await client.get(EVENT, params={"after": "東"})).json() == {"events": [], "next": None}
    assert (await client.get(EVENT, params={"limit": 5})).json()["next"] is None


async def test_an_unknown_id_is_503_once_the_long_poll_has_ended(client: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    response = await client.get(f"/v1/reservation/{uuid4()}")
    assert problem(response) == (503, "not_decided")
    assert 0.3 <= loop.time() - started_s < 5


async def test_an_id_is_found_whatever_its_case(client: httpx.AsyncClient) -> None:
    asked = await client.post(RESERVATION, json=seats())
    for prefix in ("/v1/reservation/", "/internal/v1/reservation/"):
        for given in (asked.text, asked.text.upper(), asked.text.title()):
            decided = await client.get(prefix + given)
            assert decided.json()["reservationId"] == asked.text


async def test_the_description_and_its_page_are_served(client: httpx.AsyncClient) -> None:
    document = await client.get("/openapi.json")
    page, root = await client.get("/docs"), await client.get("/")
    assert document.json()["openapi"] == "3.1.0"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    assert root.content == page.content
