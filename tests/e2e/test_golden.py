"""The exchanges and records of the system we are compatible with: same requests in, same answers and same bytes in the log out."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.site import client_of
from tests.process.server import ROOT, serving
from ticketmaster.broker.embedded.sqlite import SqliteStorage
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import TopicPartition
from ticketmaster.wire import topics

PARTITIONS = 20
FRAME_BYTES = 5
# Theirs alone: ours is compacted, so that its table needs no log of its own.
# Ours alone.
HOLDERS = topics.HOLDER_CHANGELOG.name
NOT_OURS = "ticket-service-Reservation-changelog"

# By topic and key: the partition, and values in the log's order.
Records = dict[tuple[str, bytes], tuple[int, list[bytes]]]


def read_golden() -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((ROOT / "tests" / "golden.json").read_text())
    return golden


def golden_records(records: list[dict[str, Any]], ids: dict[str, str]) -> Records:
    """The golden records, with the ids of this run."""
    found: Records = {}
    for record in records:
        if record["topic"] == NOT_OURS:
            continue
        key, value, partition = record["key"], bytes.fromhex(record["avro_hex"]), record["partition"]
        for theirs, ours in ids.items():
            value = value.replace(theirs.encode(), ours.encode())
        if key in ids:
            key = ids[key]
            partition = partition_of(key.encode(), PARTITIONS)
        found.setdefault((record["topic"], key.encode()), (partition, []))[1].append(value)
    return found


def stored_records(directory: Path) -> Records:
    """The records in the log of a server that has ended."""
    storage = SqliteStorage(directory / "log.db")
    found: dict[tuple[str, bytes], tuple[int, list[bytes]]] = {}
    framed: dict[str, set[bytes]] = defaultdict(set)
    for source, extent in storage.load().extents.items():
        if source.topic in (topics.AREA_REPARTITION.name, HOLDERS):
            continue
        position = extent.start
        while position < extent.end:
            for batch in storage.read(TopicPartition(*source), position, 1 << 30):
                for key, value in batch.records:
                    assert value is not None
                    framed[source.topic].add(value[:FRAME_BYTES])
                    partition, values = found.setdefault((source.topic, key), (source.partition, []))
                    assert partition == source.partition
                    values.append(value[FRAME_BYTES:])
                position = batch.next_offset
    storage.close()
    assert all(len(frames) == 1 and frame[0] == 0 for frames in framed.values() for frame in frames)
    return found


@pytest.mark.parametrize("version", [1, 2], ids=["http1", "http2"])
async def test_the_golden_exchanges_give_the_golden_answers_and_records(tmp_path: Path, version: int) -> None:
    golden = read_golden()
    ids: dict[str, str] = {}
    with serving(tmp_path / "data", "--partitions", str(PARTITIONS)) as (_, address):
        async with client_of(address, version) as client:
            for exchange in golden["http"]:
                path, expected = exchange["path"], exchange["response"]
                for theirs, ours in ids.items():
                    path, expected = path.replace(theirs, ours), expected.replace(theirs, ours)
                response = await client.request(exchange["method"], path, json=exchange["request"])
                assert response.status_code == exchange["status"], exchange["note"]
                if exchange["method"] == "POST" and path.endswith("/reservation"):
                    assert len(response.text) == len(expected)
                    ids[exchange["response"]] = response.text
                else:
                    assert response.text == expected, exchange["note"]
    expected_records = golden_records(golden["records"], ids)
    stored = stored_records(tmp_path / "data")

    assert len(ids) == 15
    assert {topic for topic, _ in stored} == {topic.name for topic in topics.ORIGINAL_TOPICS} - {topics.AREA_REPARTITION.name}
    assert stored == expected_records
