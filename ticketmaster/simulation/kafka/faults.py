"""What goes wrong with a simulated cluster, beside all that goes wrong with processes."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

from ticketmaster.broker.port import TopicPartition
from ticketmaster.simulation.crowd import Crowd
from ticketmaster.simulation.deployment import Deployment
from ticketmaster.simulation.faults import SHORT_S, Faults, Strike
from ticketmaster.simulation.kafka.host import KafkaHost
from ticketmaster.wire import topics

_MOVED_MAX: Final = 4
_GROUPS: Final = (topics.EVENT_SERVICE, topics.RESERVATION_SERVICE, topics.TICKET_SERVICE)
# Commands are written outside transactions, by those whom people wait for.
_WRITTEN_BY_PEOPLE: Final = (topics.CREATE_RESERVATION.name, topics.CREATE_RESERVATION.name, topics.CREATE_EVENT.name)
# Some longer than a command is tried, and those after it.
_SICK_S: Final = (2.0, 10.0, 25.0)
_UNAWARE_S: Final = (1.0, 5.0, 15.0)


class KafkaFaults(Faults):
    """Strikes a deployment on Kafka."""

    def __init__(self, deployment: Deployment, crowd: Crowd, random: Random, count: int, host: KafkaHost) -> None:
        super().__init__(deployment, crowd, random, count)
        self._host = host

    def kinds(self) -> dict[str, list[Strike]]:
        """As of any deployment, and those of brokers."""
        kinds = super().kinds()
        kinds["brokers"] = [self._move_leaders, self._move_coordinator, self._move_coordinator, self._restart_broker]
        kinds["connections"] = [self._break_connections]
        kinds["rebalances"] = [self._rebalance, self._rebalance_on_full_disk]
        kinds["replicas"] = [self._sicken, self._sicken]
        kinds["deposed"] = [self._depose, self._depose]
        return kinds

    def end(self) -> None:
        """The cluster is well as well."""
        super().end()
        self._host.cluster.sick.clear()
        self._host.cluster.deposed.clear()
        for node in self._host.cluster.nodes:
            node.is_up = True

    async def _move_leaders(self) -> None:
        sources = self._random.sample(sorted(self._host.cluster.logs), self._random.randrange(1, _MOVED_MAX))
        for source in sources:
            self._host.cluster.move_leader(source)
        self._journal.fault("kafka", "leaders moved", " ".join(f"{source.topic}-{source.partition}" for source in sources))

    async def _move_coordinator(self) -> None:
        if coordinated := self._host.cluster.coordinated:
            what = self._random.choice(coordinated)
            self._journal.fault("kafka", "coordinator moved", what[1])
            self._host.cluster.move_coordinator(what)

    async def _restart_broker(self) -> None:
        up = [node for node in self._host.cluster.nodes if node.is_up]
        if not up or not self._host.is_up:
            return
        node, seconds = self._random.choice(up), self._random.choice(SHORT_S)
        self._journal.fault(node.host, "broker restarted", f"back in {seconds} s")
        self._host.take_down(node)
        self._after(seconds, lambda: setattr(node, "is_up", self._host.is_up))

    async def _depose(self) -> None:
        """A broker loses the others, but not its clients."""
        up = [node for node in self._host.cluster.nodes if node.is_up]
        if len(up) > 1 and self._host.is_up:
            node, seconds = self._random.choice(up), self._random.choice(_UNAWARE_S)
            self._journal.fault(node.host, "broker deposed", f"does not know for {seconds} s")
            self._host.cluster.depose(node, seconds)

    async def _break_connections(self) -> None:
        one = self._victim()
        if one:
            self._journal.fault(one.name, "connections broken")
            one.link.break_all()

    async def _rebalance(self) -> None:
        groups = self._host.cluster.groups
        if groups:
            name = self._random.choice(sorted(groups))
            self._journal.fault("kafka", "group rebalanced", name)
            groups[name].rebalance("so the seed says")

    async def _rebalance_on_full_disk(self) -> None:
        """Members join again while one of them can't note its new id."""
        await self._fill_disk()
        for name in sorted(self._host.cluster.groups):
            self._host.cluster.groups[name].rebalance("so the seed says")

    async def _sicken(self) -> None:
        """One partition can't be written to: its replicas are away."""
        names = self._random.choice((_WRITTEN_BY_PEOPLE, _WRITTEN_BY_PEOPLE, tuple(topic.name for topic in topics.ALL_TOPICS)))
        source = TopicPartition(self._random.choice(names), self._random.randrange(self._deployment.partitions))
        seconds = self._random.choice(_SICK_S)
        self._journal.fault("kafka", "too few replicas", f"of {source.topic}-{source.partition} for {seconds} s")
        self._host.cluster.sick.add(source)
        self._after(seconds, lambda: self._host.cluster.sick.discard(source))

    async def _lose_offsets(self) -> None:
        """They expire while nobody of the group is there, which is started again then."""
        name = self._random.choice([group for group in _GROUPS if group in self._host.cluster.groups] or [""])
        if not name:
            return
        self._journal.fault("kafka", "offsets lost", name)
        role = name.partition("-")[0]
        stopped = [one for one in self._deployment.live if role in one.roles and not one.ended]
        for one in tuple(stopped):
            # Meanwhile it may have died of itself, and another one stands in its place.
            if one in self._deployment.live:
                await self._deployment.stop(one)
                self._deployment.check_failure(one)
            else:
                stopped.remove(one)
        await asyncio.sleep(1.0)
        self._host.lose_offsets(name)
        for one in stopped:
            self._deployment.start_process(one.roles, one.disk.copy())
