"""Faults in the middle of a sale, on three brokers with three replicas: nothing is lost, nothing sold twice, and all goes on.

``make test`` takes a few of them; ``make chaos`` as many as you like, drawn by a seed, at random moments.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.faults import BUILDING, KINDS, MOUNTING, can_mount
from tests.chaos.fleet import Fleet
from tests.chaos.run import Run, schedule
from tests.chaos.slow_disk import can_build
from tests.support.kafka import Cluster
from tests.support.kafka_fixtures import install

FAULTS = int(os.environ.get("TICKETMASTER_CHAOS_FAULTS") or "0")
SEED = int(os.environ.get("TICKETMASTER_CHAOS_SEED") or "0") or random.SystemRandom().randrange(1 << 32)
REPORT = os.environ.get("TICKETMASTER_CHAOS_REPORT")
# Kinds to choose from, separated by commas; all unless told.
ONLY = os.environ.get("TICKETMASTER_CHAOS_KINDS")
FAULTS_PER_LEG = 25
SHORT = (
    "two roles killed at once",
    "event suspended",
    "broker killed",
    "reservation state wiped",
    "topics poisoned",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers and a registry."""
    install("kafka", None)
    install("registry", None)
    cluster = Cluster.start(tmp_path_factory.mktemp("kafka"), brokers=3, registry=True)
    yield cluster
    cluster.close()


@pytest.fixture
def fleet(tmp_path: Path, cluster: Cluster) -> Iterator[Fleet]:
    """Topics, and no process yet."""
    fleet = Fleet(tmp_path, cluster.bootstrap_servers, cluster.registry_url)
    fleet.create_topics()
    yield fleet
    fleet.kill_all()


async def test_nothing_is_lost_and_nothing_sold_twice(fleet: Fleet, cluster: Cluster) -> None:
    run = Run(fleet, cluster, SEED, Path(REPORT) if REPORT else None)
    kinds = dict.fromkeys(ONLY.split(",") if ONLY else KINDS if FAULTS else SHORT)
    unmountable = can_mount(fleet.folder)
    if unmountable:
        run.report.skipped |= dict.fromkeys(MOUNTING.intersection(kinds), f"mounting needs root: {unmountable}")
    if unbuildable := can_build():
        run.report.skipped |= dict.fromkeys(BUILDING.intersection(kinds), unbuildable)
    possible = [kind for kind in kinds if kind not in run.report.skipped]
    await run.legs(schedule(possible, FAULTS or len(possible), SEED), FAULTS_PER_LEG)
