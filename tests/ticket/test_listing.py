"""Lists of an event's reservations: whole pages in the order of ids, over all processes, or 503."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.site import client_of, problem
from tests.support.till import HERE, IDS, PARTITIONS, Client
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Assignment
from ticketmaster.clock import SystemClock
from ticketmaster.domain.event import EventLimits
from ticketmaster.domain.life import Life
from ticketmaster.domain.reservation import ReservationType, State
from ticketmaster.simulation.loop import run_virtual
from ticketmaster.state.port import Scanned
from ticketmaster.ticket.bodies import Page
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.forwarding import AskOwner, Post
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.listing import Found, Lists, Wanted, merged, wanted
from ticketmaster.ticket.peers import Peers
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.routes import Routes
from ticketmaster.ticket.server import HttpServer
from ticketmaster.ticket.settings import ServerSettings
from ticketmaster.wire.binary import encode_int, encode_string
from ticketmaster.wire.lives import standing, stands
from ticketmaster.wire.reservations import decided, encode_create, encode_seats, encode_who_and_where, processing, succeeded

LIMITS = TicketLimits(long_poll_ms=2_000, lists_in_flight_max=3, listed_reservations_max=50)
EVERYTHING = Wanted("show", None, None, "00000000-0000-0000-0000-000000000000", 50)


def reservation(key: bytes, user: str = "ann", event: str = "show", state: State = State.RESERVED, seats: int = 1) -> bytes:
    create = encode_create(encode_who_and_where(user, event, "A"), seats, ReservationType.SELF_PICK, encode_seats([(0, 0)] * seats))
    begun = processing(key, create)
    return stands(begun, standing(begun).seats_end, state, b"", Life(0, 0))


class Table:
    """An owned table of what it is given; it serves the partitions that it is told to."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.served = set(range(PARTITIONS))
        self.scans = 0
        self.on_scan: Callable[[], None] = lambda: None

    def put(self, key: bytes, *what: Any, **more: Any) -> None:  # noqa: ANN401
        self.values[key] = reservation(key, *what, **more)

    def get(self, _partition: int, key: bytes) -> bytes | None:
        return self.values.get(key)

    def serves(self, partition: int) -> bool:
        return partition in self.served

    def scan(self, partition: int, after: bytes, part: bytes, _rows_max: int) -> Scanned | None:
        if partition not in self.served:
            return None
        self.scans += 1
        self.on_scan()
        # Few rows at a time, so that there are turns in between.
        own = {key: value for key, value in self.values.items() if partition_of(key, PARTITIONS) == partition}
        return Scanned.of(own, after, part, 3)


def lists_of(
    table: Table, limits: TicketLimits = LIMITS, is_ending: Callable[[], bool] = lambda: False, ask: AskOwner | None = None
) -> Lists:
    return Lists(table, PARTITIONS, limits, is_ending, ask)  # type: ignore[arg-type]


async def answered(client: Client) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while not client.status:
            await asyncio.sleep(0.01)
    document: dict[str, Any] = json.loads(client.body)
    return document | {"status": client.status} if client.status != 200 else document


async def page(lists: Lists, asked: Wanted = EVERYTHING) -> dict[str, Any]:
    client = Client()
    lists.take(asked, client)
    return await answered(client)


def ids(document: dict[str, Any]) -> list[str]:
    return [one["reservationId"] for one in document["reservations"]]


# --- One process -------------------------------------------------------------------------------------------------------


def test_a_page_has_what_is_asked_for_as_a_reservation_is_shown() -> None:
    async def story() -> None:
        table = Table()
        table.put(IDS[0], "ann")
        table.put(IDS[1], "bob")
        table.put(IDS[2], "ann", "show 2")
        table.put(IDS[3], "ann", state=State.PAID)
        # The bytes of another's name and event are in this one, in other places.
        table.put(IDS[4], "\x06ann\x08show", "\x08show")
        table.put(IDS[5], "ann", state=State.CANCELLED)
        lists = lists_of(table)

        everything = await page(lists)
        assert ids(everything) == [key.decode() for key in (IDS[0], IDS[1], IDS[3], IDS[5])]
        assert everything["next"] is None
        shown = everything["reservations"][2]
        assert (shown["userId"], shown["eventId"], shown["state"], shown["numOfSeats"]) == ("ann", "show", "PAID", 1)
        assert ids(await page(lists, EVERYTHING._replace(user_id="ann"))) == [key.decode() for key in (IDS[0], IDS[3], IDS[5])]
        assert ids(await page(lists, EVERYTHING._replace(user_id="ann", state=State.PAID))) == [IDS[3].decode()]
        assert ids(await page(lists, EVERYTHING._replace(state=State.RESERVED))) == [IDS[0].decode(), IDS[1].decode()]
        assert ids(await page(lists, EVERYTHING._replace(event_id="no"))) == []

    run_virtual(story())


def test_states_are_told_apart_in_both_forms_of_a_record() -> None:
    create = encode_create(encode_who_and_where("ann", "show", "A"), 1, ReservationType.RANDOM, encode_seats([]))
    # Its reason ends in what a reservation without one ends in.
    reasons = ["", "full", "\x02\x00", "\x06\x00"]

    async def story() -> None:
        table = Table()
        expected: dict[State, list[str]] = {}
        keys = iter(IDS)
        for state in (State.RESERVED, State.FAILED, State.PAID, State.CANCELLED):
            for reason in reasons if state in (State.FAILED, State.CANCELLED) else [""]:
                first = decided(processing(key := next(keys), create), succeeded(key, encode_seats([(0, 1)])))
                assert first
                tail = encode_int(state) + encode_string(reason)
                table.values[key] = first.reservation[:-2] + tail
                expected.setdefault(state, []).append(key.decode())
                table.values[key := next(keys)] = stands(first.reservation, len(first.reservation) - 2, state, reason.encode(), Life(7, 7))
                expected[state].append(key.decode())
        lists = lists_of(table)

        for state, found in expected.items():
            document = await page(lists, EVERYTHING._replace(state=state))
            assert {one["state"] for one in document["reservations"]} == {state.name}
            assert len(document["reservations"]) == len(found)

    run_virtual(story())


@given(
    taken=st.sets(st.sampled_from(IDS)),
    limit=st.integers(1, 9),
)
def test_pages_have_every_reservation_once_in_the_order_of_ids(taken: set[bytes], limit: int) -> None:
    async def story() -> list[str]:
        table = Table()
        for key in IDS:
            table.put(key, "ann" if key in taken else "bob")
        lists, found, after = lists_of(table), list[str](), EVERYTHING.after
        while True:
            document = await page(lists, EVERYTHING._replace(user_id="ann", limit=limit, after=after))
            found += ids(document)
            if document["next"] is None:
                return found
            assert len(document["reservations"]) == limit
            after = document["next"]
            assert after == found[-1]

    found: list[str] = []

    async def main() -> None:
        found.extend(await story())

    run_virtual(main())
    assert found == [key.decode() for key in sorted(taken)]


_KEYS = st.lists(st.integers(0, 99).map(lambda number: b"%02d" % number), unique=True, max_size=12).map(sorted)


@given(logs=st.lists(_KEYS, min_size=1, max_size=4), limit=st.integers(1, 6), bytes_max=st.integers(1, 40))
def test_what_is_merged_leaves_nothing_out_up_to_its_last_one(logs: list[list[bytes]], limit: int, bytes_max: int) -> None:
    # Each has what the others have not.
    logs = [[key + b"%d" % number for key in keys] for number, keys in enumerate(logs)]
    parts = [Found([(key, key * 3) for key in keys[:limit]], len(keys) > limit) for keys in logs]

    found = merged(parts, limit, bytes_max)

    everything = sorted(key for keys in logs for key in keys)
    got = [key for key, _ in found.items]
    assert got == everything[: len(got)]
    assert found.more == (len(got) < len(everything))
    assert bool(got) == bool(everything)
    assert len(got) <= limit
    assert len(got) == 1 or sum(len(value) for _, value in found.items) <= bytes_max


def test_a_page_of_large_reservations_ends_before_it_is_too_large_for_another_process() -> None:
    async def story() -> None:
        table = Table()
        for key in IDS:
            table.put(key, seats=1_000)
        lists = lists_of(table)
        document = await page(lists)
        size = len(json.dumps(document, separators=(",", ":")))
        assert 0 < len(document["reservations"]) < len(IDS)
        assert size < 1 << 20
        assert document["next"] == ids(document)[-1]

    run_virtual(story())


def test_a_partition_that_is_not_served_or_moves_meanwhile_is_503_and_no_short_list() -> None:
    async def story() -> None:
        table = Table()
        for key in IDS:
            table.put(key)
        lists = lists_of(table)
        table.served.discard(3)
        assert (await page(lists))["code"] == "not_serving"
        table.served.add(3)
        # It goes when it has been looked through already.
        table.on_scan = lambda: table.served.discard(0) if table.scans > 20 else None
        assert (await page(lists))["code"] == "not_serving"

    run_virtual(story())


def test_a_list_that_takes_too_long_is_503() -> None:
    async def story() -> None:
        table = Table()
        for key in IDS:
            table.put(key)
        assert (await page(lists_of(table, TicketLimits(long_poll_ms=0))))["code"] == "list_too_long"

    run_virtual(story())


def test_more_lists_than_are_allowed_are_429_and_those_under_way_are_answered() -> None:
    async def story() -> None:
        table = Table()
        for key in IDS:
            table.put(key)
        lists = lists_of(table)
        clients = [Client() for _ in range(5)]
        for client in clients:
            lists.take(EVERYTHING, client)
        assert [client.told for client in clients[3:]] == [(429, "too_many_lists")] * 2
        assert [len((await answered(client))["reservations"]) for client in clients[:3]] == [len(IDS)] * 3
        assert len((await page(lists))["reservations"]) == len(IDS)

    run_virtual(story())


def test_when_the_process_ends_lists_are_503() -> None:
    async def story() -> None:
        table, ending = Table(), asyncio.Event()
        for key in IDS:
            table.put(key)
        lists = lists_of(table, is_ending=ending.is_set)
        under_way, waits = Client(), Client()
        lists.take(EVERYTHING, under_way)
        table.on_scan = ending.set
        assert (await answered(under_way))["code"] == "shutting_down"
        lists.take(EVERYTHING, late := Client())
        assert late.told == (503, "shutting_down")
        # One that is in the middle of it.
        ending.clear()
        table.on_scan = lambda: None
        lists.take(EVERYTHING, waits)
        await asyncio.sleep(0)
        await lists.stop()
        assert waits.told == (503, "shutting_down")

    run_virtual(story())


def test_a_defect_is_500() -> None:
    async def story() -> None:
        table = Table()
        table.put(HERE)
        table.values[HERE] = table.values[HERE][:-1]
        assert (await page(lists_of(table)))["code"] == "internal_error"

    run_virtual(story())


@pytest.mark.parametrize(
    ("page_", "user", "state", "code"),
    [
        (Page(10, "7"), None, None, "invalid_after"),
        (Page(10, ""), "", None, "empty_name"),
        (Page(10, ""), "x" * 256, None, "name_too_long"),
        (Page(10, ""), None, "", "invalid_state"),
        (Page(10, ""), None, "PROCESSING", "invalid_state"),
        (Page(10, ""), None, "paid", "invalid_state"),
    ],
)
def test_a_query_that_makes_no_sense_is_400(page_: Page, user: str | None, state: str | None, code: str) -> None:
    with pytest.raises(Problem) as refused:
        wanted("show", page_, user, state, TicketLimits(event=EventLimits(name_bytes_max=255)))
    assert json.loads(refused.value.response[2])["code"] == code


# --- Several processes -------------------------------------------------------------------------------------------------


class Served:
    """A process with its HTTP side, which lists."""

    def __init__(self, settings: ServerSettings, limits: TicketLimits = LIMITS) -> None:
        self.table = Table()
        self._peers = Peers(self._on_answer, lambda key: self._on_answer(key, 0, b"", b""), limits.long_poll_ms + 1_000)
        catalog = _Known(lambda: True)
        self.gateway = Gateway(self, self.table, catalog, PARTITIONS, SystemClock(), limits)  # type: ignore[arg-type]
        self.lists = lists_of(self.table, limits, ask=self._ask)
        routes = Routes(self.gateway, lambda: True, limits, lists=self.lists)
        self._server = HttpServer(routes, settings)
        self.asked: list[str] = []
        self.address = ""

    def own(self, partitions: Sequence[int], owners: dict[int, str]) -> None:
        self.table.served = set(partitions)
        self.lists.on_assigned(Assignment(partitions, 1, owners))

    def _ask(self, address: str, key: bytes, post: Post | None = None, /) -> None:
        self.asked.append(address)
        self._peers.ask(address, key, post)

    def _on_answer(self, key: bytes, status: int, body: bytes, _traceparent: bytes) -> None:
        self.lists.on_peer_answer(key, status, body)

    async def start(self) -> None:
        self.address = f"127.0.0.1:{await self._server.start()}"

    async def stop(self) -> None:
        self._peers.close()
        await self.lists.stop()
        await self._server.stop()


class _Known(Catalog):
    """Knows the event."""

    def event(self, event_id: str) -> Any:  # noqa: ANN401
        return "the event" if event_id == "show" else None


@pytest.fixture(params=[True, False], ids=["notes", "rsgi"])
async def two(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Served, Served]]:
    """The first has partitions 0 and 1, the second one the others; all reservations are ann's."""
    one, other = Served(ServerSettings(port=0, notes=request.param)), Served(ServerSettings(port=0))
    for served in (one, other):
        await served.start()
    one.own([0, 1], {2: other.address, 3: other.address})
    other.own([2, 3], {0: one.address, 1: one.address})
    for key in IDS:
        (one if partition_of(key, PARTITIONS) < 2 else other).table.put(key)
    yield one, other
    for served in (one, other):
        await served.stop()


@pytest.fixture(params=[1, 2], ids=["http1", "http2"])
async def client(request: pytest.FixtureRequest, two: tuple[Served, Served]) -> AsyncIterator[httpx.AsyncClient]:
    """Of the first process."""
    async with client_of(two[0].address, request.param) as one:
        yield one


LIST = "/v1/event/show/reservation"


async def test_any_process_lists_what_all_of_them_have(two: tuple[Served, Served], client: httpx.AsyncClient) -> None:
    one, other = two
    found: list[str] = []
    query: dict[str, str] = {"limit": "7", "user": "ann"}
    while True:
        answer = await client.get(LIST, params=query)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        found += ids(answer.json())
        if answer.json()["next"] is None:
            break
        query["after"] = answer.json()["next"]
    assert found == [key.decode() for key in IDS]
    # One question a page, for however many partitions.
    assert one.asked == [other.address] * -(-len(IDS) // 7)
    assert other.asked == []


async def test_while_an_owner_is_away_or_does_not_know_there_is_no_list(two: tuple[Served, Served], client: httpx.AsyncClient) -> None:
    one, other = two
    other.table.served.discard(3)
    assert problem(await client.get(LIST)) == (503, "not_serving")
    other.table.served.add(3)
    assert len(ids((await client.get(LIST)).json())) == len(IDS)
    await other.stop()
    assert problem(await client.get(LIST)) == (503, "not_serving")
    one.own([0, 1], {2: one.address})
    assert problem(await client.get(LIST)) == (503, "not_serving")


async def test_a_process_that_does_not_list_is_away(two: tuple[Served, Served], client: httpx.AsyncClient) -> None:
    _, other = two
    other._server.use(Routes(other.gateway, lambda: True, LIMITS))
    assert problem(await client.get(LIST)) == (503, "not_serving")
    async with client_of(other.address, 1) as direct:
        refused = await direct.get(LIST)
        assert problem(refused) == (405, "wrong_method")
        assert refused.headers["allow"] == "OPTIONS, POST"


async def test_rude_questions_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.options(LIST)).headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert problem(await client.get("/v1/event/unknown/reservation")) == (404, "no_such_event")
    assert problem(await client.get("/v1/event//reservation")) == (404, "no_such_event")
    assert problem(await client.get(LIST, params={"limit": "51"})) == (400, "invalid_limit")
    assert problem(await client.get(LIST, params={"state": "SOLD"})) == (400, "invalid_state")
    assert problem(await client.get(f"{LIST}?user=%ff")) == (400, "invalid_encoding")
    inner = f"/internal/v1/reservation/{HERE.decode()}/list"
    for body in (b"", b"{}", b'{"partitions":[0],"event":"show","user":null,"state":9,"limit":1}'):
        assert problem(await client.post(inner, content=body))[0] == 400
    nothing = b'{"partitions":[0],"event":"show","user":null,"state":null,"limit":0}'
    assert problem(await client.post(inner, content=nothing))[0] == 400
    unknown = b'{"partitions":[77],"event":"show","user":null,"state":null,"limit":1}'
    assert problem(await client.post(inner, content=unknown)) == (503, "not_serving")


async def test_head_is_a_list_without_its_body(client: httpx.AsyncClient) -> None:
    full, bare = await client.get(LIST), await client.head(LIST)
    assert (bare.status_code, bare.content, bare.headers["content-length"]) == (200, b"", str(len(full.content)))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"ids":["x"],"documents":[],"more":false}', b'{"ids":[],"documents":[],"more":true}'])
async def test_an_answer_that_is_none_is_no_part_of_a_list(body: bytes) -> None:
    numbers: list[bytes] = []
    table = Table()
    lists = lists_of(table, ask=lambda _address, number, _post=None, /: numbers.append(number))
    table.served = {0}
    lists.on_assigned(Assignment([0], 1, dict.fromkeys(range(1, PARTITIONS), "other:1")))
    client = Client()
    lists.take(EVERYTHING, client)
    await asyncio.sleep(0)
    lists.on_peer_answer(numbers[0], 200, body)

    assert (await answered(client))["code"] == "not_serving"
    # Nothing is known of it any more.
    lists.on_peer_answer(numbers[0], 200, body)
