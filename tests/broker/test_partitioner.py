"""Kafka's default partitioner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.broker.partitioner import murmur2, partition_of


# From Kafka's own UtilsTest.testMurmur2; Java's integers are signed.
@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973_932_308),
        (b"foobar", -790_332_482),
        (b"a-little-bit-long-string", -985_981_536),
        (b"a-little-bit-longer-string", -1_486_304_829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        (bytes([ord("a"), ord("b"), ord("c")]), 479_470_107),
    ],
)
def test_the_hash_is_kafkas(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed % 2**32


@pytest.mark.parametrize(("partitions", "partition"), [(1, 0), (20, (-790_332_482 & 0x7FFFFFFF) % 20), (2**31, -790_332_482 & 0x7FFFFFFF)])
def test_a_partition_is_the_positive_hash_modulo_their_number(partitions: int, partition: int) -> None:
    assert partition_of(b"foobar", partitions) == partition


@given(st.binary(max_size=80), st.integers(1, 1_000))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= murmur2(key) < 2**32
    assert 0 <= partition_of(key, partitions) < partitions
    assert partition_of(key, partitions) == partition_of(bytes(bytearray(key)), partitions)
