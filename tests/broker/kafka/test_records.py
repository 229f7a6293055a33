"""Fetched bytes become the batches they were, whatever compaction has taken out of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from ticketmaster.broker.kafka.records import BatchRecords, merged
from ticketmaster.broker.port import Batch, Headers, TopicPartition

CODECS = {"none": 0, "lz4": 3}
TRACED: Headers = [("traceparent", b"00-1-1-01")]


def written(offsets: Sequence[int], codec: int) -> bytes:
    """A batch as the log has it, of records at these offsets; the second one has a header."""
    builder = DefaultRecordBatchBuilder(
        2, codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1 << 20
    )
    for number, offset in enumerate(offsets):
        builder.append(offset, 1_000, key=b"k%d" % offset, value=b"v", headers=TRACED if number == 1 else [])
    return bytes(builder.build())


def read(data: bytes, start: int, *, headers: bool) -> list[Batch]:
    """What a fetch from ``start`` on delivers of these bytes."""
    fetched = PartitionRecords(KafkaTopicPartition("t", 0), MemoryRecords(data), [], start, None, None, True, READ_COMMITTED)  # noqa: FBT003
    return list(BatchRecords(fetched, headers=headers))


def test_batches_that_become_one_are_as_old_as_the_oldest() -> None:
    source = TopicPartition("t", 0)
    older, younger, marker = (
        Batch(source, [(b"k", b"v")], [3], 4, 1_000, {0: TRACED}),
        Batch(source, [(b"l", b"w")], [4], 5, 60_000, {0: TRACED}),
        Batch(source, [], (), 6, 90_000),
    )

    assert merged([older, younger, marker]) == Batch(source, [(b"k", b"v"), (b"l", b"w")], [3, 4], 6, 1_000, {0: TRACED, 1: TRACED})
    assert merged([older, marker]).timestamp_ms == 1_000
    assert merged([marker]).timestamp_ms == 90_000


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("offsets", [[0, 1, 2], [0, 2, 5], [0, 7]], ids=["whole", "with gaps", "with one gap"])
@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("reads_headers", [False, True], ids=["without headers", "with headers"])
def test_every_record_has_its_own_offset_and_headers(offsets: list[int], codec: int, start: int, *, reads_headers: bool) -> None:
    (batch,) = read(written(offsets, codec), start, headers=reads_headers)

    wanted = [offset for offset in offsets if offset >= start]
    assert list(batch.offsets) == wanted
    assert list(batch.records) == [(b"k%d" % offset, b"v") for offset in wanted]
    assert batch.next_offset == offsets[-1] + 1
    assert dict(batch.headers) == ({wanted.index(offsets[1]): TRACED} if reads_headers and offsets[1] in wanted else {})
