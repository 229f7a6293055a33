"""The cost of the steps of a reservation's way through the roles, each alone and in a loop, on the bytes of a real reservation.

The rest of a role's CPU in a sale is HTTP, the requests to Kafka, and moving bytes between threads.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from scripts.perf.bench_suite.figures import Step
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.clock import SystemClock
from ticketmaster.event.kept_rules import KeptRules
from ticketmaster.event.processor import LiveArea
from ticketmaster.reservation.area_cache import KnownArea
from ticketmaster.state.port import Update
from ticketmaster.state.sqlite import SqliteStores
from ticketmaster.ticket.bodies import read_reservation_request, reservation_json
from ticketmaster.ticket.ids import IdMint
from ticketmaster.ticket.limits import TicketLimits
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.reservations import decided, encode_run, processing, read_create, read_reserve, reserve_seat, succeeded

_ROUNDS = 20_000
_REPEATED = 3
_BATCH = 200
_STORED = 4_000
_BODY = b'{"userId":"ann","eventId":"show","areaId":"A","numOfSeats":2,"seats":[],"type":"RANDOM"}'


def measure_steps() -> Iterator[Step]:
    """Every step, in the order of a reservation's way."""
    limits, mint = TicketLimits(), IdMint(SystemClock(), 1)
    key, _ = mint.mint()
    create = read_reservation_request(_BODY, "show", limits)
    command = read_create(create)
    status = AreaImage.all_free(b"show", b"A", 100, 20, 20).value(400)
    known = KnownArea(b"show#A", 0, status)
    asked = reserve_seat(key, create, command.names_at)
    waiting = processing(key, create)
    result = succeeded(key, encode_run(3, 4, 2))
    decided_now = decided(waiting, result)
    assert decided_now is not None
    decision = decided_now.reservation
    yield _step("ticket", "JSON to a command", lambda: read_reservation_request(_BODY, "show", limits))
    yield _step("ticket", "an id", mint.mint)
    yield _step("ticket, event", "a partition by hash, of 4", lambda: partition_of(key, 4))
    yield _step("all", "a record into a batch, LZ4", _batched(key, create), of=_BATCH)
    yield _step("reservation", "a command read", lambda: read_create(create))
    yield _step("reservation", "the filter's look at the area", lambda: known.admits(create, 2, command.kind, command.seats_at))
    yield _step("reservation", "a reservation begun", lambda: processing(key, create))
    yield _step("reservation", "the event role asked", lambda: reserve_seat(key, create, command.names_at))
    yield _step("event", "a command read", lambda: read_reserve(asked))
    yield _step("event", "seats picked, and the area's bytes patched", _reserving(status, asked))
    yield _step("event", "an area's status as bytes", lambda: LiveArea(b"show#A", status, KeptRules()).image.value(400))
    yield _step("reservation", "a result taken in", lambda: decided(waiting, result))
    yield _step("reservation, ticket", "a value into SQLite, of 4,000 at once", _storing(decision), of=_STORED)
    yield _step("ticket", "a decision to JSON", lambda: reservation_json(decision))


def _step(role: str, name: str, work: Callable[[], object], *, of: int = 1) -> Step:
    rounds = max(1, _ROUNDS // of)
    return Step(role, name, round(min(_once(work, rounds) for _ in range(_REPEATED)) / of, 2))


def _once(work: Callable[[], object], rounds: int) -> float:
    began = time.process_time()
    for _ in itertools.repeat(None, rounds):
        work()
    return 1e6 * (time.process_time() - began) / rounds


def _batched(key: bytes, value: bytes) -> Callable[[], object]:
    def work() -> object:
        builder = DefaultRecordBatchBuilder(
            2, DefaultRecordBatch.CODEC_LZ4, is_transactional=1, producer_id=1, producer_epoch=0, base_sequence=0, batch_size=1 << 20
        )
        for number in range(_BATCH):
            builder.append(number, 1_700_000_000_000, key=key, value=value, headers=[])
        return builder.build()

    return work


def _reserving(status: bytes, asked: bytes) -> Callable[[], object]:
    command = read_reserve(asked)
    areas = itertools.chain.from_iterable(itertools.repeat(LiveArea(b"show#A", status, KeptRules()), 200) for _ in itertools.count())

    def work() -> object:
        # 200 pairs of seats sell an area out; then comes a fresh one.
        return next(areas).reserve(asked, command)

    return work


def _storing(value: bytes) -> Callable[[], object]:
    mint = IdMint(SystemClock(), 1)
    folder = tempfile.TemporaryDirectory()
    stores = SqliteStores(Path(folder.name) / "state.db", ("Reservation",))
    batches = [{mint.mint()[0]: value for _ in range(_STORED)} for _ in range(_REPEATED * _ROUNDS // _STORED)]

    def work() -> object:
        # The folder lives as long as this function does.
        for _ in stores.writing({"Reservation": Update(batches.pop(0), len(folder.name))}):
            pass
        return None

    return work
