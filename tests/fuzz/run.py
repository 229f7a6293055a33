"""A whole run: a server of its own, the requests, and a look at the sale afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import msgspec
import psutil

from tests.fuzz.answers import Answer
from tests.fuzz.delivery import Courier, Finding, pick_known
from tests.fuzz.messages import Message, with_known_id
from tests.fuzz.mutations import AREAS, COLS, EVENT, OTHER, ROWS
from tests.fuzz.oracle import Oracle
from tests.fuzz.plans import Plan, Planner
from tests.process.client import ask, connected
from tests.process.server import Server

# Small limits, so that they are met; a short long poll, for most ids are made up.
OPTIONS = (
    *("--long-poll-ms", "20", "--request-body-bytes-max", "65536", "--areas-per-event-max", "20"),
    *("--seats-per-area-max", "2400", "--seats-per-event-max", "24000", "--seats-per-reservation-max", "20"),
)
FINDINGS_MAX = 100
_MIB = 1 << 20
_SAMPLE_S = 0.5
_CHECKERS = 16
_DECIDED_WITHIN_S = 30.0
_CLOSED_WITHIN_S = 10.0


class Report(msgspec.Struct):
    """A run in figures; the names are those of `--json`. A request may have had several mutations."""

    requests: int
    seconds: float
    seed: int
    by_status: dict[str, int]
    by_code: dict[str, int]
    by_operation: dict[str, int]
    by_mutation: dict[str, int]
    answers: int
    unanswered_cut_off: int
    reservations_acknowledged: int
    reservations_decided: int
    seats_sold: int
    rss_before_mib: float
    rss_after_mib: float
    rss_max_mib: float
    findings: list[dict[str, Any]]


@dataclass(slots=True)
class Tally:
    """Counts of requests and answers until now."""

    sent: int = 0
    answers: int = 0
    unanswered: int = 0
    rss_max_bytes: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    by_operation: Counter[str] = field(default_factory=Counter)
    by_mutation: Counter[str] = field(default_factory=Counter)
    acknowledged: list[str] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)

    def seen(self, message: Message, answer: Answer) -> None:
        """Notes an answer that is as it should be."""
        if answer.status >= 400 and answer.body:
            self.by_code[json.loads(answer.body)["code"]] += 1
        # Of all answers only a reservation's id is plain text with something in it.
        if answer.status == 200 and answer.body and answer.headers.get("content-type") == "text/plain":
            self.acknowledged.append(answer.body.decode())

    def note(self, plan: Plan, answers: Sequence[Answer]) -> None:
        """Counts a plan that was delivered."""
        self.sent += 1
        self.answers += len(answers)
        self.unanswered += not answers
        self.by_status.update(str(answer.status) for answer in answers)
        self.by_operation[plan.operation] += 1
        self.by_mutation.update(plan.mutations)

    def found(self, what: str, plan: Plan | None = None, known_id: bytes = b"") -> None:
        """Keeps a finding, with what repeats it."""
        finding: dict[str, Any] = {"what": what}
        if plan:
            messages = [one.rendered() for one in plan.messages]
            sent = with_known_id(plan.data or b"".join(messages), known_id) if known_id else plan.data
            finding |= {"number": plan.number, "operation": plan.operation, "mutations": plan.mutations, "delivery": plan.delivery}
            finding |= {"cuts": plan.cuts, "end": plan.end.value, "sent": repr(sent)[2:-1]}
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


class Fuzzer:
    """Sends numbers to a server and keeps the tally."""

    def __init__(self, address: str, planner: Planner, seed: int, *, connections: int, deadline_s: float) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._planner = planner
        self._random = Random(seed)
        self._connections = connections
        self._deadline_s = deadline_s
        self._oracle = Oracle()
        self.tally = Tally()

    async def send(self, numbers: Iterable[int], progress: Callable[[int], None] = lambda _: None) -> None:
        """Sends them all, several at once. Stops early when there is no room for more findings."""
        ahead = iter(numbers)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._connections):
                group.create_task(self._work(ahead, progress))

    async def _work(self, numbers: Iterator[int], progress: Callable[[int], None]) -> None:
        tally = self.tally
        courier = Courier(self._host, self._port, self._oracle, tally.seen, deadline_s=self._deadline_s)
        try:
            for number in numbers:
                plan = self._planner.plan(number)
                known_id = pick_known(self._random, tally.acknowledged)
                answers: list[Answer] = []
                try:
                    answers = await courier.deliver(plan, known_id)
                except Finding as finding:
                    tally.found(str(finding), plan, known_id)
                tally.note(plan, answers)
                progress(tally.sent)
                if len(tally.findings) >= FINDINGS_MAX:
                    return
        finally:
            courier.close()


async def announce(address: str) -> None:
    """Puts the events up for sale that aimed requests are for."""
    areas = [{"areaId": area, "price": 7, "rowCount": ROWS, "colCount": COLS} for area in AREAS]
    for event in (EVENT, OTHER):
        reply = await ask(address, "POST", "/v1/event", {"eventName": event, "areas": areas})
        assert reply.status == 200, reply


# What the ids begin with that are derived from an Idempotency-Key.
KEYED = "00000000-0000-8"


@dataclass(slots=True)
class _Sold:
    """Seats of decided reservations by event and area; faults are sentences."""

    decided: int = 0
    seats: dict[tuple[str, str], set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    faults: list[str] = field(default_factory=list)

    def add(self, reservation_id: str, decision: dict[str, Any]) -> None:
        """Takes a decision into the books."""
        self.decided += 1
        if decision["reservationId"] != reservation_id or decision["state"] not in {"RESERVED", "FAILED", "PAID", "CANCELLED"}:
            self.faults.append(f"{reservation_id} is {decision}")
        if decision["state"] in {"RESERVED", "PAID"}:
            taken = self.seats[decision["eventId"], decision["areaId"]]
            for seat in decision["seats"]:
                place = (seat["row"], seat["col"])
                if place in taken:
                    self.faults.append(f"{decision['eventId']!r} {decision['areaId']!r} {place} was sold twice, to {reservation_id}, too")
                taken.add(place)


async def check_sale(address: str, acknowledged: Sequence[str]) -> _Sold:
    """Every acknowledged reservation is decided, no seat sold twice, every sold one taken, and a new event sells."""
    sold = _Sold()
    # Those of a key are handed out each time that it is used.
    minted = [one for one in acknowledged if not one.startswith(KEYED)]
    if len(set(minted)) != len(minted):
        sold.faults.append("an id was handed out twice")
    acknowledged = list(dict.fromkeys(acknowledged))
    async with asyncio.TaskGroup() as group:
        for number in range(_CHECKERS):
            group.create_task(_read_decisions(address, acknowledged[number::_CHECKERS], sold))
    async with connected(address) as connection:
        for (event, area), seats in sold.seats.items():
            path = f"/v1/event/{_quoted(event)}/area/{_quoted(area)}"
            shown = (await connection.request("GET", path)).json
            taken = {(row, col) for row, marks in enumerate(shown.get("rows", ())) for col, mark in enumerate(marks) if mark == "#"}
            if not seats <= taken:
                sold.faults.append(f"{path} shows {len(seats - taken)} sold seats as free")
        health = await connection.request("GET", "/v1/health_check")
        if health.status != 200:
            sold.faults.append(f"the health check says {health.status}")
    await _sell_one_more(address, sold)
    return sold


def _quoted(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")


async def _read_decisions(address: str, ids: Sequence[str], sold: _Sold) -> None:
    async with connected(address) as connection:
        for reservation_id in ids:
            given_up_s = time.monotonic() + _DECIDED_WITHIN_S
            reply = await connection.request("GET", f"/v1/reservation/{reservation_id}")
            while reply.status == 503 and time.monotonic() < given_up_s:
                reply = await connection.request("GET", f"/v1/reservation/{reservation_id}")
            if reply.status == 200:
                sold.add(reservation_id, reply.json)
            else:
                sold.faults.append(f"{reservation_id} was acknowledged and is not decided: {reply.status}")


async def _sell_one_more(address: str, sold: _Sold) -> None:
    event = {"eventName": "afterwards", "areas": [{"areaId": "A", "price": 1, "rowCount": 1, "colCount": 4}]}
    states, last = [], ""
    async with connected(address) as connection:
        await connection.request("POST", "/v1/event", event)
        for _ in range(3):
            order = {"userId": "ann", "areaId": "A", "numOfSeats": 2, "type": "RANDOM"}
            last = (await connection.request("POST", "/v1/event/afterwards/reservation", order)).body.decode()
            reply = await connection.request("GET", f"/v1/reservation/{last}")
            while reply.status == 503:
                reply = await connection.request("GET", f"/v1/reservation/{last}")
            states.append(reply.json["state"])
    if states != ["RESERVED", "RESERVED", "FAILED"]:
        sold.faults.append(f"two of three pairs fit into four seats, but they are {states}")


def _sampled(pid: int, tally: Tally, progress: Callable[[int], None]) -> Callable[[int], None]:
    """A progress that looks at the process's memory now and then."""
    process, last_s = psutil.Process(pid), 0.0

    def sample(sent: int) -> None:
        nonlocal last_s
        progress(sent)
        if (now_s := time.monotonic()) - last_s >= _SAMPLE_S:
            last_s = now_s
            tally.rss_max_bytes = max(tally.rss_max_bytes, process.memory_info().rss)

    return sample


def run(
    planner: Planner,
    numbers: Sequence[int],
    seed: int,
    *,
    connections: int,
    deadline_s: float,
    rss_mib_max: int,
    progress: Callable[[int], None],
) -> Report:
    """Starts a server, sends the numbers, checks the sale, stops the server and reports."""
    with TemporaryDirectory(prefix="ticketmaster-fuzz-") as folder:
        server = Server(Path(folder) / "data", *OPTIONS)
        try:
            address = server.wait_ready()
            asyncio.run(announce(address))
            memory = psutil.Process(server.pid).memory_info
            before_bytes, started_s = memory().rss, time.monotonic()
            fuzzer = Fuzzer(address, planner, seed, connections=connections, deadline_s=deadline_s)
            asyncio.run(fuzzer.send(numbers, _sampled(server.pid, fuzzer.tally, progress)))
            seconds = time.monotonic() - started_s
            sold = _checked(server, address, fuzzer.tally)
            after_bytes = memory().rss if server.is_running else 0
            _check_end(server, fuzzer.tally, max(fuzzer.tally.rss_max_bytes, after_bytes) / _MIB, rss_mib_max)
        finally:
            server.kill()
    return _report(fuzzer.tally, sold, seed, seconds, before_bytes, after_bytes)


def _checked(server: Server, address: str, tally: Tally) -> _Sold:
    if not server.is_running:
        tally.found("the server has ended")
        return _Sold()
    try:
        sold = asyncio.run(check_sale(address, tally.acknowledged))
    except BaseExceptionGroup as group:
        tally.found(f"the sale could not be looked at: {group.exceptions[0]!r}")
        return _Sold()
    for fault in sold.faults:
        tally.found(fault)
    return sold


def _check_end(server: Server, tally: Tally, rss_mib: float, rss_mib_max: int) -> None:
    """Its memory stayed below the limit, it logged no trouble, and it stops when it is told to."""
    if rss_mib > rss_mib_max:
        tally.found(f"{rss_mib:.0f} MiB of memory, {rss_mib_max} are allowed")
    left = connections_left(server.pid, _CLOSED_WITHIN_S) if server.is_running else Counter()
    if left:
        tally.found(f"connections that all clients have left are still open: {dict(left)}")
    for line in server.lines():
        if line.get("level") not in ("info", "debug"):
            tally.found(f"the server logged: {line}"[:5_000])
    try:
        server.stop()
    except AssertionError as cause:
        tally.found(f"the server did not stop as it should: {cause}"[:5_000])


def connections_left(pid: int, within_s: float) -> Counter[str]:
    """The process's connections by their state, once it has had time to notice that nobody is there any more."""
    given_up_s = time.monotonic() + within_s
    while True:
        open_now = [one.status for one in psutil.Process(pid).net_connections() if one.status != psutil.CONN_LISTEN]
        if not open_now or time.monotonic() > given_up_s:
            return Counter(map(str, open_now))
        time.sleep(0.1)


def _report(tally: Tally, sold: _Sold, seed: int, seconds: float, before_bytes: int, after_bytes: int) -> Report:
    def counted(counter: Counter[str]) -> dict[str, int]:
        return dict(sorted(counter.items(), key=lambda pair: -pair[1]))

    return Report(
        requests=tally.sent,
        seconds=round(seconds, 1),
        seed=seed,
        by_status=dict(sorted(tally.by_status.items())),
        by_code=counted(tally.by_code),
        by_operation=counted(tally.by_operation),
        by_mutation=counted(tally.by_mutation),
        answers=tally.answers,
        unanswered_cut_off=tally.unanswered,
        reservations_acknowledged=len(set(tally.acknowledged)),
        reservations_decided=sold.decided,
        seats_sold=sum(map(len, sold.seats.values())),
        rss_before_mib=round(before_bytes / _MIB, 1),
        rss_after_mib=round(after_bytes / _MIB, 1),
        rss_max_mib=round(max(tally.rss_max_bytes, before_bytes, after_bytes) / _MIB, 1),
        findings=tally.findings,
    )
