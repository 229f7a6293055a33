"""The cost and speed of holds, payments and expiry, in one process."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.figures import Goal, Kind, Notebook
from scripts.perf.bench_suite.load import Say, areas, sell
from scripts.perf.bench_suite.processes import MIB, Standalone, resident_mib, serving
from scripts.perf.bench_suite.shop import Shop, shops

_AREA_SEATS = 400
# A reservation of the load client has 2.5 seats on average. All of these get theirs.
_SEATS_WANTED = 2.8
_WEEK_S = 604_800
_HOLD_S = 600
_FILL_STEP = 100_000
# Seats are held for a moment only, then for as long as it takes to hold all.
_FIRST_HOLD_S = 5
_SHOPS = 200
_PAYING = 8
_PAYING_AREAS = 50
# Payments before a wave count apart: what they take without one.
_BEFORE_S = 10.0
_FREED_WITHIN_S = 120.0
_LOOK_S = 0.05


class Plan(NamedTuple):
    """How much is measured. ``wave_s``: in which all holds of a wave are made, before they end."""

    runs: int
    standalone_requests: int
    single_requests: int
    wave_holds: int
    wave_s: int
    open_holds: int


KINDS: tuple[Kind, ...] = (
    Kind("life: CPU of a reservation without a hold: POST, GET", "µs"),
    Kind("life: CPU of a held one that is paid: POST, GET, payment", "µs"),
    Kind("life: CPU, held and paid / without", "×", Goal(2.0)),
    Kind("life, one client: payment to its answer, p50", "ms"),
    Kind("life, one client: payment to its answer, p99", "ms"),
    Kind("second wave: from the end of the holds until all seats are free", "s", Goal(5)),
    Kind("second wave: payments before it, p99", "ms"),
    Kind("second wave: payments meanwhile, p50", "ms"),
    Kind("second wave: payments meanwhile, p99", "ms", Goal(100)),
    Kind("open holds: memory of each, when they were made", "bytes", Goal(200)),
    Kind("open holds: memory of each, after a start", "bytes", Goal(200)),
    Kind("open holds: start", "ms", Goal(5_000)),
    Kind("open holds: start with the same reservations without", "ms"),
)


def measure(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """Everything."""
    folder.mkdir(parents=True)
    for run in range(1, plan.runs + 1):
        told = f"life, run {run} of {plan.runs}"
        with serving(folder / f"run-{run}") as server:
            _costs(server, plan, notes, lambda text, told=told: say(f"{told}: {text}"))  # type: ignore[misc]
            say(f"{told}: one client pays {plan.single_requests:,} times")
            alone_ms = asyncio.run(_pay_alone(server.port, plan.single_requests))
            for percent in (50, 99):
                notes.note(f"life, one client: payment to its answer, p{percent}", percentile(alone_ms, percent))
            server.stop()
        if plan.wave_holds:
            say(f"{told}: {plan.wave_holds:,} holds that end in one second, {plan.wave_s} s from now")
            with serving(folder / f"wave-{run}") as server:
                _note_wave(asyncio.run(_wave(server.port, plan)), notes)
                server.stop()
    if plan.open_holds:
        _open(folder, plan.open_holds, notes, say)


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _costs(server: Standalone, plan: Plan, notes: Notebook, say: Say) -> None:
    requests = plan.standalone_requests
    shape = ("-n", str(requests), *areas(_areas_for(requests)))
    say("warming up")
    sell(server, *shape)
    say(f"{requests:,} reservations without holds")
    plain_us = sell(server, *shape).cpu_us["standalone"]
    say(f"{requests:,} that are held, and paid")
    paid_us = sell(server, *shape, "--hold-seconds", str(_HOLD_S), "--pay", "1").cpu_us["standalone"]
    notes.note("life: CPU of a reservation without a hold: POST, GET", plain_us)
    notes.note("life: CPU of a held one that is paid: POST, GET, payment", paid_us)
    notes.note("life: CPU, held and paid / without", paid_us / plain_us)


def _areas_for(requests: int) -> int:
    return math.ceil(requests * _SEATS_WANTED / _AREA_SEATS)


async def _pay_alone(port: int, count: int) -> list[float]:
    async with shops(port, 1) as (shop,):
        await shop.announce("alone", math.ceil(count / _AREA_SEATS), _HOLD_S, _HOLD_S)
        return [await _pay(shop, "alone", number // _AREA_SEATS) for number in range(count)]


async def _pay(shop: Shop, event: str, area: int) -> float:
    """The milliseconds that the payment of a new reservation takes."""
    reservation = await shop.reserve(event, area)
    await shop.decided(reservation)
    began_s = time.monotonic()
    await shop.pay(reservation)
    return 1_000 * (time.monotonic() - began_s)


class Wave(NamedTuple):
    """When all seats were free, and when payments began and how many ms they took; all seconds count from the end of the holds."""

    free_s: float
    payments: list[tuple[float, float]]


def _note_wave(wave: Wave, notes: Notebook) -> None:
    before = [took_ms for at_s, took_ms in wave.payments if at_s < 0]
    # Begun before it or in it, and not over by then: a small wave is shorter than a payment.
    meanwhile = [took_ms for at_s, took_ms in wave.payments if at_s <= wave.free_s and at_s + took_ms / 1_000 >= 0]
    notes.note("second wave: from the end of the holds until all seats are free", wave.free_s)
    notes.note("second wave: payments before it, p99", percentile(before, 99))
    for percent in (50, 99):
        notes.note(f"second wave: payments meanwhile, p{percent}", percentile(meanwhile, percent))


async def _wave(port: int, plan: Plan) -> Wave:
    seats = _AREA_SEATS * math.ceil(plan.wave_holds / _AREA_SEATS)
    # Whole seconds of the server's clock, which is this machine's.
    ends_s = math.ceil(time.time()) + plan.wave_s
    async with shops(port, _SHOPS) as holding:
        await holding[0].announce("wave", seats // _AREA_SEATS, _FIRST_HOLD_S, plan.wave_s + _FIRST_HOLD_S)
        await holding[0].announce("paid", _PAYING_AREAS, _HOLD_S, _HOLD_S)
        numbers = iter(range(plan.wave_holds))
        await asyncio.gather(*(_hold(shop, numbers, ends_s) for shop in holding))
        held = seats - await holding[0].free("wave")
    before_s = ends_s - time.time() - _BEFORE_S
    if held < plan.wave_holds or before_s < 0:
        raise BenchError(f"{held:,} of {plan.wave_holds:,} seats are held {before_s:.1f} s before it counts: take a longer --wave-s")
    await asyncio.sleep(before_s)
    # Opened now: a connection without a request is soon closed.
    payments, is_over = list[tuple[float, float]](), asyncio.Event()
    try:
        async with shops(port, 1) as (looking,), shops(port, _PAYING) as paying, asyncio.TaskGroup() as group:
            payers = [group.create_task(_keep_paying(shop, number, ends_s, payments, is_over)) for number, shop in enumerate(paying)]
            free_s = await _freed_s(looking, seats, ends_s)
            is_over.set()
            await asyncio.gather(*payers)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return Wave(free_s, payments)


async def _hold(shop: Shop, numbers: Iterator[int], ends_s: int) -> None:
    """Holds seats one after the other, each for the whole seconds that are left."""
    for number in numbers:
        reservation = await shop.reserve("wave", number // _AREA_SEATS)
        seconds = int(ends_s - time.time())
        if seconds <= _FIRST_HOLD_S:
            # A seat that is not held now would end with its first hold.
            return
        await shop.extend(reservation, seconds)


async def _keep_paying(shop: Shop, number: int, ends_s: int, payments: list[tuple[float, float]], is_over: asyncio.Event) -> None:
    """Pays one reservation after the other, the last one when it is over."""
    for area in itertools.cycle(range(number, _PAYING_AREAS, _PAYING)):
        if is_over.is_set():
            return
        took_ms = await _pay(shop, "paid", area)
        payments.append((time.time() - took_ms / 1_000 - ends_s, took_ms))


async def _freed_s(shop: Shop, seats: int, ends_s: int) -> float:
    """How long after the end of the holds all seats are free."""
    while await shop.free("wave") < seats:
        if time.time() > ends_s + _FREED_WITHIN_S:
            raise BenchError(f"{seats - await shop.free('wave'):,} seats are not free {_FREED_WITHIN_S:.0f} s after their holds have ended")
        await asyncio.sleep(_LOOK_S)
    return time.time() - ends_s


def _open(folder: Path, count: int, notes: Notebook, say: Say) -> None:
    """The same reservations with holds that stay open, and without."""
    made, started = {}, {}
    ways = {"without": (), "held": ("--hold-seconds", str(_WEEK_S), "--await-holds-s", "0")}
    names = {"without": "open holds: start with the same reservations without", "held": "open holds: start"}
    for way, options in ways.items():
        directory = folder / f"open-{way}"
        with serving(directory) as server:
            for done in range(0, count, _FILL_STEP):
                step = min(_FILL_STEP, count - done)
                say(f"open holds, {way}: {done:,} of {count:,}")
                sell(server, "-n", str(step), "--seed", str(done), *areas(_areas_for(step)), *options)
            made[way] = resident_mib(server.process)
            server.stop()
        with serving(directory) as server:
            notes.note(names[way], server.start_ms)
            started[way] = resident_mib(server.process)
            server.stop()
    for told, mib in (("when they were made", made), ("after a start", started)):
        notes.note(f"open holds: memory of each, {told}", (mib["held"] - mib["without"]) * MIB / count)
