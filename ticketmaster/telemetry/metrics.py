"""Numbers about the work: which there are, and the registry that holds them.

Plain Python numbers, added to once a batch: a call of OpenTelemetry's own instruments takes 4 to 6 µs, which is more than most of what a
reservation needs. They leave as Prometheus' text (``telemetry/prometheus.py``) and by OTLP (``telemetry/otlp.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from msgspec import Struct


class Kind(Enum):
    """How a number behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Instrument(NamedTuple):
    """A metric: its name as Prometheus has it, and the labels it has besides ``role``."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    # "s", "By" or nothing, as OpenTelemetry names units.
    unit: str = ""
    # Upper bounds of a histogram's buckets.
    bounds: tuple[float, ...] = ()


_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RECORDS: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
_P: Final = "ticketmaster_"

HTTP_REQUESTS: Final = Instrument(f"{_P}http_requests_total", Kind.COUNTER, ("method", "route", "status"), "Requests that were answered.")
DECISIONS: Final = Instrument(
    f"{_P}decisions_total", Kind.COUNTER, ("outcome", "reason"), "Reservations that were decided, and why those failed that did."
)
CHANGES: Final = Instrument(
    f"{_P}changes_total",
    Kind.COUNTER,
    ("change",),
    "What became of decided reservations: paid, extended, cancelled, refunded, expired; or refused, where a change came to nothing.",
)
HOLDS: Final = Instrument(f"{_P}holds", Kind.GAUGE, (), "Reservations that end unless they are paid.")
HOLDS_ENDING: Final = Instrument(
    f"{_P}holds_ending", Kind.GAUGE, (), "Of these, how many end within a minute, at most: some may be paid already."
)
HOLD_OVERDUE: Final = Instrument(
    f"{_P}hold_overdue_seconds", Kind.GAUGE, (), "How long ago the oldest hold should have ended that has not; 0 if there is none.", "s"
)
RECORDS: Final = Instrument(f"{_P}records_total", Kind.COUNTER, ("topic",), "Records that were worked off, or taken into a table.")
RESTORED_RECORDS: Final = Instrument(f"{_P}restored_records_total", Kind.COUNTER, (), "Records that were read to restore state.")
REBALANCES: Final = Instrument(f"{_P}rebalances_total", Kind.COUNTER, (), "Times that partitions were assigned to this process.")
TASKS_FENCED: Final = Instrument(f"{_P}tasks_fenced_total", Kind.COUNTER, (), "Times that another process had taken a task over.")
TASKS_RESTARTED: Final = Instrument(f"{_P}tasks_restarted_total", Kind.COUNTER, (), "Times that a task failed and started over.")
DEAD_LETTERS: Final = Instrument(f"{_P}dead_letters_total", Kind.COUNTER, ("topic",), "Records that can't be read.")
RECORDS_DROPPED: Final = Instrument(
    f"{_P}records_dropped_total", Kind.COUNTER, ("topic",), "Records that a consumer delivered out of order; they come again in order."
)
RECORDS_LOST: Final = Instrument(
    f"{_P}records_lost_total", Kind.COUNTER, ("topic",), "Records that retention removed before a task had read them."
)
OFFSETS_MISSING: Final = Instrument(
    f"{_P}offsets_missing_total", Kind.COUNTER, (), "Times that a task with state started and its group had no committed offsets."
)
READS_FAILED: Final = Instrument(
    f"{_P}reads_failed_total", Kind.COUNTER, (), "Times that the broker did not deliver, or the registry did not tell what a record is."
)
COMMANDS_FAILED: Final = Instrument(
    f"{_P}commands_failed_total", Kind.COUNTER, (), "Times that the log did not acknowledge commands that were sent together."
)
DECISION_DURATION: Final = Instrument(
    f"{_P}decision_duration_seconds",
    Kind.HISTOGRAM,
    (),
    "From POST until its decision is there to be answered, of reservations that this process took.",
    "s",
    _SECONDS,
)
TRANSACTION_DURATION: Final = Instrument(
    f"{_P}transaction_duration_seconds",
    Kind.HISTOGRAM,
    (),
    "How long a commit took: on Kafka from the first request to the last answer, in one process until it is in the log, not on the disk.",
    "s",
    _SECONDS,
)
TRANSACTION_RECORDS: Final = Instrument(
    f"{_P}transaction_records", Kind.HISTOGRAM, (), "Records that a transaction worked off.", "", _RECORDS
)
WAITING: Final = Instrument(f"{_P}waiting_requests", Kind.GAUGE, (), "Long polls that wait for a decision.")
IN_FLIGHT: Final = Instrument(f"{_P}commands_in_flight", Kind.GAUGE, (), "Commands that the log has not acknowledged yet.")
CONNECTIONS: Final = Instrument(f"{_P}connections", Kind.GAUGE, (), "Open connections, as of a look at them within the last seconds.")
CONNECTIONS_CLOSED: Final = Instrument(
    f"{_P}connections_closed_total",
    Kind.COUNTER,
    ("reason",),
    "Connections that the server closed: no_request, slow_request, stalled, idle, or crowded, where there were too many.",
)
LAG_RECORDS: Final = Instrument(
    f"{_P}lag_records",
    Kind.GAUGE,
    ("topic", "partition"),
    "Records of the log as of the last fetch that are not worked off, transactions' marks included.",
)
LAG_SECONDS: Final = Instrument(
    f"{_P}lag_seconds", Kind.GAUGE, ("topic", "partition"), "Age of the oldest record that was fetched and is not worked off.", "s"
)
RESTORATION: Final = Instrument(f"{_P}restoration_ratio", Kind.GAUGE, ("task",), "How much of its state a task has, 0 to 1.")
STATE_BYTES: Final = Instrument(f"{_P}state_bytes", Kind.GAUGE, (), "Bytes of the files in the state directory.", "By")
DISK_USED: Final = Instrument(
    f"{_P}disk_used_ratio", Kind.GAUGE, (), "How much is used of the file system that the state directory is on, 0 to 1."
)
PARTITIONS: Final = Instrument(f"{_P}partitions", Kind.GAUGE, (), "Partitions that this process owns.")
READY: Final = Instrument(f"{_P}ready", Kind.GAUGE, (), "1 while all partitions of the process are served.")
LOOP_LAG: Final = Instrument(
    f"{_P}loop_lag_seconds",
    Kind.GAUGE,
    (),
    "The longest within the last minute that the event loop was held, or the rest of it, as a timer of 0.1 s sees it, of 1.6 s when idle.",
    "s",
)
EVENT_SEATS: Final = Instrument(f"{_P}event_seats", Kind.GAUGE, ("event",), "Seats of an event; every ticket process tells the same.")
EVENT_SEATS_AVAILABLE: Final = Instrument(
    f"{_P}event_seats_available", Kind.GAUGE, ("event",), "Seats of an event that are left; every ticket process tells the same."
)

INSTRUMENTS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Instrument))


class Point(Struct, frozen=True, array_like=True):
    """One number of a family; of a histogram the counts of its buckets, the last one of what is above all bounds, and their sum."""

    labels: dict[str, str]
    value: float
    counts: Sequence[int] = ()


class Family(Struct, frozen=True, array_like=True):
    """All points of one metric."""

    name: str
    kind: Kind
    meaning: str
    unit: str
    bounds: Sequence[float]
    points: list[Point]


class Histogram:
    """Numbers, counted by buckets."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


# A role and the values of an instrument's labels, with the number.
Readings = Iterable[tuple[Sequence[str], float]]


class Metrics:
    """The numbers of a process, by instrument, role and labels."""

    def __init__(self) -> None:
        self._counts: dict[Instrument, dict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
        self._histograms: dict[Instrument, dict[str, Histogram]] = defaultdict(dict)
        self._gauges: list[tuple[Instrument, Callable[[], Readings]]] = []

    def add(self, instrument: Instrument, amount: float, role: str, *values: str) -> None:
        """Adds to a counter; ``values`` are those of its labels, in their order."""
        self._counts[instrument][role, *values] += amount

    def histogram(self, instrument: Instrument, role: str) -> Histogram:
        """A role's histogram, made when it is first asked for."""
        histograms = self._histograms[instrument]
        if role not in histograms:
            histograms[role] = Histogram(instrument.bounds)
        return histograms[role]

    def watch(self, instrument: Instrument, read: Callable[[], Readings]) -> None:
        """A gauge is read whenever somebody asks for the numbers."""
        self._gauges.append((instrument, read))

    def watch_number(self, instrument: Instrument, role: str, read: Callable[[], float]) -> None:
        """As :meth:`watch`, of a gauge without labels."""
        self.watch(instrument, lambda: [((role,), read())])

    def families(self) -> list[Family]:
        """All there is now."""
        points: dict[Instrument, list[Point]] = {instrument: [] for instrument in INSTRUMENTS}
        for instrument, counts in self._counts.items():
            points[instrument] += [_point(instrument, values, number) for values, number in counts.items()]
        for instrument, histograms in self._histograms.items():
            points[instrument] += [Point({"role": role}, one.sum, list(one.counts)) for role, one in histograms.items()]
        for instrument, read in self._gauges:
            points[instrument] += [_point(instrument, values, number) for values, number in read()]
        return [
            Family(instrument.name, instrument.kind, instrument.meaning, instrument.unit, instrument.bounds, found)
            for instrument, found in points.items()
            if found
        ]


def _point(instrument: Instrument, values: Sequence[str], number: float) -> Point:
    return Point(dict(zip(("role", *instrument.labels), values, strict=True)), number)


def merged(by_worker: Sequence[tuple[str, Sequence[Family]]]) -> list[Family]:
    """The families of several processes, each point with the label ``worker``."""
    families: dict[str, Family] = {}
    for worker, of_worker in by_worker:
        for family in of_worker:
            points = [Point({**point.labels, "worker": worker}, point.value, point.counts) for point in family.points]
            if family.name in families:
                families[family.name].points.extend(points)
            else:
                families[family.name] = Family(family.name, family.kind, family.meaning, family.unit, family.bounds, points)
    return list(families.values())
