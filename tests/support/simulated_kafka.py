"""A simulated cluster of Kafka, for tests that run on virtual time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from ticketmaster.simulation.checker import Checker
from ticketmaster.simulation.clock import SimulatedClock
from ticketmaster.simulation.hosting import ConnectedBroker
from ticketmaster.simulation.journal import Journal
from ticketmaster.simulation.kafka.host import KafkaHost
from ticketmaster.simulation.kafka.virtual import DialingLoop, aiokafka_on
from ticketmaster.simulation.network import Weather

PARTITIONS = 4
# Its replacement is for whole sessions, not for one module.
ON_VIRTUAL_TIME = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture:pytest.PytestDeprecationWarning")


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> DialingLoop:
        return DialingLoop()


@pytest.fixture(scope="module")
def event_loop_policy() -> _Policy:
    """Virtual time, and connections in memory."""
    return _Policy()


@asynccontextmanager
async def running(seed: int) -> AsyncIterator[tuple[KafkaHost, Journal]]:
    """A running cluster, and the journal of its run; the seed decides how many nodes it has."""
    loop, journal = asyncio.get_running_loop(), Journal()
    assert isinstance(loop, DialingLoop)
    with aiokafka_on(loop, Random(4)):
        host = KafkaHost(PARTITIONS, Random(seed), journal, Checker(journal))
        await host.start()
        yield host, journal


class SimulatedCluster:
    """Clients of a simulated cluster."""

    def __init__(self, host: KafkaHost) -> None:
        self._host = host
        self._random = Random(2)

    async def open(self) -> ConnectedBroker:
        wires = self._host.link("client", Weather(), self._random)
        self._broker = self._host.connect(None, wires, SimulatedClock(self._random))
        await self._broker.start()
        return self._broker

    async def reopen(self) -> ConnectedBroker:
        await self.close()
        return await self.open()

    async def close(self) -> None:
        await self._broker.close()


@pytest.fixture
def topic(host: KafkaHost) -> str:
    """A new topic."""
    name = f"topic-{uuid.uuid4().hex}"
    host.cluster.create_topic(name, PARTITIONS)
    return name
