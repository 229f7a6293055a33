"""What holds the event loop longest: each situation alone, in this process, on the real parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from scripts.perf.bench_suite.figures import Goal, Kind, Notebook
from scripts.perf.bench_suite.load import Say
from scripts.perf.bench_suite.loop_probe import Held, watched
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.cleaner import Retention
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.event.processor import event_topology
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.state.port import StateStores, Update
from ticketmaster.state.sqlite import SqliteStores
from ticketmaster.streams.jobs import take_steps
from ticketmaster.streams.restoration import restore
from ticketmaster.streams.settings import EMBEDDED
from ticketmaster.streams.table import GlobalTable, OwnedTable
from ticketmaster.streams.worker import StreamWorker
from ticketmaster.telemetry.observer import Observer
from ticketmaster.ticket.catalog import Catalog
from ticketmaster.ticket.gateway import Gateway
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.ticket.problems import Headers
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.incoming import Incoming
from ticketmaster.wire.registry import SCHEMA_IDS, frame, load_schema
from ticketmaster.wire.schema_registry import SchemaRegistry

_GOAL = Goal(50)
_SOURCE = TopicPartition("compacted", 0)
_COMMANDS = TopicPartition("commands", 0)
_VALUE = b"x" * 130
_BATCH = 200
# Rows of a write behind, as a task makes it.
_WRITE = 4_000
_WRITES = 50
_MAPS = 20
_FOREIGN_ID = 4_711
# Of one situation: announcing millions of seats takes longest.
_TIMEOUT_S = 600.0
_POLL_S = 0.01


class Plan(NamedTuple):
    """How large the situations are."""

    loop_records: int
    loop_statuses: int
    loop_areas: int
    waiters: int


_STORE = "Reservation"
_SITUATIONS = (
    "restoration",
    "opening a store",
    "writing a store, checkpoints of SQLite included",
    "compaction",
    "expiry by size",
    "seat maps of 100,000 seats",
    "the table of areas, from the log's start",
    "translation of foreign statuses",
    "announcing 10,000 seats an area",
    "closing, with long polls that wait",
)
KINDS: tuple[Kind, ...] = tuple(
    kind
    for name in _SITUATIONS
    for kind in (Kind(f"loop, {name}: longest silence", "ms", _GOAL), Kind(f"loop, {name}: longest step's CPU", "ms", _GOAL))
)


def measure(folder: Path, plan: Plan, runs: int, notes: Notebook, say: Say) -> None:
    """Everything."""
    for run in range(1, runs + 1):
        place = folder / f"run-{run}"
        place.mkdir(parents=True)
        asyncio.run(_measure(place, plan, notes, lambda text, run=run: say(f"loop, run {run} of {runs}: {text}")))  # type: ignore[misc]


async def _measure(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    situations: Sequence[Callable[[Path, Plan], Awaitable[Held]]] = (
        _restoration,
        _opening,
        _writing,
        _compaction,
        _expiry,
        _seat_maps,
        _areas,
        _translation,
        _announcing,
        _closing,
    )
    for name, situation in zip(_SITUATIONS, situations, strict=True):
        say(name)
        held = await situation(folder, plan)
        notes.note(f"loop, {name}: longest silence", 1e3 * held.silence_s)
        notes.note(f"loop, {name}: longest step's CPU", 1e3 * held.step_cpu_s)


# The engine, as it is called here. Stores are made by one situation and used by the next.


def _opened(folder: Path) -> StateStores:
    return SqliteStores(folder / "state.db", (_STORE,))


@asynccontextmanager
async def _log(folder: Path, name: str, *specs: TopicSpec, retention: Retention | None = None) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(SqliteStorage(folder / f"{name}.db"), SystemClock(), retention=retention or Retention(), tail_bytes_max=1 << 20)
    await broker.start()
    try:
        await broker.create_topics(specs)
        yield broker
    finally:
        await broker.close()


async def _append(broker: EmbeddedBroker, source: TopicPartition, records: int, *, times: int = 1) -> None:
    """Batches whose keys rise, each key ``times`` times."""
    for _ in range(times):
        for start in range(0, records, 100 * _BATCH):
            numbers = range(start, min(start + 100 * _BATCH, records), _BATCH)
            await asyncio.gather(*(broker.append({source: [(b"%016d" % key, _VALUE) for key in range(at, at + _BATCH)]}) for at in numbers))


def _status(number: int, rows: int, cols: int, taken: int = 0) -> Pair:
    area = b"A%d" % number
    image = AreaImage.all_free(b"show", area, 100, rows, cols)
    image.take_run(0, 0, taken)
    return b"show#" + area, image.value(rows * cols - taken)


# The situations.


async def _restoration(folder: Path, plan: Plan) -> Held:
    async with _log(folder, "restored", TopicSpec(_SOURCE.topic, 1, compacted=True)) as broker:
        await _append(broker, _SOURCE, plan.loop_records)
        store = _opened(folder)
        async with watched() as held:
            await restore(broker, {_STORE: _SOURCE}, store, "task", Observer())
        store.close()
    return held


async def _opening(folder: Path, _: Plan) -> Held:
    async with watched() as held:
        _opened(folder).close()
    return held


async def _writing(folder: Path, plan: Plan) -> Held:
    """Values of keys from all over the store, which is what costs SQLite most."""
    store = _opened(folder)
    checkpoint = store.table(_STORE).checkpoint() or 0
    apart = max(plan.loop_records // _WRITE, 1)
    async with watched() as held:
        for number in range(_WRITES):
            checkpoint += _WRITE
            changes: dict[bytes, bytes | None] = {b"%016d" % (apart * at + number): b"y" * 130 for at in range(_WRITE)}
            await take_steps(store.writing({_STORE: Update(changes, checkpoint)}))
            await asyncio.sleep(0)
    store.close()
    return held


async def _compaction(folder: Path, plan: Plan) -> Held:
    async with _log(
        folder, "compacted", TopicSpec(_SOURCE.topic, 1, compacted=True), retention=Retention(uncleaned_bytes_max=1 << 50)
    ) as broker:
        await _append(broker, _SOURCE, plan.loop_records // 2, times=2)
        (log,) = broker.logs
        async with watched() as held:
            await broker._cleaner.compact(log)  # noqa: SLF001 - nobody else asks for it
    return held


async def _expiry(folder: Path, plan: Plan) -> Held:
    retention = Retention(consumed_bytes_max=16 << 20)
    async with _log(folder, "expired", TopicSpec(_COMMANDS.topic, 1), retention=retention) as broker, watched() as held:
        for start in range(0, plan.loop_records, 10 * _BATCH):
            records = [(b"%016d" % key, _VALUE) for key in range(start, start + 10 * _BATCH)]
            await broker.until_durable(await broker.commit({_COMMANDS: records}, {_COMMANDS: start}, "group"))
    return held


async def _seat_maps(_: Path, __: Plan) -> Held:
    catalog = Catalog(lambda: True)
    async with watched() as held:
        for taken in range(_MAPS):
            for number, (rows, cols) in enumerate(((250, 400), (1, 100_000), (100_000, 1))):
                catalog.apply([_status(number, rows, cols, min(taken, cols))])
                assert catalog.seat_map("show", f"A{number}")
                assert catalog.event("show")
                await asyncio.sleep(0)
    return held


async def _areas(folder: Path, plan: Plan) -> Held:
    spec = TopicSpec(topics.AREA_STATUS.name, 1, compacted=True)
    async with _log(folder, "areas", spec) as broker:
        for start in range(0, plan.loop_statuses, _BATCH):
            statuses = [_status(number, 20, 20) for number in range(start, min(start + _BATCH, plan.loop_statuses))]
            await broker.append({TopicPartition(spec.name, 0): statuses})
        catalog, filtered = Catalog(lambda: True), AreaCache(1, lambda: table.fresh)
        table = GlobalTable(broker, spec.name, 1, lambda records: filtered.apply(records) + catalog.apply(records), EMBEDDED, Observer())
        async with watched() as held:
            job = asyncio.create_task(table.run())
            await _until(lambda: table.ready)
        await _ended(job)
    return held


async def _translation(_: Path, plan: Plan) -> Held:
    """As much as one poll may bring of statuses that differ from ours in the schema's ``doc`` only."""
    schema = load_schema("AreaStatus")
    assert isinstance(schema, dict)

    class Known(SchemaRegistry):
        def __init__(self) -> None:
            """There is nobody to ask."""

        async def schema(self, schema_id: int) -> object:
            return {**schema, "doc": "of another program"}

    statuses = [
        (key, frame(_FOREIGN_ID) + (value or b"")[5:]) for key, value in (_status(number, 20, 20) for number in range(plan.loop_statuses))
    ]
    statuses += [(key, frame(_FOREIGN_ID) + (value or b"")[5:]) for key, value in (_status(0, 250, 400),)]
    incoming = Incoming(Known(), SCHEMA_IDS, lambda *_: None)
    async with watched() as held:
        await incoming.translate(topics.AREA_STATUS.name, statuses)
    return held


class _Answers:
    """Takes responses."""

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self.statuses.append(status)


class _Sale(NamedTuple):
    gateway: Gateway
    jobs: list[asyncio.Task[None]]
    parts: tuple[StreamWorker, OwnedTable, GlobalTable]


@asynccontextmanager
async def _sale(folder: Path, name: str) -> AsyncIterator[_Sale]:
    """The event role and a gateway on one log."""
    async with _log(folder, name, *(TopicSpec(topic.name, 1, topic.compacted) for topic in topics.ALL_TOPICS)) as broker:

        def open_stores(application_id: str, names: Sequence[str], partition: int) -> StateStores:
            return SqliteStores(folder / f"{name}-{application_id}-{names[0]}-{partition}.db", names)

        catalog, observer = Catalog(lambda: True), Observer()
        table = OwnedTable(topics.TICKET_SERVICE, topics.USER_RESERVATION.name, "Reservation", broker, open_stores, EMBEDDED, observer)
        gateway = Gateway(broker.producer(), table, catalog, 1, SystemClock(), TicketLimits(drain_ms=0))
        areas = GlobalTable(broker, topics.AREA_STATUS.name, 1, gateway.on_areas, EMBEDDED, observer)
        worker = StreamWorker(event_topology(1), broker, open_stores, EMBEDDED, observer)
        work = (
            worker.run(),
            areas.run(),
            table.run(gateway.on_reservations, gateway.on_table_opened, gateway.on_assigned),
            gateway.sweep(),
        )
        jobs = [asyncio.create_task(one) for one in work]
        try:
            await _until(lambda: worker.ready and table.ready and areas.ready)
            yield _Sale(gateway, jobs, (worker, table, areas))
        finally:
            await _ended(*jobs)


async def _announcing(folder: Path, plan: Plan) -> Held:
    areas = [{"areaId": f"A{number}", "price": 1, "rowCount": 100, "colCount": 100} for number in range(plan.loop_areas)]
    body = msgspec.json.encode({"eventName": "show", "areas": areas})
    answers = _Answers()
    async with _sale(folder, "announced") as sale:
        async with watched() as held:
            sale.gateway.post_event(body, answers)
            await _until(lambda: bool(answers.statuses))
            await _until(lambda: sale.gateway.catalog.has_areas("show", [str(area["areaId"]) for area in areas]))
        assert answers.statuses == [200]
    return held


async def _closing(folder: Path, plan: Plan) -> Held:
    answers = _Answers()
    async with _sale(folder, "closed") as sale:
        for number in range(plan.waiters):
            sale.gateway.get_reservation(f"01890000-0000-7000-8000-{number:012d}", answers)
        async with watched() as held:
            await sale.gateway.drain()
            await _ended(*sale.jobs)
        assert len(answers.statuses) == plan.waiters
    return held


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in several ways
            await asyncio.sleep(_POLL_S)


async def _ended(*jobs: asyncio.Task[None]) -> None:
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
