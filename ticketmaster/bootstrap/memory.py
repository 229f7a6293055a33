"""Whether the schema registry still knows what the state was written with.

A registry that was lost and made anew gives other ids. What is in the topics then means nothing, or something else: areas and reservations
would look as if they had never been. Nothing is read, and no schema registered, before that is ruled out by a sample.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.consumer import KafkaReader
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import TopicPartition, partitions_of
from ticketmaster.wire import topics
from ticketmaster.wire.frames import FRAME_BYTES
from ticketmaster.wire.registry import MAGIC, load_schema
from ticketmaster.wire.schema_registry import SchemaRegistry

# Of each partition the first records and the last ones: those before and those after whatever has happened.
_LAST_OFFSETS: Final = 8
_PARTITION_BYTES_MAX: Final = 32_768
_POLLS_MAX: Final = 4
_POLL_MS: Final = 100

# What each role must be able to read back.
STATE_OF: Final[Mapping[str, Sequence[topics.Topic]]] = {
    topics.TICKET_SERVICE: (topics.AREA_STATUS, topics.EVENT, topics.USER_RESERVATION),
    topics.RESERVATION_SERVICE: (topics.AREA_STATUS, topics.RESERVATION_CHANGELOG),
    topics.EVENT_SERVICE: (topics.AREA_CHANGELOG, topics.EVENT),
}
ALL_STATE: Final = tuple(topic for topic in topics.ALL_TOPICS if topic.compacted)


class Seen(NamedTuple):
    """A record's schema id, and where the record is."""

    topic: topics.Topic
    schema_id: int
    source: TopicPartition
    offset: int


async def forgotten(registry: SchemaRegistry, sample: Collection[Seen]) -> str | None:
    """What the registry does not know any more, in one line with what to do; None: it knows all of the sample."""
    for seen in sample:
        schema = await registry.schema(seen.schema_id)
        if schema is None or not _is_of(seen.topic.record, schema):
            what = "does not know" if schema is None else f"has as {_name(schema)}"
            return (
                f"{seen.source.topic}-{seen.source.partition} @ {seen.offset} is of schema id {seen.schema_id}, {seen.topic.record}, "
                f"which the schema registry {registry.address} {what}: it was made anew, or is another one; "
                "restore its backup, or correct schema.registry.url (docs/schemas.md)"
            )
    return None


def _is_of(record: str, schema: Any) -> bool:  # noqa: ANN401 - a schema is JSON of any type
    """Whether a schema is one of this record, of whatever release: it has the name, and all fields that have no default in ours."""
    if not isinstance(schema, dict) or _name(schema).rpartition(".")[2] != record:
        return False
    fields = schema.get("fields")
    theirs = {field.get("name") for field in fields if isinstance(field, dict)} if isinstance(fields, list) else set()
    return all(field["name"] in theirs or "default" in field for field in load_schema(record)["fields"])


def _name(schema: Any) -> str:  # noqa: ANN401
    return str(schema.get("name") if isinstance(schema, dict) else schema)


async def sample_of(broker: KafkaBroker, kafka: KafkaSettings, partitions: int, state: Collection[topics.Topic]) -> list[Seen]:
    """Of each record and schema id one example from these topics. Retriable: Kafka does not say."""
    by_name = {topic.name: topic for topic in state}
    sources = [source for name in by_name for source in partitions_of(name, partitions)]
    starts, ends = await broker.start_offsets(sources), await broker.end_offsets(sources)
    first = {source: start for source, start in starts.items() if start < ends[source]}
    if not first:
        return []
    last = {source: max(start, ends[source] - _LAST_OFFSETS) for source, start in first.items()}
    # Raw, and little of each partition: statuses are large.
    limited = replace(kafka, fetch_partition_bytes_max=_PARTITION_BYTES_MAX)
    reader = KafkaReader(limited, first, None)
    found: dict[tuple[str, int], Seen] = {}
    try:
        for at, positions in enumerate((first, last)):
            if at:
                for source, offset in positions.items():
                    reader.seek(source, offset)
            for (source, _), (offset, head) in (await _heads(reader, positions)).items():
                topic, schema_id = by_name[source.topic], int.from_bytes(head[1:], "big")
                found.setdefault((topic.record, schema_id), Seen(topic, schema_id, source, offset))
    finally:
        await reader.stop()
    return list(found.values())


async def _heads(reader: KafkaReader, positions: Collection[TopicPartition]) -> dict[tuple[TopicPartition, bytes], tuple[int, bytes]]:
    """(offset, frame) of the last value that each key has in what comes next of these partitions."""
    waiting, heads = set(positions), dict[tuple[TopicPartition, bytes], tuple[int, bytes]]()
    for _ in range(_POLLS_MAX):
        batches = await reader.poll(_POLL_MS)
        for batch in batches:
            for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
                # What was deleted since is of no use to anybody.
                heads.pop((batch.source, key), None)
                if value is not None and value.startswith(MAGIC) and len(value) >= FRAME_BYTES:
                    heads[batch.source, key] = offset, value[:FRAME_BYTES]
            if batch.records:
                waiting.discard(batch.source)
                reader.pause(batch.source)
        if not waiting or not batches:
            break
    return heads
