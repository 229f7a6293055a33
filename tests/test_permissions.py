"""The permissions in docs/security.md are those that the roles need, by what their topologies read and write."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from ticketmaster.bootstrap.stores import TOPOLOGIES
from ticketmaster.streams.dead_letters import dead_letter_topic
from ticketmaster.streams.topology import Topology
from ticketmaster.wire import topics

DOCUMENT = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
EVENT, RESERVATION = TOPOLOGIES


def granted() -> dict[tuple[str, str], set[str]]:
    """Of each user and operation, the topics, groups and transactional ids that are named."""
    found = defaultdict[tuple[str, str], set[str]](set)
    for line in DOCUMENT.replace("\\\n", "").splitlines():
        user = re.search(r"--allow-principal User:(\w+)", line)
        if line.startswith("acls") and user:
            for operation in re.findall(r"--operation (\w+)", line):
                found[user[1], operation] |= set(re.findall(r"--(?:topic|group|transactional-id) (\S+)", line))
    return found


@pytest.mark.parametrize(
    ("user", "topology", "tables", "outputs"),
    [
        (
            "reservation",
            RESERVATION,
            {topics.AREA_STATUS, topics.EVENT},
            {topics.RESERVE_SEAT, topics.USER_RESERVATION, topics.RELEASE_SEATS, topics.CHANGE_RESERVATION},
        ),
        (
            "event",
            EVENT,
            set(),
            {
                topics.AREA_REPARTITION,
                topics.RULED_AREA_REPARTITION,
                topics.AREA_STATUS,
                topics.RESERVATION_RESULT,
                topics.CANCEL_EVENT,
            },
        ),
    ],
)
def test_a_role_may_read_its_sources_and_write_what_it_decides(
    user: str, topology: Topology, tables: set[topics.Topic], outputs: set[topics.Topic]
) -> None:
    permissions, group = granted(), topology.application_id
    changelogs = {store.changelog for store in topology.stores}

    assert permissions[user, "Read"] == {*topology.sources, *changelogs, *(table.name for table in tables), group}
    letters = {dead_letter_topic(source) for source in topology.sources}
    assert permissions[user, "Write"] == {*changelogs, *(topic.name for topic in outputs), *letters, f"{group}-"}


def test_the_gateway_may_write_commands_and_read_its_tables() -> None:
    permissions = granted()

    commands = (topics.CREATE_EVENT, topics.CREATE_RESERVATION, topics.CHANGE_RESERVATION, topics.CHANGE_EVENT)
    assert permissions["ticket", "Write"] == {topic.name for topic in commands}
    assert permissions["ticket", "Read"] == {
        topics.USER_RESERVATION.name,
        topics.AREA_STATUS.name,
        topics.EVENT.name,
        topics.TICKET_SERVICE,
    }
