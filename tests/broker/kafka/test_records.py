"""Fetched bytes become the batches they were, whatever compaction has taken out of them."""

from __future__ import annotations

import struct

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from tests.broker.kafka.batches import TRACED, written
from ticketmaster.broker.kafka.records import BatchRecords, merged
from ticketmaster.broker.port import Batch, TopicPartition

CODECS = {"none": 0, "lz4": 3}


def read(data: bytes, start: int = 0, *, headers: bool = False) -> list[Batch]:
    """What a fetch from ``start`` on delivers of these bytes."""
    fetched = PartitionRecords(KafkaTopicPartition("t", 0), MemoryRecords(data), [], start, None, None, True, READ_COMMITTED)  # noqa: FBT003
    return list(BatchRecords(fetched, headers=headers))


def test_batches_that_become_one_are_as_old_as_the_oldest() -> None:
    source = TopicPartition("t", 0)
    older, younger, marker = (
        Batch(source, [(b"k", b"v")], [3], 4, 1_000, {0: TRACED}),
        Batch(source, [(b"l", b"w")], [4], 5, 1_900, {0: TRACED}),
        Batch(source, [], (), 6, 90_000),
    )

    whole = Batch(source, [(b"k", b"v"), (b"l", b"w")], [3, 4], 6, 1_000, {0: TRACED, 1: TRACED})
    assert merged([older, younger, marker]) == [whole]
    assert [batch.timestamp_ms for batch in merged([younger, older])] == [1_000]
    assert [batch.timestamp_ms for batch in merged([older, marker])] == [1_000]
    assert [batch.timestamp_ms for batch in merged([marker])] == [90_000]


def test_batches_whose_records_were_written_in_different_seconds_do_not_become_one() -> None:
    source = TopicPartition("t", 0)
    times_ms = [5_000, 5_400, 6_001, 0, 900, 7_000]
    batches = [Batch(source, [(b"k", b"v")], [2 * at], 2 * at + 1, time_ms, follows=2 * at - 1) for at, time_ms in enumerate(times_ms)]
    marked = [part for batch in batches for part in (batch, Batch(source, [], (), batch.next_offset + 1, 0, follows=batch.next_offset))]

    found = merged(marked)

    assert [(list(batch.offsets), batch.timestamp_ms) for batch in found] == [([0, 2], 5_000), ([4], 6_001), ([6, 8], 0), ([10], 7_000)]
    assert [(batch.follows, batch.next_offset) for batch in found] == [(-1, 4), (3, 6), (5, 10), (9, 12)]


@pytest.mark.parametrize("times_ms", [[1_000, 9_000, 4_000], [9_000, 4_000, 1_000], [1_000, 1_000, 1_000]])
def test_a_batch_of_the_log_is_as_old_as_its_oldest_record(times_ms: list[int]) -> None:
    (batch,) = read(written([0, 1, 2], times_ms=times_ms))
    assert batch.timestamp_ms == 1_000


def test_where_the_broker_sets_the_time_of_a_batch_it_is_that_of_all_its_records() -> None:
    data = bytearray(written([0, 1], times_ms=[1_000, 2_000]))
    # KIP-98: attributes at 21, the newest time at 35.
    struct.pack_into(">h", data, 21, 0x08)
    struct.pack_into(">q", data, 35, 7_000)
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))

    (batch,) = read(bytes(data))
    assert batch.timestamp_ms == 7_000


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
