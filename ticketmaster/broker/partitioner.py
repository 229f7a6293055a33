"""Kafka's default partitioner: ``(murmur2(key) & 0x7fffffff) % partitions``.

murmur2 as in Kafka's ``Utils.murmur2``: blocks of 4 bytes, little-endian, seed 0x9747b28c.
"""

from __future__ import annotations

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash as an unsigned 32-bit integer."""
    size = len(data)
    tail = size & 3
    state = _SEED ^ size
    for at in range(0, size - tail, 4):
        block = (int.from_bytes(data[at : at + 4], "little") * _M) & _MASK
        block ^= block >> 24
        state = ((state * _M) & _MASK) ^ ((block * _M) & _MASK)
    if tail:
        state ^= int.from_bytes(data[size - tail :], "little")
        state = (state * _M) & _MASK
    state ^= state >> 13
    state = (state * _M) & _MASK
    return state ^ (state >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a record by its key."""
    if partitions == 1:
        return 0
    return (murmur2(key) & 0x7FFFFFFF) % partitions
