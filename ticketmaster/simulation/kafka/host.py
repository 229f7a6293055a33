"""Kafka as what a deployment runs on: a simulated cluster, and the real adapter in each process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from ticketmaster.broker.embedded.storage import Write
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Batch, Pair, TopicPartition
from ticketmaster.errors import Retriable
from ticketmaster.simulation.checker import Checker
from ticketmaster.simulation.clock import SimulatedClock
from ticketmaster.simulation.hosting import ConnectedBroker
from ticketmaster.simulation.journal import Journal
from ticketmaster.simulation.kafka.cluster import PORT, Cluster
from ticketmaster.simulation.kafka.connection import Wire, Wires
from ticketmaster.simulation.kafka.foreign import Registry, ours
from ticketmaster.simulation.kafka.nodes import Node
from ticketmaster.simulation.kafka.virtual import DialingLoop
from ticketmaster.simulation.loop import Process, current_process
from ticketmaster.simulation.network import Weather
from ticketmaster.streams.dead_letters import dead_letter_topic
from ticketmaster.wire import topics

_DIAL_S: Final = (0.0, 0.001, 0.01)
_LOOK_AGAIN_S: Final = 0.25
# Of a request that nobody answers until it times out.
_REFUSED_S: Final = 0.01
# Longer than a command is tried.
_TROUBLE_LASTS_S: Final = 10.0
# All times are short, so that much happens in a run; a fetch waits long, so that little is done in vain.
SETTINGS: Final = KafkaSettings(
    compression=None,
    request_timeout_ms=5_000,
    delivery_timeout_ms=6_000,
    transaction_timeout_ms=8_000,
    retry_backoff_ms=100,
    session_timeout_ms=6_000,
    heartbeat_interval_ms=2_000,
    rebalance_timeout_ms=6_000,
    fetch_wait_max_ms=2_000,
)


class KafkaHost:
    """The machines of a cluster."""

    def __init__(self, partitions: int, random: Random, journal: Journal, checker: Checker) -> None:
        self._partitions = partitions
        self._random = random
        self._journal = journal
        self._checker = checker
        # By None: of clients outside of any process.
        self._wires: dict[Process | None, Wires] = {}
        self._registry = Registry(random)
        # What outsiders wrote, these very objects, by where it stands.
        self._sent: dict[tuple[TopicPartition, int], Sequence[Pair]] = {}
        # Told of commands that a process knows to be in the log, as soon as they can be there: (process, ids).
        self.on_acknowledged: Callable[[str, list[bytes]], None] = lambda *_: None
        self.cluster: Cluster
        self.is_up = False

    async def start(self) -> None:
        """Starts every broker."""
        if not hasattr(self, "cluster"):
            self._build()
        self.is_up = True
        for node in self.cluster.nodes:
            node.is_up = True

    def _build(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DialingLoop)
        loop.dial = self._dial

        def note(what: str) -> None:
            self._journal.note("kafka", what)

        nodes = self._random.choice((1, 2, 3))
        self.cluster = Cluster(nodes, loop, self._random, note, self._on_stable, self._on_commit, self._journal.violation)
        self.cluster.on_acknowledged = self._on_acknowledged
        self.cluster.transactions.on_committed = self._checker.check_transaction
        for topic in topics.ALL_TOPICS:
            self.cluster.create_topic(topic.name, self._partitions, timed_by_log=topic.timed_by_log)
            self.cluster.create_topic(dead_letter_topic(topic.name), self._partitions)

    def decided(self, source: TopicPartition) -> Sequence[Pair]:
        """Every record of a log that is committed, as roles write them."""
        return ours(source.topic, self.cluster.logs[source].decided())

    def _on_stable(self, source: TopicPartition, batch: Batch) -> None:
        if batch.records:
            records = self._sent.get((source, batch.offsets[0]), batch.records)
            seen = batch._replace(records=ours(source.topic, records))
            self._checker.witness(Write.empty()._replace(batches=[seen]))
        else:
            self._checker.passed(source, batch.next_offset)

    def _on_commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        self._checker.witness(Write.empty()._replace(offsets={(group, source): offset for source, offset in offsets.items()}))

    def _on_acknowledged(self, client_id: str, source: TopicPartition, keys: list[bytes]) -> None:
        if source.topic != topics.CREATE_RESERVATION.name:
            return
        # After some trouble the clients of these may have been refused already: nobody knew then whether the log has them.
        wires = next(wires for wires in self._wires.values() if wires.name == client_id)
        trouble_s = max(wires.troubled_at_s, self.cluster.refused_at_s.get(source, -math.inf))
        if asyncio.get_running_loop().time() - trouble_s > _TROUBLE_LASTS_S:
            self.on_acknowledged(client_id, keys)

    # What processes have of it.

    def link(self, name: str, weather: Weather, random: Random) -> Wires:
        """A process's connections."""
        return Wires(name, weather, random, self._journal)

    def connect(self, process: Process | None, wires: Wires, clock: SimulatedClock) -> ConnectedBroker:
        """The adapter of Kafka in a process."""
        self._wires[process] = wires
        servers = ",".join(f"{node.host}:{PORT}" for node in self.cluster.nodes)
        settings = replace(SETTINGS, bootstrap_servers=servers, client_id=wires.name)
        return KafkaBroker(settings, clock, self._registry.translator())

    async def _dial(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, _port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        process, loop = current_process(), asyncio.get_running_loop()
        assert isinstance(loop, DialingLoop)
        wires = self._wires[process]
        await asyncio.sleep(wires.random.choice(_DIAL_S))
        while wires.cut:
            wires.note_trouble()
            await asyncio.sleep(_LOOK_AGAIN_S)
        [node] = [node for node in self.cluster.nodes if node.host == host]
        if not node.is_up:
            await asyncio.sleep(_REFUSED_S)
            raise ConnectionRefusedError(f"{host} is down")
        protocol = protocol_factory()
        assert isinstance(protocol, asyncio.Protocol | asyncio.StreamReaderProtocol)
        wire = Wire(wires, node, process, protocol, loop)
        protocol.connection_made(wire)
        return wire, protocol

    def expel(self, process: Process) -> None:
        """As :class:`ticketmaster.simulation.hosting.Hosting` says."""
        for group in self.cluster.groups.values():
            group.expel(process.name)

    async def send(self, source: TopicPartition, pairs: Sequence[Pair]) -> None:
        """Somebody writes who has no trouble, but that of the cluster."""
        if not self.is_up or source in self.cluster.sick:
            raise Retriable("Kafka does not answer")
        log = self.cluster.logs[source]
        self._sent[source, log.end] = pairs
        log.append_pairs(pairs)

    # What befalls it.

    def lose_offsets(self, group: str) -> None:
        """The offsets of a group have expired."""
        self._checker.offsets_lost(group)
        self.cluster.groups[group].lose_offsets()

    def take_down(self, node: Node) -> None:
        """A broker ends, and with it every connection to it."""
        self.cluster.take_down(node)
        for wires in self._wires.values():
            wires.break_all(node)

    async def until_writing(self) -> None:
        """There is always something under way."""

    async def lose_power(self) -> None:
        """Every broker ends. What was acknowledged is on their disks; a request that was under way has been worked on, or has not."""
        self.is_up = False
        for node in self.cluster.nodes:
            self.take_down(node)

    def wake_the_dead(self) -> None:
        """Whoever waits for a broker learns that there is none."""
        for node in self.cluster.nodes:
            node.is_up = False
        for wires in self._wires.values():
            wires.cut = False
            wires.break_all()

    async def close(self) -> None:
        """Nothing of it runs by itself."""
