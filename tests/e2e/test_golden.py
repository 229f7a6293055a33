"""The exchanges of the system this one is compatible with, against ours: the same requests give the same answers and records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.process.server import serving
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.port import TopicPartition
from ticketmaster.wire import topics

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
# The gateway of that system kept a changelog that ours does not need.
TOPICS = {record["topic"] for record in GOLDEN["records"]} - {"ticket-service-Reservation-changelog"}


def records_in(directory: Path) -> dict[str, list[tuple[int, str, bytes]]]:
    """(partition, key, value behind its frame) of every record of these topics, in order."""
    storage = SqliteStorage(directory / "log.db")
    partitions = {topic.name: topic.partitions for topic in storage.load().topics}
    found: dict[str, list[tuple[int, str, bytes]]] = {topic: [] for topic in TOPICS}
    for topic in TOPICS:
        for partition in range(partitions[topic]):
            for batch in storage.read(TopicPartition(topic, partition), 0, 1 << 30):
                found[topic] += [(partition, key.decode(), value[5:]) for key, value in batch.records if value is not None]
    storage.close()
    return found


def test_the_same_requests_give_the_same_answers_and_records(tmp_path: Path) -> None:
    ours: dict[str, str] = {}

    def translated(text: str) -> str:
        for theirs, mine in ours.items():
            text = text.replace(theirs, mine)
        return text

    with serving(tmp_path / "data", "--partitions", "20") as (_, address), httpx.Client(base_url=f"http://{address}", timeout=20) as client:
        for exchange in GOLDEN["http"]:
            answer = client.request(exchange["method"], translated(exchange["path"]), json=exchange["request"])
            assert answer.status_code == exchange["status"], exchange["note"]
            if exchange["path"].endswith("/reservation"):
                assert answer.headers["content-type"] == "text/plain"
                ours[exchange["response"]] = answer.text
            else:
                assert answer.text == translated(exchange["response"]), exchange["note"]

    found = records_in(tmp_path / "data")
    for topic in TOPICS:
        expected = [record for record in GOLDEN["records"] if record["topic"] == topic]
        by_key: dict[str, list[bytes]] = {}
        for record in expected:
            value = bytes.fromhex(record["avro_hex"])
            for theirs, mine in ours.items():
                value = value.replace(theirs.encode(), mine.encode())
            by_key.setdefault(translated(record["key"]), []).append(value)
        found_by_key: dict[str, list[bytes]] = {}
        for _, key, value in found[topic]:
            found_by_key.setdefault(key, []).append(value)
        assert found_by_key == by_key, topic
        placed = {(record["partition"], record["key"]) for record in expected if record["key"] not in ours}
        assert {(partition, key) for partition, key, _ in found[topic] if key not in ours.values()} == placed


def test_the_golden_topics_are_ours() -> None:
    assert {topic.name for topic in topics.ALL_TOPICS} >= TOPICS
