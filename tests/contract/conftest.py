"""The brokers and state stores that the contract suites run over."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.brokers import broker, group
from tests.support.kafka_topics import remove_records
from tests.support.stores import NAME, OnlyStore
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.embedded.storage import MemoryStorage, Replacement, Storage
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Broker, TopicPartition, TopicSpec
from ticketmaster.clock import SystemClock
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.port import StateStores
from ticketmaster.state.sqlite import SqliteStores

# Fixtures of others.
__all__ = ["broker", "group"]


class Cluster(Protocol):
    """A broker's data, which outlive the clients."""

    async def open(self) -> Broker:
        """A broker on these data."""

    async def reopen(self) -> Broker:
        """Closes the broker and opens another one on the same data."""

    async def remove_before(self, source: TopicPartition, offset: int) -> None:
        """Removes the oldest records, as retention does."""

    async def close(self) -> None:
        """The test is over."""


class EmbeddedCluster:
    """One embedded broker at a time."""

    def __init__(self, open_storage: Callable[[], Storage]) -> None:
        self._open_storage = open_storage

    async def open(self) -> Broker:
        self._broker = EmbeddedBroker(self._open_storage(), SystemClock())
        await self._broker.start()
        return self._broker

    async def reopen(self) -> Broker:
        await self.close()
        return await self.open()

    async def remove_before(self, source: TopicPartition, offset: int) -> None:
        log = next(log for log in self._broker.logs if log.source == source)
        await self._broker.replace(Replacement(source, log.start, offset))
        log.start = offset

    async def close(self) -> None:
        await self._broker.close()


def _memory(_: Path) -> Cluster:
    storage = MemoryStorage()
    return EmbeddedCluster(lambda: storage)


def _sqlite(folder: Path) -> Cluster:
    return EmbeddedCluster(lambda: SqliteStorage(folder / "log.db"))


class KafkaClients:
    """Clients of a Kafka cluster, which runs through all tests."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._settings = KafkaSettings(bootstrap_servers=bootstrap_servers)

    async def open(self) -> Broker:
        self._broker = KafkaBroker(self._settings, SystemClock(), headers=True)
        await self._broker.start()
        return self._broker

    async def reopen(self) -> Broker:
        await self.close()
        return await self.open()

    async def remove_before(self, source: TopicPartition, offset: int) -> None:
        await remove_records(self._broker, {source: offset})

    async def close(self) -> None:
        await self._broker.close()


@pytest.fixture(params=[_memory, _sqlite, KafkaClients], ids=["memory", "sqlite", "kafka"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Cluster:
    """Another adapter joins the suite by one more parameter."""
    if request.param is KafkaClients:
        return KafkaClients(request.getfixturevalue("kafka_bootstrap_servers"))
    new_cluster: Callable[[Path], Cluster] = request.param
    return new_cluster(tmp_path)


@pytest.fixture
async def topic(broker: Broker) -> str:
    """A new topic of four partitions."""
    name = f"topic-{uuid.uuid4().hex}"
    await broker.create_topics([TopicSpec(name, 4)])
    return name


@pytest.fixture
def source(topic: str) -> TopicPartition:
    """One partition of it."""
    return TopicPartition(topic, 2)


OpenStateStores = Callable[[], StateStores]


def _memory_stores(_: Path) -> OpenStateStores:
    stores = MemoryStores()
    return lambda: stores


def _sqlite_stores(folder: Path) -> OpenStateStores:
    return lambda: SqliteStores(folder / "state.db", (NAME, "Side"))


@pytest.fixture(params=[_memory_stores, _sqlite_stores], ids=["memory", "sqlite"])
def open_stores(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStateStores:
    """Opens the state stores, with what was written to them before."""
    new_stores: Callable[[Path], OpenStateStores] = request.param
    return new_stores(tmp_path)


@pytest.fixture
def stores(open_stores: OpenStateStores) -> Iterator[StateStores]:
    """Open state stores."""
    opened = open_stores()
    yield opened
    opened.close()


@pytest.fixture
def store(stores: StateStores) -> OnlyStore:
    """One of them."""
    return OnlyStore(stores)
