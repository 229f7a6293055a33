"""The brokers of a simulated cluster, and what those take for true that were deposed and have not noticed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ticketmaster.broker.port import TopicPartition
from ticketmaster.simulation.kafka.connection import Answer
from ticketmaster.simulation.kafka.wire import Asked


class Node:
    """A broker of the cluster."""

    def __init__(self, number: int, handle: Callable[[Node, Asked, Answer], None]) -> None:
        self.number = number
        self.host = f"kafka-{number}"
        self.is_up = True
        self._handle = handle

    def handle(self, asked: Asked, answer: Answer) -> None:
        """As :class:`ticketmaster.simulation.kafka.connection.Broker` says."""
        self._handle(self, asked, answer)


class Ends(NamedTuple):
    """Where a log ends, and where all before it is decided."""

    end: int
    stable_end: int


class _Belief(NamedTuple):
    until_s: float
    leaders: Mapping[TopicPartition, Node]
    ends: Mapping[TopicPartition, Ends]


class Deposed:
    """Brokers that have lost the other brokers, but not their clients: others lead now, and these tell what was true before."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._beliefs: dict[Node, _Belief] = {}

    def add(self, node: Node, seconds: float, leaders: Mapping[TopicPartition, Node], ends: Mapping[TopicPartition, Ends]) -> None:
        """One does not notice for so long. ``ends`` are of the logs that it leads."""
        self._beliefs[node] = _Belief(self._now_s() + seconds, leaders, ends)

    def leaders(self, node: Node) -> Mapping[TopicPartition, Node] | None:
        """Who leads what, by such a broker; None: it is none."""
        belief = self._beliefs.get(node)
        return belief.leaders if belief and node.is_up and self._now_s() < belief.until_s else None

    def ends(self, node: Node, source: TopicPartition) -> Ends | None:
        """Where a log ends by a broker that takes itself for its leader; None: it does not, or it is."""
        return self._beliefs[node].ends.get(source) if self.leaders(node) else None

    def clear(self) -> None:
        """All brokers know all others."""
        self._beliefs.clear()
