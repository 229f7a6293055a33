"""The Kafka and the schema registry that tests ask for: those of the environment, or ones of the test run's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.kafka import Cluster, ScriptError, run
from tests.support.tools import lacking


def install(kit: str, variable: str | None) -> None:
    """Makes sure that a kit is there, else ends the test: `variable` would make it needless."""
    try:
        run("install", "--kit", kit)
    except ScriptError as error:
        lacking(f"no Kafka for the tests: {error}", f" (or set {variable})" if variable else "")


class RunCluster:
    """The one broker of a test run and its registry, each started when it's first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster: Cluster | None = None

    def broker(self) -> Cluster:
        """With a broker."""
        if self._cluster is None:
            self._cluster = Cluster.start(self._folder)
        return self._cluster

    def registry(self) -> Cluster:
        """With a registry, too."""
        cluster = self.broker()
        cluster.start_registry()
        return cluster

    def close(self) -> None:
        """The test run is over."""
        if self._cluster is not None:
            self._cluster.close()


@pytest.fixture(scope="session")
def run_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunCluster]:
    """Starts nothing by itself."""
    cluster = RunCluster(tmp_path_factory.mktemp("kafka"))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def installed_kafka() -> None:
    """Kafka and the registry are there for a program that starts them itself."""
    for kit in ("kafka", "registry"):
        install(kit, None)


@pytest.fixture(scope="session")
def kafka_bootstrap_servers(run_cluster: RunCluster) -> str:
    """A Kafka that the tests may use as they like."""
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if servers:
        return servers
    install("kafka", "KAFKA_BOOTSTRAP_SERVERS")
    return run_cluster.broker().bootstrap_servers


@pytest.fixture(scope="session")
def registry_url(run_cluster: RunCluster) -> str:
    """A schema registry that the tests may use as they like, by Confluent's interface."""
    url = os.environ.get("SCHEMA_REGISTRY_URL")
    if url:
        return url
    install("kafka", "SCHEMA_REGISTRY_URL")
    install("registry", "SCHEMA_REGISTRY_URL")
    return run_cluster.registry().registry_url


class StartCluster(Protocol):
    """Starts a cluster in a folder of its own."""

    def __call__(self, *, brokers: int = 3, registry: bool = False, settings: Sequence[str] = ()) -> Cluster: ...


@pytest.fixture
def kafka_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartCluster]:
    """Fresh clusters of the test's own, to do damage to. They end with the test."""
    with ExitStack() as clusters:

        def start(*, brokers: int = 3, registry: bool = False, settings: Sequence[str] = ()) -> Cluster:
            install("kafka", None)
            if registry:
                install("registry", None)
            cluster = Cluster.start(tmp_path_factory.mktemp("kafka"), brokers=brokers, registry=registry, settings=settings)
            clusters.callback(cluster.close)
            return cluster

        yield start
