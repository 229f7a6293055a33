"""The headline sale at sizes that one machine holds: how long it takes, what it costs, and where a reservation spends its time.

A size is partitions × processes of each role. Hops are told from the times at which the records of a reservation were written.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from scripts.perf.bench_suite.errors import BenchError
from scripts.perf.bench_suite.figures import Kind, Notebook
from scripts.perf.bench_suite.load import Say, areas, sell
from scripts.perf.bench_suite.on_kafka import roles_cpu_us
from scripts.perf.bench_suite.processes import Kafka, Roles, kafka_with_roles
from ticketmaster.wire import topics
from ticketmaster.wire.binary import read_string
from ticketmaster.wire.frames import FRAME_BYTES

_AREAS: Final = 80
_WARM_UP: Final = 20_000
# Records come within that, or the log has no more.
_QUIET_MS: Final = 2_000
# The records of a reservation in the order of its way, and what is done between one and the next.
_WAY: Final = (
    topics.CREATE_RESERVATION.name,
    topics.RESERVE_SEAT.name,
    topics.RESERVATION_RESULT.name,
    topics.USER_RESERVATION.name,
)
HOPS: Final = ("reservation asks for seats", "event gives them", "reservation makes it final")


class Size(NamedTuple):
    """Partitions of every topic, and processes of each role."""

    partitions: int
    processes: int

    def __str__(self) -> str:
        return f"{self.partitions} partition{'s' if self.partitions > 1 else ''}, {self.processes} a role"


class Plan(NamedTuple):
    """Names of the sizes to measure, sales of each, and reservations of a sale, all of them at once."""

    sizes: Sequence[str]
    runs: int
    requests: int


# By their names on the command line.
SIZES: Final = {
    f"{partitions}x{processes}": Size(partitions, processes)
    for partitions, processes in ((1, 1), (4, 1), (4, 2), (20, 1), (20, 2), (20, 4), (40, 4))
}
KINDS: tuple[Kind, ...] = tuple(
    kind
    for size in SIZES.values()
    for kind in (
        Kind(f"{size}: completion", "s"),
        Kind(f"{size}: reservations per s", "/s"),
        Kind(f"{size}: POST to decision, p50", "ms"),
        Kind(f"{size}: POST to decision, p95", "ms"),
        Kind(f"{size}: CPU of the roles per reservation", "µs"),
        Kind(f"{size}: the broker's CPU per reservation", "µs"),
        *(Kind(f"{size}: {hop}, p50", "ms") for hop in HOPS),
    )
)


def measure(folder: Path, plan: Plan, notes: Notebook, say: Say) -> None:
    """Each size, on a Kafka of its own."""
    folder.mkdir(parents=True)
    for size in (SIZES[name] for name in plan.sizes):
        with kafka_with_roles(folder / f"{size.partitions}-{size.processes}", size.partitions) as (kafka, roles):
            roles.workers = size.processes
            roles.start_all()
            say(f"scale, {size}: warming up, {_WARM_UP:,} reservations")
            sell(roles, "-n", str(_WARM_UP), "--in-flight", "8000", *areas(_AREAS))
            for run in range(1, plan.runs + 1):
                say(f"scale, {size}: sale {run} of {plan.runs}, {plan.requests:,} reservations at once")
                _sale(size, plan.requests, roles, kafka, notes)
            roles.stop_all()


def _sale(size: Size, requests: int, roles: Roles, kafka: Kafka, notes: Notebook) -> None:
    partitions = [TopicPartition(topic, partition) for topic in _WAY for partition in range(size.partitions)]
    before = asyncio.run(_ends(kafka, partitions))
    sale = sell(roles, "-n", str(requests), "--in-flight", str(requests), *areas(_AREAS))
    notes.note(f"{size}: completion", float(sale.report["wall_s"]))
    notes.note(f"{size}: reservations per s", sale.per_s)
    for percent in ("p50", "p95"):
        notes.note(f"{size}: POST to decision, {percent}", sale.decision_ms(percent))
    notes.note(f"{size}: CPU of the roles per reservation", roles_cpu_us(sale))
    notes.note(f"{size}: the broker's CPU per reservation", sale.cpu_us["broker"])
    for hop, waited_ms in zip(HOPS, hops_ms(asyncio.run(_written_ms(kafka, before))), strict=True):
        notes.note(f"{size}: {hop}, p50", statistics.median(waited_ms))


def hops_ms(written_ms: Iterable[dict[str, int]]) -> list[list[int]]:
    """Of each hop the times it took, from the time of each reservation's record by topic. BenchError: none went all the way."""
    whole = [times for times in written_ms if len(times) == len(_WAY)]
    if not whole:
        raise BenchError("no reservation went through all topics")
    return [[times[after] - times[before] for times in whole] for before, after in itertools.pairwise(_WAY)]


async def _ends(kafka: Kafka, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    async with AIOKafkaConsumer(bootstrap_servers=_servers(kafka)) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return ends


async def _written_ms(kafka: Kafka, begin: dict[TopicPartition, int]) -> list[dict[str, int]]:
    """Of each reservation, when its last record of each topic was written, from these offsets on."""
    written: dict[bytes, dict[str, int]] = {}
    options = {"bootstrap_servers": _servers(kafka), "isolation_level": "read_committed", "enable_auto_commit": False}
    async with AIOKafkaConsumer(**options) as consumer:
        consumer.assign(list(begin))
        for partition, offset in begin.items():
            consumer.seek(partition, offset)
        while batches := await consumer.getmany(timeout_ms=_QUIET_MS):
            for partition, records in batches.items():
                for record in records:
                    # These alone are keyed by area: the id is the first text of the value, behind the frame.
                    by_area = partition.topic == topics.RESERVE_SEAT.name
                    key = read_string(record.value, FRAME_BYTES)[0] if by_area else record.key
                    written.setdefault(key, {})[partition.topic] = record.timestamp
    return list(written.values())


def _servers(kafka: Kafka) -> str:
    lines = (line.partition("=") for line in kafka.config.read_text().splitlines())
    return next(value.strip() for name, _, value in lines if name.strip() == "bootstrap.servers")
