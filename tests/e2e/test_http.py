"""The HTTP surface over real sockets, HTTP/1.1 and cleartext HTTP/2."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived

from tests.process.server import serving

UNKNOWN = "01937c5e-8a3e-7000-9d5c-3f1d0e2b4a6c"
EVENT = {"eventName": "concert", "areas": [{"areaId": "A", "price": 7, "rowCount": 2, "colCount": 4}]}
WISH = {"userId": "ann", "eventId": "concert", "areaId": "A", "numOfSeats": 2, "type": "RANDOM"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = ("--long-poll-ms", "700", "--request-body-bytes-max", "20000", "--waiting-requests-max", "6000")
    with serving(tmp_path_factory.mktemp("http") / "data", *options) as (_, where):
        yield where


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
async def client(request: pytest.FixtureRequest, address: str) -> AsyncIterator[httpx.AsyncClient]:
    http2 = request.param == "HTTP/2"
    async with httpx.AsyncClient(base_url=f"http://{address}", http1=not http2, http2=http2, timeout=20) as one:
        yield one


async def announce(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/v1/event", json=EVENT | {"eventName": name})
    assert answer.status_code == 200, answer.text


async def reserve(client: httpx.AsyncClient, name: str, **wish: object) -> dict[str, object]:
    asked = await client.post(f"/v1/event/{name}/reservation", json=WISH | {"eventId": name} | wish)
    assert asked.status_code == 200, asked.text
    decided: dict[str, object] = (await client.get(f"/v1/reservation/{asked.text}")).json()
    return decided


async def test_seats_are_sold_until_none_are_left(client: httpx.AsyncClient) -> None:
    name = f"sale {client._transport is None} {id(client)}"
    await announce(client, name)

    sold = [await reserve(client, name) for _ in range(5)]

    assert [one["state"] for one in sold] == ["RESERVED"] * 4 + ["FAILED"]
    assert sold[4]["failedReason"] == "request rejected at cache level"
    seats = [(seat["row"], seat["col"]) for one in sold for seat in one["seats"]]  # type: ignore[attr-defined]
    assert sorted(seats) == [(row, col) for row in range(2) for col in range(4)]
    seat_map = (await client.get(f"/v1/event/{name}/area/A")).json()
    assert seat_map["rows"] == ["####", "####"]
    assert seat_map["availableSeats"] == 0


async def test_announcing_an_event_again_frees_nothing_and_adds_areas(client: httpx.AsyncClient) -> None:
    name = f"again-{id(client)}"
    await announce(client, name)
    await reserve(client, name)

    changed = [{"areaId": "A", "price": 9, "rowCount": 9, "colCount": 9}, {"areaId": "B", "price": 1, "rowCount": 1, "colCount": 1}]
    answer = await client.post("/v1/event", json={"eventName": name, "areas": changed})

    assert answer.status_code == 200
    event = (await client.get(f"/v1/event/{name}")).json()
    assert event["areas"] == [
        {"areaId": "A", "price": 7, "rowCount": 2, "colCount": 4, "availableSeats": 6},
        {"areaId": "B", "price": 1, "rowCount": 1, "colCount": 1, "availableSeats": 1},
    ]


@pytest.mark.parametrize("name", ["a b", "ünï/cödé", "100%", "a?b", "reservation", "area"])
async def test_a_name_may_hold_any_character(client: httpx.AsyncClient, name: str) -> None:
    await announce(client, name)
    path = f"/v1/event/{quote(name, safe='')}"

    answer = await client.get(path)

    assert answer.status_code == 200
    assert answer.json()["eventName"] == name
    assert (await client.get(f"{path}/area/A")).json()["areaId"] == "A"


RUDE_RESERVATIONS: list[tuple[bytes, str]] = [
    (b"", "malformed_json"),
    (b"{", "malformed_json"),
    (b"[" * 10_000, "invalid_field"),
    (b"\xff\xfe", "malformed_json"),
    (b"[]", "invalid_field"),
    (b"{}", "invalid_field"),
    (json.dumps(WISH | {"numOfSeats": "2"}).encode(), "invalid_field"),
    (json.dumps(WISH | {"numOfSeats": 2**31}).encode(), "invalid_field"),
    (json.dumps(WISH | {"numOfSeats": 1_001}).encode(), "too_many_seats"),
    (json.dumps(WISH | {"seats": [{"row": 0}]}).encode(), "invalid_field"),
    (json.dumps(WISH | {"eventId": "other"}).encode(), "event_id_mismatch"),
    (json.dumps(WISH | {"userId": ""}).encode(), "empty_name"),
    (json.dumps(WISH | {"areaId": "x" * 256}).encode(), "name_too_long"),
    (json.dumps(WISH | {"userId": "\ud800"}).encode(), "malformed_json"),
    (b'{"userId":"\xff","areaId":"A"}', "malformed_json"),
]


@pytest.mark.parametrize(("body", "code"), RUDE_RESERVATIONS)
async def test_a_rude_reservation_is_refused(client: httpx.AsyncClient, body: bytes, code: str) -> None:
    answer = await client.post("/v1/event/concert/reservation", content=body)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"eventName": ""}, "empty_name"),
        ({"eventName": "a#b"}, "invalid_event_name"),
        ({"eventName": 5}, "invalid_field"),
        ({"areas": [{"areaId": "A", "rowCount": 0, "colCount": 1}]}, "invalid_area_size"),
        ({"areas": [{"areaId": "A", "rowCount": 1_000, "colCount": 101}]}, "area_too_large"),
        ({"areas": [{"areaId": "A", "rowCount": 1, "colCount": 1}] * 2}, "duplicate_area"),
        ({"eventStartTime": "tomorrow"}, "invalid_time"),
        ({"eventStartTime": 1e300}, "invalid_time"),
        ({"eventStartTime": []}, "invalid_time"),
    ],
)
async def test_a_rude_event_is_refused_and_not_there(client: httpx.AsyncClient, change: dict[str, object], code: str) -> None:
    answer = await client.post("/v1/event", json=EVENT | {"eventName": "rude"} | change)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert (await client.get("/v1/event/rude")).status_code == 404


async def test_a_body_over_the_limit_is_refused_with_and_without_its_length(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 1_000

    for content in (b" " * 20_001, pieces()):
        answer = await client.post("/v1/event", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_body_without_its_length_is_read(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield json.dumps(EVENT | {"eventName": f"pieces-{id(client)}"}).encode()

    assert (await client.post("/v1/event", content=pieces())).status_code == 200


def test_a_large_body_is_refused_before_it_is_sent(address: str) -> None:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /v1/event HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nowhere", 404, None),
        ("POST", "/nowhere", 404, None),
        ("DELETE", "/v1/event", 405, "GET, POST"),
        ("PUT", "/v1/event/concert", 405, "GET"),
        ("GET", "/v1/event/concert/reservation", 405, "POST"),
        ("POST", f"/v1/reservation/{UNKNOWN}", 405, "GET"),
        ("HEAD", "/v1/health_check", 405, "GET"),
        ("GET", "/v1/reservation/not-a-uuid", 404, None),
        ("GET", "/v1/event/nothing", 404, None),
        ("GET", "/v1/event/nothing/area/A", 404, None),
        ("GET", "/v1/event?limit=0", 400, None),
        ("GET", "/v1/event?limit=x", 400, None),
    ],
)
async def test_a_wrong_path_or_method_is_refused(client: httpx.AsyncClient, method: str, path: str, status: int, allow: str | None) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == status
    assert answer.headers.get("allow") == allow


async def test_an_unknown_reservation_waits_and_then_gives_503(client: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    answer = await client.get(f"/v1/reservation/{UNKNOWN}")

    assert (answer.status_code, answer.json()["code"]) == (503, "not_decided")
    assert "retry-after" in answer.headers
    assert loop.time() - started >= 0.7


async def test_everybody_who_polls_a_reservation_is_answered(client: httpx.AsyncClient) -> None:
    name = f"poll-{id(client)}"
    await announce(client, name)
    asked = await client.post(f"/v1/event/{name}/reservation", json=WISH | {"eventId": name})

    answers = await asyncio.gather(*(client.get(f"/v1/reservation/{asked.text}") for _ in range(10)))

    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json()["state"] == "RESERVED"


async def test_what_has_not_changed_is_not_sent_again(client: httpx.AsyncClient) -> None:
    name = f"etag-{id(client)}"
    await announce(client, name)
    for path in ("/v1/event", f"/v1/event/{name}", f"/v1/event/{name}/area/A"):
        first = await client.get(path)
        headers = {"if-none-match": f'"other", W/{first.headers["etag"]}'}
        assert (await client.get(path, headers=headers)).status_code == 304
        await reserve(client, name)
        assert (await client.get(path, headers=headers)).status_code == 200


async def test_events_are_listed_by_pages(client: httpx.AsyncClient) -> None:
    for number in range(3):
        await announce(client, f"page-{number}")
    names, after = [], ""
    while True:
        page = (await client.get("/v1/event", params={"limit": 2, "after": after})).json()
        names += [event["eventName"] for event in page["events"]]
        if page["next"] is None:
            break
        after = page["next"]

    assert names == sorted(set(names))
    assert {f"page-{number}" for number in range(3)} <= set(names)


def test_five_thousand_long_polls_wait_on_one_http2_connection(address: str) -> None:
    host, port = address.split(":")
    protocol = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    protocol.initiate_connection()
    statuses: dict[int, bytes] = {}
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(protocol.data_to_send())
        while protocol.remote_settings.max_concurrent_streams < 5_000:
            protocol.receive_data(connection.recv(65_536))
        for number in range(5_000):
            path = f"/v1/reservation/{UNKNOWN[:-4]}{number:04x}"
            head = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", address)]
            protocol.send_headers(protocol.get_next_available_stream_id(), head, end_stream=True)
        assert protocol.open_outbound_streams == 5_000
        connection.sendall(protocol.data_to_send())
        while len(statuses) < 5_000:
            for event in protocol.receive_data(connection.recv(65_536)):
                if isinstance(event, ResponseReceived):
                    statuses[event.stream_id] = dict(event.headers)[b":status"]
                elif isinstance(event, DataReceived):
                    protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            connection.sendall(protocol.data_to_send())

    assert set(statuses.values()) == {b"503"}


async def test_the_documents_are_served(client: httpx.AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json()["openapi"] == "3.1.0"
    page = (await client.get("/docs")).text
    assert 'id="not_decided"' in page


async def test_past_the_limit_of_waiting_requests_the_answer_is_429(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--long-poll-ms", "1500", "--waiting-requests-max", "2") as (_, where):
        async with httpx.AsyncClient(base_url=f"http://{where}", timeout=20) as client:
            waiting = [asyncio.create_task(client.get(f"/v1/reservation/{UNKNOWN[:-1]}{number}")) for number in range(2)]
            await asyncio.sleep(0.3)
            refused = await client.get(f"/v1/reservation/{UNKNOWN}")
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_waiting")
            assert refused.headers["retry-after"] == "1"
            assert {(await one).status_code for one in waiting} == {503}
