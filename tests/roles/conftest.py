"""A Kafka of one broker and a schema registry, for the tests of this folder alone: they make and delete the topics of the system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet
from tests.roles.mix import Mix
from tests.support.golden import GOLDEN_PARTITIONS
from tests.support.kafka import Cluster
from tests.support.kafka_fixtures import install
from tests.support.kafka_topics import without_topics
from tests.support.registry import registry_of_tests


@pytest.fixture(scope="package")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Started once, with whatever the tests before have left."""
    install("kafka", None)
    install("registry", None)
    cluster = Cluster.start(tmp_path_factory.mktemp("kafka"), registry=True)
    yield cluster
    cluster.close()


@pytest.fixture
async def mix(tmp_path: Path, own_cluster: Cluster) -> AsyncIterator[Mix]:
    """Topics like the original's, and nothing in them."""
    async with without_topics(own_cluster.bootstrap_servers) as broker:
        with registry_of_tests(first_id=101) as registry:
            fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, registry.url)
            try:
                await asyncio.to_thread(fleet.create_topics, GOLDEN_PARTITIONS)
                yield Mix(fleet, broker, registry)
            finally:
                fleet.kill_all()


@pytest.fixture
def fleet(tmp_path: Path, own_cluster: Cluster) -> Iterator[Fleet]:
    """Topics, and no process yet."""
    fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, own_cluster.registry_url)
    fleet.create_topics()
    yield fleet
    fleet.kill_all()
