"""A role as data: what it reads, what it keeps, and the functions that decide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ticketmaster.broker.port import Headers, Pair, TopicPartition
from ticketmaster.state.port import Scanned, StateTable, Steps
from ticketmaster.telemetry.observer import DeadLetter
from ticketmaster.telemetry.tracing import Span


class Outputs(dict[TopicPartition, list[Pair]]):
    """The records of one transaction by partition; a partition that nothing was sent to yet has an empty list."""

    def __init__(self) -> None:
        super().__init__()
        self.rejected: list[tuple[int, str]] = []
        # Of the reservations that are decided here: the reason of a failure, "" of a success, and how many there were.
        self.outcomes: dict[str, int] = {}
        # Of what became of decided ones: a short name of each kind, and how many there were.
        self.changes: dict[str, int] = {}
        # Of those records that come of traced ones.
        self.headers: dict[TopicPartition, dict[int, Headers]] = {}
        # Where the rest of what is being processed begins, and what is left of the record there, if that is not all of it.
        self.left: tuple[int, bytes | None] | None = None
        # When the records that are being processed were written, in milliseconds since 1970: the oldest of them, and the others at most a
        # second later.
        self.time_ms = 0

    def leave(self, at: int, rest: bytes | None = None) -> None:
        """The transaction is large enough: from this place on the next one goes on. ``rest`` stands for what is left of the first record.

        Of a transaction that fails later nothing is left over: the record comes again as it is in the log.
        """
        self.left = (at, rest)

    def reject(self, at: int, reason: str) -> None:
        """The record at this place of what is being processed can't be read, and has changed nothing."""
        self.rejected.append((at, reason))

    def decided(self, outcome: str, times: int = 1) -> None:
        """So many reservations are decided."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + times

    def changed(self, change: str, times: int = 1) -> None:
        """Something became of so many reservations that were decided."""
        self.changes[change] = self.changes.get(change, 0) + times

    def __missing__(self, source: TopicPartition) -> list[Pair]:
        records = self[source] = []
        return records


class State(Protocol):
    """A task's state as its processor sees it: its own writes at once, in the open transaction."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def prefetch(self, keys: Sequence[bytes]) -> None:
        """Fetches what will be asked for, in one go: in a store that takes a third of the time of so many questions."""

    def put(self, key: bytes, value: bytes | None) -> None:
        """Writes a value; None deletes."""

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Scanned:
        """As :meth:`~ticketmaster.state.port.StateTable.scan`, of what is committed: without the open transaction's writes."""


Stores = Mapping[str, State]
"""A task's stores by their names."""


class Processor(ABC):
    """One task's decisions: plain and synchronous, no I/O, no clock. It is made anew whenever the task starts over."""

    @property
    def deadline_ms(self) -> int | None:
        """The next instant, in the log's time (milliseconds since 1970), for which :meth:`on_time` is to be called; None: never."""
        return None

    @property
    def oldest_due_ms(self) -> int | None:
        """When the oldest thing that is still to be done was, or will be, due. The deadline may be later: what is waited for needs time."""
        return self.deadline_ms

    @property
    def open_deadlines(self) -> int:
        """How many there are."""
        return 0

    def due_by(self, at_ms: int) -> int:
        """How many will have come at an instant, at most: some may have been taken back."""
        return 0

    @abstractmethod
    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        """Decides about records of one topic, in order, and rejects those it can't read. May be called several times in a transaction.

        What makes a transaction too large it may leave to the next one, but not all that a transaction has.
        """

    @abstractmethod
    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        """What comes of this record can't be written (it is too large, say): decides so that nobody waits for it for ever."""

    def end_transaction(self, stores: Stores, outputs: Outputs) -> None:  # noqa: B027 - most have nothing to add
        """Adds what is written once a transaction, however many records it has."""

    def restored(self, tables: Mapping[str, StateTable]) -> Steps:
        """Rebuilds what it keeps in memory from the stores, before its first record. Each step is a bounded piece: others have turns."""
        yield from ()

    def on_time(self, now_ms: int, stores: Stores, outputs: Outputs) -> None:  # noqa: B027 - most have no deadlines
        """The deadline has come: does what is due at ``now_ms``, in a bounded piece; more follows while the deadline is in the past.

        The transaction may have no records of its own. A record that the log took before ``now_ms`` may still come: a processor that must
        not miss it sends a record to one of its own sources, and reads that back.
        """


class Store(NamedTuple):
    """A store that each task keeps, and the topic that has its changes; it has as many partitions as the sources."""

    name: str
    changelog: str


# Looks through stores piece by piece, and returns what it has found.
Look = Generator[None, None, str]


def _harmless(_tables: Mapping[str, StateTable], _topics: Sequence[str]) -> Look:
    yield
    return ""


@dataclass(frozen=True, slots=True)
class Topology:
    """A role. Its task number n reads partition n of every source and keeps its part of every store."""

    application_id: str
    sources: tuple[str, ...]
    stores: tuple[Store, ...]
    new_processor: Callable[[int], Processor]
    against_repeating: Callable[[Mapping[str, StateTable], Sequence[str]], Look] = _harmless
    """What speaks against reading records of these topics again on these stores, and the command that mends it; "" if nothing does."""


class CommitPlan(NamedTuple):
    """What a transaction will write: records by partition, changelog included, and the offsets that were read."""

    outputs: Outputs
    offsets: dict[TopicPartition, int]
    dead_letters: list[DeadLetter]
    # What it decided about traced records.
    spans: list[Span]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self.offsets and not any(self.outputs.values())
