"""One role of ours among roles of the original, on a real Kafka. Theirs are played by what they have written."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterable

import fastavro

from tests.chaos.fleet import READY_S, Fleet
from tests.process.server import Program
from tests.support.consuming import DEADLINE_S, read_records
from tests.support.golden import GOLDEN_PARTITIONS, golden_records
from tests.support.registry import ORIGINAL_SCHEMAS, Registry
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.port import Pair, partitions_of
from ticketmaster.wire import avro, topics
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.registry import SCHEMA_IDS, frame
from ticketmaster.wire.schema_registry import subjects


class Mix:
    """A cluster on which the original is at work, but for the role that is ours. The registry has its schemas and ours under other ids."""

    def __init__(self, fleet: Fleet, broker: KafkaBroker, registry: Registry) -> None:
        self.fleet = fleet
        self.broker = broker
        self.theirs = registry.put_original()
        self.ours = {subject.record: registry.put(subject.name, json.loads(subject.schema)) for subject in subjects()}

    async def write(self, topic: topics.Topic, keys: Iterable[str] | None = None) -> int:
        """The original writes what it wrote, of these keys; returns how much."""
        wanted = None if keys is None else {key.encode() for key in keys}
        records = [found for found in golden_records(topic.name, self.theirs[topic.record]) if wanted is None or found[1][0] in wanted]
        for source, pair in records:
            await self.broker.producer().send({source: [pair]})
        return len(records)

    async def written(self, topic: topics.Topic, count: int) -> list[Pair]:
        """Waits for so many records of ours on a topic."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + DEADLINE_S
        while True:
            found = [pair for source in partitions_of(topic.name, GOLDEN_PARTITIONS) for pair in await read_records(self.broker, source)]
            ours: list[Pair] = [(key, value) for key, value in found if value and value.startswith(frame(self.ours[topic.record]))]
            if len(ours) >= count:
                break
            assert loop.time() < deadline_s, f"{len(ours)} of {count} records on {topic.name}"
            await asyncio.sleep(0.1)
        for _, value in ours:
            read_by_the_original(topic, value or b"")
        return ours

    async def started(self, role: str) -> Program:
        program = self.fleet.start(role)
        await asyncio.to_thread(program.wait_ready_line, READY_S)
        return program


def read_by_the_original(topic: topics.Topic, value: bytes) -> None:
    """Fails unless the original, by its own schema, reads in a record of ours what we meant."""
    writer = next(json.loads(subject.schema) for subject in subjects() if subject.record == topic.record)
    stream = io.BytesIO(value[FRAME_BYTES:])
    schema = next(schema for schema in ORIGINAL_SCHEMAS.values() if schema["name"] == topic.record)
    read = fastavro.schemaless_reader(stream, fastavro.parse_schema(writer), fastavro.parse_schema(schema))
    assert read == avro.decode(topic.record, frame(SCHEMA_IDS[topic.record]) + value[FRAME_BYTES:])
    assert stream.read() == b""
