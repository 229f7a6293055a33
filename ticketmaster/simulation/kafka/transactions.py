"""The simulated cluster's transactions: who may write under an id, what belongs to a transaction, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from random import Random
from typing import Final, NamedTuple

from ticketmaster.broker.port import TopicPartition
from ticketmaster.simulation.kafka import codes
from ticketmaster.simulation.kafka.groups import Group, Later
from ticketmaster.simulation.kafka.log import PartitionLog

# How long a marker needs to its partition once the end is written down.
_MARKER_S: Final = (0.0, 0.001, 0.005, 0.03)
_SWEEP_MAX_S: Final = 3.0


class State(Enum):
    """Of a transactional id."""

    EMPTY = "empty"
    ONGOING = "ongoing"
    ENDING = "ending"


class Identity(NamedTuple):
    """Who writes: of a producer id only the newest epoch may."""

    producer_id: int
    epoch: int


class Transaction:
    """A transactional id."""

    def __init__(self, producer_id: int, timeout_s: float) -> None:
        self.producer_id = producer_id
        self.epoch = -1
        self.timeout_s = timeout_s
        self.state = State.EMPTY
        self.sources: dict[TopicPartition, None] = {}
        self.groups: dict[str, dict[TopicPartition, int]] = {}
        # How the last one ended, by the epoch it was asked with; and how many there were.
        self.ended: tuple[int, bool] | None = None
        self.number = 0

    @property
    def identity(self) -> Identity:
        """Who may write now."""
        return Identity(self.producer_id, self.epoch)


class Transactions:
    """The transaction coordinator. ``newer``: every transaction has an epoch of its own (KIP-890), and is begun by what is sent."""

    def __init__(
        self, *, newer: bool, logs: Mapping[TopicPartition, PartitionLog], group: Callable[[str], Group], random: Random, later: Later
    ) -> None:
        self.newer = newer
        self._logs = logs
        self._group = group
        self._random = random
        self._later = later
        self._by_id: dict[str, Transaction] = {}
        self._producer_ids = 0
        # Told of the id of each transaction that is committed.
        self.on_committed: Callable[[str], None] = lambda _: None

    def new_producer_id(self) -> int:
        """An id that nobody has."""
        self._producer_ids += 1
        return self._producer_ids

    def init(self, transactional_id: str, timeout_ms: int) -> tuple[int, Identity]:
        """A producer starts: earlier ones are fenced, what they have under way is aborted first."""
        one = self._by_id.get(transactional_id)
        if one is None:
            one = self._by_id[transactional_id] = Transaction(self.new_producer_id(), timeout_ms / 1000)
        if one.state is State.ONGOING:
            one.epoch += 1
            self._end(one, commits=False)
        if one.state is State.ENDING:
            return codes.CONCURRENT_TRANSACTIONS, one.identity
        one.epoch += 1
        one.timeout_s, one.ended = timeout_ms / 1000, None
        return codes.NONE, one.identity

    def add(self, transactional_id: str, who: Identity, sources: Iterable[TopicPartition], group: str | None = None) -> int:
        """Partitions or a group become part of the transaction, which begins if there is none."""
        one = self._by_id.get(transactional_id)
        if code := self._refusal(one, who):
            return code
        assert one
        if one.state is State.ENDING:
            return codes.CONCURRENT_TRANSACTIONS
        if one.state is State.EMPTY:
            self._begin(one)
        one.sources.update(dict.fromkeys(sources))
        if group is not None:
            one.groups.setdefault(group, {})
        return codes.NONE

    def may_write(self, transactional_id: str, who: Identity, source: TopicPartition) -> int:
        """Whether a batch for a partition belongs to the transaction."""
        if self.newer:
            return self.add(transactional_id, who, [source])
        one = self._by_id.get(transactional_id)
        if code := self._refusal(one, who):
            return code
        assert one
        return codes.NONE if one.state is State.ONGOING and source in one.sources else codes.INVALID_TXN_STATE

    def move(self, transactional_id: str, who: Identity, group: str, offsets: Mapping[TopicPartition, int]) -> int:
        """Offsets of a group are to move when the transaction commits."""
        if self.newer and (code := self.add(transactional_id, who, (), group)):
            return code
        one = self._by_id.get(transactional_id)
        if code := self._refusal(one, who):
            return code
        assert one
        if one.state is not State.ONGOING or group not in one.groups:
            return codes.INVALID_TXN_STATE
        one.groups[group].update(offsets)
        return codes.NONE

    def end(self, transactional_id: str, who: Identity, *, commits: bool) -> tuple[int, Identity]:
        """The transaction ends; who writes the next one."""
        one = self._by_id.get(transactional_id)
        if one and self.newer and one.ended == (who.epoch, commits) and one.epoch == who.epoch + 1 and one.state is not State.ONGOING:
            # Asked again by a producer that was not answered.
            return (codes.CONCURRENT_TRANSACTIONS if one.state is State.ENDING else codes.NONE), one.identity
        if code := self._refusal(one, who):
            return code, who
        assert one
        if one.state is State.ENDING:
            return codes.CONCURRENT_TRANSACTIONS, who
        if one.state is State.EMPTY:
            return (codes.NONE if one.ended == (who.epoch, commits) else codes.INVALID_TXN_STATE), who
        one.ended = who.epoch, commits
        if self.newer:
            one.epoch += 1
        self._end(one, commits=commits)
        if commits:
            self.on_committed(transactional_id)
        return codes.NONE, one.identity

    def _refusal(self, one: Transaction | None, who: Identity) -> int:
        if one is None or one.producer_id != who.producer_id:
            return codes.INVALID_PRODUCER_ID_MAPPING
        return codes.NONE if one.epoch == who.epoch else codes.INVALID_PRODUCER_EPOCH

    def _begin(self, one: Transaction) -> None:
        one.state = State.ONGOING
        one.number += 1
        number = one.number

        def expire() -> None:
            if one.number == number and one.state is State.ONGOING:
                one.epoch += 1
                one.ended = None
                self._end(one, commits=False)

        self._later(one.timeout_s + self._random.random() * _SWEEP_MAX_S, expire)

    def _end(self, one: Transaction, *, commits: bool) -> None:
        """It is written down how it ends; the markers follow, each in its own time."""
        one.state = State.ENDING
        left = len(one.sources) + len(one.groups)

        def marked() -> None:
            nonlocal left
            left -= 1
            if not left:
                one.sources.clear()
                one.groups.clear()
                one.state = State.EMPTY

        def mark(log: PartitionLog) -> None:
            log.end_transaction(*one.identity, commits=commits)
            marked()

        def move(group: Group, offsets: Mapping[TopicPartition, int]) -> None:
            if commits:
                group.commit(offsets)
            marked()

        for source in one.sources:
            if commits:
                self._logs[source].will_commit(one.producer_id)
            self._later(self._random.choice(_MARKER_S), partial(mark, self._logs[source]))
        for name, offsets in one.groups.items():
            self._later(self._random.choice(_MARKER_S), partial(move, self._group(name), offsets))
