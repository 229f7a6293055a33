"""A run of the original: its HTTP exchanges, and every record that it committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.wire.registry import frame

GOLDEN: Final[dict[str, Any]] = json.loads((Path(__file__).resolve().parents[1] / "golden.json").read_text(encoding="utf-8"))
# Of all topics.
GOLDEN_PARTITIONS: Final = 20


def golden_records(topic: str, schema_id: int) -> list[tuple[TopicPartition, Pair]]:
    """The records of a topic as the original has written them, in their order, by the id that its registry gave the schema."""
    return [
        (TopicPartition(topic, record["partition"]), (record["key"].encode(), frame(schema_id) + bytes.fromhex(record["avro_hex"])))
        for record in GOLDEN["records"]
        if record["topic"] == topic
    ]
