"""Each fault of a topic is told with the very command that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ticketmaster.bootstrap.remedies import Remedies
from ticketmaster.bootstrap.topics import WANTED, differences
from ticketmaster.broker.kafka.topics import TOMBSTONES_MS, TopicState, right_min_in_sync

REMEDIES = Remedies("b1:9092,b2:9092", Path("client.properties"))
CREATE = "ticketmaster topics create -c client.properties"
TABLE = next(topic for topic in WANTED if topic.compacted)
LOG = next(topic for topic in WANTED if not topic.compacted and topic.timestamps == "CreateTime")
TIMED = next(topic for topic in WANTED if topic.timestamps == "LogAppendTime")
TOPICS = {"table": TABLE, "log": LOG, "timed": TIMED}
GOOD = TopicState(
    partitions=3, replicas=3, in_sync=3, cleanup_policy="", min_in_sync=2, timestamp_type="CreateTime", tombstones_ms=TOMBSTONES_MS
)


def found(**changes: dict[str, Any]) -> dict[str, TopicState]:
    """All topics as they must be, but for those that are named as in :data:`TOPICS`."""
    states = {topic.name: GOOD._replace(cleanup_policy=topic.policy, timestamp_type=topic.timestamps) for topic in WANTED}
    for name, changed in changes.items():
        topic = TOPICS[name]
        states[topic.name] = states[topic.name]._replace(**changed)
    return states


def test_nothing_is_said_of_topics_as_they_must_be() -> None:
    assert differences(WANTED, found(), REMEDIES) == []
    alone = {name: state._replace(replicas=1, in_sync=1, min_in_sync=1) for name, state in found().items()}
    assert differences(WANTED, alone, REMEDIES) == []


@pytest.mark.parametrize(
    ("replicas", "found", "right"),
    [(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 2, 2), (2, 3, 2), (3, 1, 2), (3, 2, 2), (3, 3, 2), (5, 3, 3), (5, 4, 4), (5, 5, 2)],
)
def test_a_lost_broker_neither_loses_nor_stops_anything_where_there_are_brokers_enough(replicas: int, found: int, right: int) -> None:
    assert right_min_in_sync(replicas, found) == right


@pytest.mark.parametrize(
    ("name", "change", "text", "remedy"),
    [
        ("table", {"cleanup_policy": "delete"}, "cleanup.policy delete, not compact", CREATE),
        ("table", {"cleanup_policy": "compact,delete"}, "cleanup.policy compact,delete, not compact", CREATE),
        ("log", {"cleanup_policy": "compact"}, "grows for ever", CREATE),
        ("table", {"tombstones_ms": 86_400_000}, "delete.retention.ms 86400000, not 3153600000000", CREATE),
        ("log", {"min_in_sync": 1}, "min.insync.replicas 1 with 3 replicas: a lost broker may take with it what is sold", CREATE),
        ("log", {"min_in_sync": 3}, "min.insync.replicas 3 with 3 replicas: it takes no record while one broker is away", CREATE),
        ("table", {"min_in_sync": 2, "replicas": 1, "in_sync": 1}, "min.insync.replicas 2 with 1 replicas: it takes no record", CREATE),
        ("log", {"timestamp_type": "LogAppendTime"}, "message.timestamp.type LogAppendTime", CREATE),
        ("timed", {"timestamp_type": "CreateTime"}, "windows, holds, payments and their audit go by the clocks of many hosts", CREATE),
        ("log", {"in_sync": 2}, "2 of 3 replicas in sync", "--describe --under-replicated-partitions --topic"),
        ("log", {"partitions": 2}, "has 2 partitions, the others have 3", "--delete --topic"),
    ],
)
def test_each_fault_has_a_text_and_a_remedy(name: str, change: dict[str, Any], text: str, remedy: str) -> None:
    (difference,) = differences(WANTED, found(**{name: change}), REMEDIES)

    assert difference.topic == TOPICS[name].name
    assert text in difference.text
    assert remedy in difference.remedy


def test_a_topic_that_is_missing_is_made_by_our_own_command() -> None:
    states = found()
    del states[TABLE.name]

    (difference,) = differences(WANTED, states, REMEDIES)

    assert (difference.topic, difference.fatal, difference.remedy) == (TABLE.name, True, CREATE)


def test_commands_are_spelt_for_this_cluster_and_these_files() -> None:
    here = Remedies("b1:9092", Path("my files/client.properties"), secured=True)

    assert here.topics("groups") == "ticketmaster topics groups -c 'my files/client.properties'"
    assert here.delete("t") == (
        "kafka-topics.sh --bootstrap-server b1:9092 --command-config 'my files/client.properties' --delete --topic t"
        " && ticketmaster topics create -c 'my files/client.properties'"
    )
    assert Remedies("b1:9092").schemas("register") == "ticketmaster schemas register"
