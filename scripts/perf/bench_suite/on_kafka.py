"""The three roles on Kafka: what they cost, how fast they are, how much they take, how soon they are back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.figures import Goal, Kind, Notebook
from scripts.perf.bench_suite.load import Sale, Say, areas, sell
from scripts.perf.bench_suite.polls import Waiters
from scripts.perf.bench_suite.processes import MIB, ROLES, Roles, kafka_with_roles

# The workload of the goals: 100 areas of 400 seats, all at once.
_AREAS = 100
_FIRST_WAITERS = 100


class Plan(NamedTuple):
    """How much is measured: reservations of a sale, before memory is looked at, before sales count, and before restarts.

    ``rate_s``: seconds of each run at a fixed rate.
    """

    runs: int
    requests: int
    in_flight: int
    warm_up: int
    in_memory: int
    reservations: int
    rate_s: int
    waiters: int


def _sale_kinds(partitions: str, roles: Goal, broker: Goal, per_s: Goal, original: tuple[float, ...]) -> tuple[Kind, ...]:
    total, ticket, reservation, event, broker_us, rate = original
    return (
        Kind(f"{partitions}: CPU of the roles per reservation", "µs", roles, total),
        Kind(f"{partitions}: of this, ticket", "µs", None, ticket),
        Kind(f"{partitions}: of this, reservation", "µs", None, reservation),
        Kind(f"{partitions}: of this, event", "µs", None, event),
        Kind(f"{partitions}: the broker's CPU per reservation", "µs", broker, broker_us),
        Kind(f"{partitions}: the load client's CPU per reservation", "µs"),
        Kind(f"{partitions}: reservations per s", "/s", per_s, rate),
    )


KINDS: tuple[Kind, ...] = (
    *_sale_kinds("1 partition", Goal(62), Goal(25), Goal(9_000, "≥"), (369, 175, 107, 87, 76, 3_370)),
    Kind("first sale after a start / a later one: CPU of the roles", "×", Goal(1.2), 6),
    Kind("resident memory of the roles after their first sale", "MB", Goal(200), 3_200),
    Kind("disk per reservation, all topics", "bytes", Goal(600), 1_800),
    Kind("one hot area: decisions per s of the event role's CPU", "/s", Goal(50_000, "≥")),
    Kind("one hot area: reservations per s", "/s"),
    Kind("one hot area / 100 areas: reservations per s", "×", Goal(1, "≥")),
    Kind("one area of 100,000 seats / 250 of 400: CPU of the roles", "×", Goal(1.5)),
    *(Kind(f"start of {role}, empty", "ms", Goal(2_000)) for role in ROLES),
    *(Kind(f"start of {role}, all reservations in its state", "ms", Goal(4_000)) for role in ROLES),
    *(Kind(f"start of {role}, state wiped", "ms", Goal(20_000)) for role in ROLES),
    Kind("restoration of reservation: records per s", "/s"),
    Kind("long polls waiting in one ticket process", "", Goal(200_000, "≥")),
    Kind("memory of a waiting long poll", "bytes", Goal(4_096)),
    *_sale_kinds("4 partitions", Goal(75), Goal(45), Goal(7_500, "≥"), (473, 265, 116, 92, 112, 2_600)),
    Kind("4 partitions, 2 processes a role: CPU of the roles per reservation", "µs"),
    Kind("2 × CPU of 1 process a role / CPU of 2", "×", Goal(1.8, "≥")),
)


class _Bench:
    def __init__(self, plan: Plan, notes: Notebook, say: Say, partitions: str) -> None:
        self.plan = plan
        self.notes = notes
        self._say = say
        self.partitions = partitions
        self.sold = 0

    def say(self, text: str) -> None:
        self._say(f"{self.partitions}: {text}")

    def sell(self, roles: Roles, requests: int, *options: str) -> Sale:
        """A sale at full load, everything in flight at once."""
        self.sold += requests
        return sell(roles, "-n", str(requests), "--in-flight", str(self.plan.in_flight), *options)

    def warm_up(self, roles: Roles, requests: int) -> Sale:
        """A large sale, before anything counts: a fresh broker costs several times what it does later."""
        self.say(f"warming up, {requests:,} reservations")
        sale = self.sell(roles, requests, *areas(_areas_for(requests)))
        self.notes.timelines.append(sale.timeline(f"{self.partitions}, {roles.workers} a role, the first {requests:,}"))
        return sale

    def fill(self, roles: Roles, reservations: int) -> None:
        """Sells until there are so many reservations."""
        while (left := reservations - self.sold) > 0:
            step = min(left, 100_000)
            self.say(f"filling, {self.sold:,} of {reservations:,} reservations")
            self.sell(roles, step, *areas(_areas_for(step)))

    def sales(self, roles: Roles) -> list[Sale]:
        """As many as there are runs."""
        found = []
        for run in range(1, self.plan.runs + 1):
            self.say(f"sale {run} of {self.plan.runs}, {self.plan.requests:,} reservations")
            found.append(self.sell(roles, self.plan.requests, *areas(_AREAS)))
        return found

    def note_sales(self, sales: list[Sale]) -> None:
        """What they cost."""
        for sale in sales:
            self.note("CPU of the roles per reservation", roles_cpu_us(sale))
            for role in ROLES:
                self.note(f"of this, {role}", sale.cpu_us[role])
            self.note("the broker's CPU per reservation", sale.cpu_us["broker"])
            self.note("the load client's CPU per reservation", sale.client_cpu_us)
            self.note("reservations per s", sale.per_s)

    def note(self, name: str, value: float) -> None:
        self.notes.note(f"{self.partitions}: {name}", value)


def _areas_for(requests: int) -> int:
    """As many areas of 400 seats as serve four of five requests; an event may have 1,000."""
    return min(max(1, requests // 200), 1_000)


def roles_cpu_us(sale: Sale) -> float:
    """What a reservation cost the three roles together."""
    return sum(sale.cpu_us[role] for role in ROLES)


def measure_one_partition(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """All but what needs more partitions."""
    bench = _Bench(plan, notes, say, "1 partition")
    with kafka_with_roles(folder, 1) as (kafka, roles):
        bench.say("starting")
        for role, start_ms in roles.start_all().items():
            notes.note(f"start of {role}, empty", start_ms)
        bench.warm_up(roles, plan.in_memory)
        notes.note("resident memory of the roles after their first sale", sum(roles.resident_mib().values()) * MIB / 1e6)
        notes.note("disk per reservation, all topics", kafka.topics_bytes() / bench.sold)
        bench.fill(roles, plan.warm_up)
        roles.stop_all()
        roles.start_all()
        bench.say("first sale after a start")
        first = bench.sell(roles, plan.requests, *areas(_AREAS))
        sales = bench.sales(roles)
        bench.note_sales(sales)
        for later in sales:
            notes.note("first sale after a start / a later one: CPU of the roles", roles_cpu_us(first) / roles_cpu_us(later))
        _shapes(bench, roles)
        _restarts(bench, roles)
        roles.stop_all()


def _shapes(bench: _Bench, roles: Roles) -> None:
    plan, notes = bench.plan, bench.notes
    for run in range(1, plan.runs + 1):
        bench.say(f"one hot area, and areas of 100,000 seats and of 400, {run} of {plan.runs}")
        # As many seats in one area as in all of them, so that as many are reserved and refused.
        many = bench.sell(roles, plan.requests, *areas(_AREAS))
        hot = bench.sell(roles, plan.requests, *areas(1, rows=200, cols=200))
        notes.note("one hot area: decisions per s of the event role's CPU", 1e6 / max(hot.cpu_us["event"], 0.01))
        notes.note("one hot area: reservations per s", hot.per_s)
        notes.note("one hot area / 100 areas: reservations per s", hot.per_s / many.per_s)
        small = bench.sell(roles, plan.requests, *areas(250))
        large = bench.sell(roles, plan.requests, *areas(1, rows=250, cols=400))
        notes.note("one area of 100,000 seats / 250 of 400: CPU of the roles", roles_cpu_us(large) / roles_cpu_us(small))


def _restarts(bench: _Bench, roles: Roles) -> None:
    bench.fill(roles, bench.plan.reservations)
    for role in ROLES:
        bench.say(f"starting {role} again with {bench.sold:,} reservations, state kept and wiped")
        roles.stop(role)
        kept_ms = roles.start(role)
        bench.notes.note(f"start of {role}, all reservations in its state", kept_ms)
        roles.stop(role)
        shutil.rmtree(roles.state(role))
        wiped_ms = roles.start(role)
        bench.notes.note(f"start of {role}, state wiped", wiped_ms)
        # All else takes the same time in both.
        if role == "reservation" and wiped_ms > kept_ms:
            bench.notes.note("restoration of reservation: records per s", 1_000 * roles.restored(role) / (wiped_ms - kept_ms))


def measure_four_partitions(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """One process a role, then two."""
    bench = _Bench(plan, notes, say, "4 partitions")
    with kafka_with_roles(folder, 4) as (_, roles):
        roles.start_all()
        bench.warm_up(roles, plan.in_memory)
        bench.fill(roles, plan.warm_up)
        alone = bench.sales(roles)
        bench.note_sales(alone)
        roles.stop_all()
        roles.workers = 2
        roles.start_all()
        bench.warm_up(roles, plan.requests * 2)
        for one, two in zip(alone, bench.sales(roles), strict=True):
            notes.note("4 partitions, 2 processes a role: CPU of the roles per reservation", roles_cpu_us(two))
            # Twice the processes may use twice the cores; what a reservation costs more is lost.
            notes.note("2 × CPU of 1 process a role / CPU of 2", 2 * roles_cpu_us(one) / roles_cpu_us(two))
        roles.stop_all()


def measure_waiters(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """As many long polls as one ticket process takes."""
    with kafka_with_roles(folder, 1, ["--long-poll-ms", "300000"]) as (_, roles):
        say("long polls: starting")
        roles.start("ticket")
        # What the first requests of all load into memory is not theirs.
        waiters = Waiters(roles.port)
        try:
            waiters.ask(_FIRST_WAITERS)
            before = roles.resident_mib()["ticket"]
            say(f"long polls: {plan.waiters:,} wait")
            waiting = waiters.ask(plan.waiters - _FIRST_WAITERS)
            grown = roles.resident_mib()["ticket"] - before
        finally:
            waiters.close()
        if waiting <= _FIRST_WAITERS:
            raise BenchError(f"of {plan.waiters:,} long polls {waiting:,} wait: there is nothing to measure")
        notes.note("long polls waiting in one ticket process", waiting)
        notes.note("memory of a waiting long poll", grown * MIB / (waiting - _FIRST_WAITERS))
        roles.stop_all()
