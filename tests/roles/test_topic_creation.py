"""A cluster that creates each topic that anybody asks for, as Kafka does by default: nothing of ours makes it do so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.chaos.fleet import Fleet
from tests.process.server import run
from tests.support.kafka import Cluster
from tests.support.kafka_fixtures import StartCluster
from tests.support.kafka_topics import delete_topics
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.topics import describe_topics
from ticketmaster.clock import SystemClock
from ticketmaster.wire import topics

NAMES = {topic.name for topic in WANTED}
# All three roles read or write it.
LOST = topics.USER_RESERVATION.name
# They ask for the leaders of its partitions again and again.
_RUN_WITHOUT_S = 3.0
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
T = TypeVar("T")

# By command, the exit codes it may have. A new cluster has no coordinator of groups for a moment.
LOOKS = {
    "topics check": {1},
    "topics describe": {0},
    "topics groups": {0, 3},
    "topics refill": {2},
    "audit": {2},
    f"trace {ID}": {2},
    "ticket -d ticket": {2},
    "reservation -d reservation": {2},
    "event -d event": {2},
}


@pytest.fixture
def cluster(kafka_cluster: StartCluster) -> Cluster:
    return kafka_cluster(brokers=1, registry=True, settings=["auto.create.topics.enable=true"])


def on(cluster: Cluster, work: Callable[[KafkaBroker], Awaitable[T]]) -> T:
    async def connected() -> T:
        broker = KafkaBroker(KafkaSettings(bootstrap_servers=cluster.bootstrap_servers), SystemClock())
        await broker.start()
        try:
            return await work(broker)
        finally:
            await broker.close()

    return asyncio.run(connected())


def topics_of(cluster: Cluster) -> set[str]:
    async def ours(broker: KafkaBroker) -> set[str]:
        return set(await broker.admin.list_topics()) & NAMES

    return on(cluster, ours)


def test_looking_creates_no_topic_and_a_lost_one_stays_lost(cluster: Cluster, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, cluster.bootstrap_servers, cluster.registry_url)

    for command, codes in LOOKS.items():
        done = run(*command.split(), "-c", str(fleet.config), cwd=tmp_path, timeout_s=60)
        assert done.returncode in codes, f"{command}: {done.stdout}{done.stderr}"
        assert (command, topics_of(cluster)) == (command, set())

    created = run("topics", "create", "--partitions", "4", "-c", str(fleet.config), cwd=tmp_path, timeout_s=60)
    assert created.returncode == 0, created.stderr
    assert {state.partitions for state in on(cluster, lambda broker: describe_topics(broker.admin, NAMES)).values()} == {4}
    try:
        fleet.start_all()
        on(cluster, lambda broker: delete_topics(broker, [LOST]))
        time.sleep(_RUN_WITHOUT_S)
        assert topics_of(cluster) == NAMES - {LOST}
    finally:
        fleet.kill_all()
