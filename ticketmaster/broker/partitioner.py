"""Kafka's default partitioner: ``(murmur2(key) & 0x7fffffff) % partitions``.

murmur2 as in Kafka's ``Utils.murmur2``: blocks of 4 bytes, little-endian, seed 0x9747b28c.
"""

from __future__ import annotations

from functools import cache, lru_cache
from struct import Struct

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_ID_BYTES, _TIME_BYTES = 36, 16


@cache
def _blocks(count: int) -> Struct:
    return Struct(f"<{count}I")


def murmur2(data: bytes) -> int:
    """The hash as an unsigned 32-bit integer."""
    size = len(data)
    tail = size & 3
    if size == _ID_BYTES:
        state = _mixed(_behind_the_time(data[:_TIME_BYTES]), data[_TIME_BYTES:], (_ID_BYTES - _TIME_BYTES) >> 2)
    else:
        state = _mixed(_SEED ^ size, data, size >> 2)
    if tail:
        state ^= int.from_bytes(data[size - tail :], "little")
        state = (state * _M) & _MASK
    state ^= state >> 13
    state = (state * _M) & _MASK
    return state ^ (state >> 15)


@lru_cache(maxsize=1_024)
def _behind_the_time(head: bytes) -> int:
    """The state behind the start of a UUID of version 7, which is its time: most that are hashed together have the same."""
    return _mixed(_SEED ^ _ID_BYTES, head, _TIME_BYTES >> 2)


def _mixed(state: int, data: bytes, count: int) -> int:
    """The state behind the first ``count`` blocks."""
    # Without masks in between: what overflows 32 bits is cut where it would matter, before it is shifted down.
    for block in _blocks(count).unpack_from(data):
        mixed = (block * _M) & _MASK
        state = (state * _M ^ (mixed ^ (mixed >> 24)) * _M) & _MASK
    return state


def begun(data: bytes) -> int:
    """The state of the hash of a key of a multiple of 4 bytes, behind all of it but the last 4 bytes."""
    assert len(data) % 4 == 0
    return _mixed(_SEED ^ len(data), data, (len(data) >> 2) - 1)


def partition_of_end(state: int, end: int, partitions: int) -> int:
    """The partition of a key whose hash was :func:`begun`, by its last 4 bytes as a little-endian integer."""
    mixed = (end * _M) & _MASK
    state = (state * _M ^ (mixed ^ (mixed >> 24)) * _M) & _MASK
    state ^= state >> 13
    state = (state * _M) & _MASK
    return ((state ^ (state >> 15)) & 0x7FFFFFFF) % partitions


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a record by its key."""
    if partitions == 1:
        return 0
    return (murmur2(key) & 0x7FFFFFFF) % partitions
