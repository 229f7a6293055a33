"""Roles on Kafka whose state can't be written do not begin: exit code 2 and one line, also where a supervisor has started them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fleet import ROLES, Fleet
from tests.process.server import run
from tests.support.kafka import Cluster
from tests.support.unwritable import unwritable

WORKERS = {"ticket": "-a", "reservation": "--workers", "event": "--workers"}


@pytest.fixture
def fleet(tmp_path: Path, own_cluster: Cluster) -> Iterator[Fleet]:
    """Roles that have been there, and have left state."""
    fleet = Fleet(tmp_path, own_cluster.bootstrap_servers, own_cluster.registry_url)
    try:
        fleet.create_topics()
        fleet.start_all()
        fleet.stop_all()
        yield fleet
    finally:
        fleet.kill_all()


def refused(fleet: Fleet, role: str, path: Path, *options: str) -> None:
    done = run(role, "-c", str(fleet.config), "-d", str(fleet.state / role), *options, cwd=fleet.folder, timeout_s=60)
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert str(path) in said
    assert '"ready"' not in said
    assert "Traceback" not in said


def test_state_that_can_not_be_written_ends_a_role_before_it_begins(fleet: Fleet) -> None:
    for role in ROLES:
        # The last store: any may be the one.
        store = max((fleet.state / role).rglob("*.db"))
        with unwritable(store):
            refused(fleet, role, store)
            refused(fleet, role, store, WORKERS[role], "2", *(["-p", "0"] if role == "ticket" else []))
        with unwritable(fleet.state / role):
            refused(fleet, role, fleet.state / role)
        store.unlink()
        store.mkdir()
        refused(fleet, role, store)
