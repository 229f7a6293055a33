"""A Kafka of one broker and a schema registry, for the tests of this folder alone: they make and delete the topics of the system."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kafka import Cluster
from tests.support.kafka_fixtures import install


@pytest.fixture(scope="package")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Started once, with whatever the tests before have left."""
    install("kafka", None)
    install("registry", None)
    cluster = Cluster.start(tmp_path_factory.mktemp("kafka"), registry=True)
    yield cluster
    cluster.close()
