"""A role at work in this process: a member of its group, and a runner for each partition it owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ticketmaster.broker.port import NO_CLAIMS, Broker, Membership
from ticketmaster.state.port import StateStores
from ticketmaster.streams.log_clock import LogClock
from ticketmaster.streams.member import Member
from ticketmaster.streams.pace import Pace
from ticketmaster.streams.partition import Lag, Surroundings
from ticketmaster.streams.runner import TaskRunner
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.topology import Topology
from ticketmaster.telemetry.observer import Observer

# ``open_stores(application id, names of the stores, partition)`` opens the state of a partition.
OpenStores = Callable[[str, Sequence[str], int], StateStores]


class StreamWorker:
    """Runs the tasks of one topology that the group assigns to this process."""

    def __init__(
        self,
        topology: Topology,
        broker: Broker,
        open_stores: OpenStores,
        settings: StreamSettings,
        observer: Observer,
        membership: Membership = NO_CLAIMS,
    ) -> None:
        self.application_id = topology.application_id
        self.topics = topology.sources
        self._membership = membership
        pace, clock = Pace(settings.commit_interval_max_ms), LogClock(broker.now_ms)
        names = tuple(store.name for store in topology.stores)

        def new_runner(around: Surroundings, partition: int) -> TaskRunner:
            return TaskRunner(topology, partition, around, lambda: open_stores(topology.application_id, names, partition), pace, clock)

        self.member = Member(topology.application_id, topology.sources, broker, settings, observer, new_runner, ahead=True)

    @property
    def ready(self) -> bool:
        """Whether every partition it owns is served."""
        return self.member.ready

    @property
    def rebalancing(self) -> bool:
        """Whether nothing but a rebalance keeps it from being ready."""
        return self.member.rebalancing

    @property
    def partitions(self) -> int:
        """How many partitions it owns."""
        return len(self.member.works)

    @property
    def overdue_ms(self) -> int:
        """How long ago the oldest deadline of its tasks has passed; 0: none has."""
        return max([work.overdue_ms for work in self.member.works.values()], default=0)

    @property
    def open_deadlines(self) -> int:
        """How many deadlines its tasks have."""
        return sum([work.open_deadlines for work in self.member.works.values()])

    @property
    def due_soon(self) -> int:
        """How many of them come within a minute, at most: some may have been taken back."""
        return sum([work.due_soon for work in self.member.works.values()])

    def lags(self) -> Iterator[Lag]:
        """How far it is behind, by source of each task."""
        return self.member.lags()

    async def run(self) -> None:
        """Works until cancelled, then commits and closes; raises what stops the work."""
        await self.member.run(self._membership)
