"""What a deployment runs on: the machines of the log, embedded broker or Kafka, and each process's way to them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Protocol

from ticketmaster.broker.port import Broker, Pair, TopicPartition
from ticketmaster.simulation.clock import SimulatedClock
from ticketmaster.simulation.loop import Process
from ticketmaster.simulation.network import Weather


class Way(Protocol):
    """What lies between a process and the log: nothing gets through while it is cut, and much is lost while it is rough."""

    cut: bool
    rough: float

    async def close(self) -> None:
        """What is under way is gone."""


class ConnectedBroker(Broker, Protocol):
    """The log as one process sees it."""

    async def start(self) -> None:
        """Connects; may be called again when it failed. Retriable: nobody answers."""

    async def close(self) -> None:
        """Closes what is open."""


class Hosting(Protocol):
    """The machines of the log."""

    is_up: bool

    async def start(self) -> None:
        """Starts them, on what was durable."""

    def link(self, name: str, weather: Weather, random: Random) -> Any:  # noqa: ANN401 - of the kind that connect takes
        """A process's :class:`Way`, of the kind that :meth:`connect` takes."""

    def connect(self, process: Process, link: Any, clock: SimulatedClock) -> ConnectedBroker:  # noqa: ANN401 - of the kind that link makes
        """The log as a process sees it over its way. If it is not heard of any more, its groups go on without it."""

    def expel(self, process: Process) -> None:
        """The groups of a process go on without it."""

    async def send(self, source: TopicPartition, pairs: Sequence[Pair]) -> None:
        """Somebody outside writes to the log. Retriable: it is not known whether that was written."""

    def lose_offsets(self, group: str) -> None:
        """What a group has committed is gone, as Kafka drops it of groups that nobody is a member of for some days."""

    async def until_writing(self) -> None:
        """Waits for the moment in which a failure hurts most, not for long."""

    async def lose_power(self) -> None:
        """All of them stop."""

    def wake_the_dead(self) -> None:
        """Lets go on whoever waits for machines that were stopped, so that they can be unwound. What they write does not count."""

    async def close(self) -> None:
        """Unwinds everything."""
