"""A capacity model: what a sale of a given size takes, from what a reservation costs here.

A process does one core's work. Reservations spread evenly over the partitions of the ticket and the reservation role, for their
ids are random; areas do not, for there are few of them, and some are hotter than others: that is simulated with the real hash.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.table import Table

from scripts.perf.bench_suite.figures import Results, shown
from ticketmaster.broker.partitioner import partition_of


class Costs(NamedTuple):
    """CPU of a reservation by process, in µs, and its bytes in all topics, compressed."""

    ticket_us: float
    reservation_us: float
    event_us: float
    broker_us: float
    topic_bytes: float


class Sale(NamedTuple):
    """So many reservations in so many seconds, for so many areas; ``zipf`` 0 asks for all areas alike, 1 is a popular front row.

    ``elsewhere``: how many buyers ask for their decision at any process, not at the one that took the order.
    """

    reservations: int
    seconds: float
    areas: int
    zipf: float
    elsewhere: float = 0.0


class Cluster(NamedTuple):
    """What there is to choose: partitions of every topic, replicas, the share of a core that is planned with, cores of a broker."""

    partitions: int
    replicas: int
    busy_max: float
    broker_cores: int


class Capacity(NamedTuple):
    """What a sale takes; 0 processes: no number of them is enough, because one partition alone is more than one process can do.

    The skew is the load of the busiest event process over the mean.
    """

    per_s: float
    ticket_processes: int
    reservation_processes: int
    event_processes: int
    event_skew: float
    brokers: int
    broker_cores_busy: float
    broker_mb_per_s: float
    cores: int


# Of both processes together, on top of a GET that is asked where the reservation is: docs/scaling.md.
_FORWARDED_GET_US = 110.0
_EVENTS_SIMULATED = 200
_MB = 1e6
_NOT_ENOUGH = 0


def costs_of(results: Results) -> Costs:
    """From a benchmark on 4 partitions. KeyError: it has no such figures."""
    medians = {figure.name: figure.median for figure in results.figures}
    return Costs(
        medians["4 partitions: of this, ticket"],
        medians["4 partitions: of this, reservation"],
        medians["4 partitions: of this, event"],
        medians["4 partitions: the broker's CPU per reservation"],
        medians["disk per reservation, all topics"],
    )


def plan(sale: Sale, cluster: Cluster, costs: Costs) -> Capacity:
    """How many processes and brokers a sale takes."""
    per_s = sale.reservations / sale.seconds
    ticket = _even(lambda processes: per_s * (costs.ticket_us + _forwarding_us(sale, processes)) / 1e6, cluster)
    reservation = _even(lambda _: per_s * costs.reservation_us / 1e6, cluster)
    event, skew = _uneven(per_s * costs.event_us / 1e6, cluster, sale)
    # Followers fetch what leaders write, and write it too: about half of what a leader does for its clients.
    broker_cores = per_s * costs.broker_us / 1e6 * (1 + (cluster.replicas - 1) / 2)
    brokers = max(cluster.replicas, math.ceil(broker_cores / (cluster.broker_cores * cluster.busy_max)))
    # Written once by a role, then fetched by the other replicas, then by about two roles.
    traffic = per_s * costs.topic_bytes * (1 + (cluster.replicas - 1) + 2) / _MB
    cores = ticket + reservation + event + brokers * cluster.broker_cores
    return Capacity(per_s, ticket, reservation, event, skew, brokers, broker_cores, traffic / brokers, cores)


def _forwarding_us(sale: Sale, processes: int) -> float:
    """What it costs that some GETs come to another process than the reservation's, a reservation."""
    return sale.elsewhere * (1 - 1 / processes) * _FORWARDED_GET_US


def _even(cores_of: Callable[[int], float], cluster: Cluster) -> int:
    """Processes that share the work of partitions that are all alike: the busiest has one partition more than the others."""
    for processes in range(1, cluster.partitions + 1):
        cores = cores_of(processes)
        if cores * math.ceil(cluster.partitions / processes) / cluster.partitions <= cluster.busy_max:
            return processes
    return _NOT_ENOUGH


def _uneven(cores: float, cluster: Cluster, sale: Sale) -> tuple[int, float]:
    """(processes, the skew of the busiest) of the event role, so that 95 of 100 sales fit."""
    shares = [partition_shares(f"event-{number}", cluster.partitions, sale) for number in range(_EVENTS_SIMULATED)]
    for processes in range(max(1, math.ceil(cores / cluster.busy_max)), cluster.partitions + 1):
        skews = sorted(busiest(share, processes) * processes for share in shares)
        skew = skews[int(0.95 * len(skews))]
        if cores * skew / processes <= cluster.busy_max:
            return processes, skew
    return _NOT_ENOUGH, sorted(max(share) * cluster.partitions for share in shares)[int(0.95 * len(shares))]


def partition_shares(event: str, partitions: int, sale: Sale) -> list[float]:
    """The share of the requests that each partition of the event role gets, by the hash of the areas' keys."""
    weights = [1 / (rank + 1) ** sale.zipf for rank in range(sale.areas)]
    # Which area is the popular one has nothing to do with its name.
    random.Random(event).shuffle(weights)  # noqa: S311 - a seeded simulation
    shares, total = [0.0] * partitions, sum(weights)
    for area, weight in enumerate(weights):
        shares[partition_of(f"{event}#{area}".encode(), partitions)] += weight / total
    return shares


def busiest(shares: Sequence[float], processes: int) -> float:
    """The share of the busiest process: each has as many partitions as any other, give or take one, as the group assigns them."""
    loads = [0.0] * processes
    for partition, share in enumerate(shares):
        loads[partition % processes] += share
    return max(loads)


def told(found: Capacity) -> Table:
    """A plan for people."""
    made = Table(show_header=False)
    made.add_column()
    made.add_column(justify="right")
    made.add_row("reservations per s", shown(found.per_s))
    for role, processes in (("ticket", found.ticket_processes), ("reservation", found.reservation_processes)):
        made.add_row(f"{role} processes", str(processes) if processes else "more partitions are needed")
    made.add_row("event processes", str(found.event_processes) if found.event_processes else "one area or partition is too hot")
    made.add_row("the busiest event process, over the mean", f"{found.event_skew:.2f} ×")
    made.add_row("brokers", str(found.brokers))
    made.add_row("cores that the brokers use", f"{found.broker_cores_busy:.1f}")
    made.add_row("network of a broker", f"{found.broker_mb_per_s:.0f} MB/s")
    possible = found.ticket_processes and found.reservation_processes and found.event_processes
    made.add_row("cores in all", str(found.cores) if possible else "–")
    return made
