"""Which records of a log have a later one of the same key: found in bounded memory and linear time, whatever the order of the keys."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import msgspec

_BLOCK = 4_096
_BUCKETS_MAX = 4_096
# So many keys are written to the scratch file at once, and so many compared.
_SPILLED_KEYS = 10_000
_STEP_KEYS = 5_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[bytes], list[int]]).decode


class Offsets:
    """A set of offsets of one log: a byte each, in blocks, for those that are in it lie together."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}

    def add(self, offset: int) -> None:
        """One more, which was not in it."""
        number, at = divmod(offset, _BLOCK)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = bytearray(_BLOCK)
        block[at] = 1

    def count_between(self, start: int, end: int) -> int:
        """How many there are in [start, end)."""
        return sum(block.count(1, first, stop) for _, block, first, stop in self._parts(start, end))

    def between(self, start: int, end: int) -> set[int]:
        """Those in [start, end)."""
        found: set[int] = set()
        for base, block, first, stop in self._parts(start, end):
            at = block.find(1, first, stop)
            while at >= 0:
                found.add(base + at)
                at = block.find(1, at + 1, stop)
        return found

    def _parts(self, start: int, end: int) -> Iterator[tuple[int, bytearray, int, int]]:
        """(first offset, bytes, part of them) of each block that has some of [start, end)."""
        for number in range(start // _BLOCK, (end - 1) // _BLOCK + 1):
            block, base = self._blocks.get(number), number * _BLOCK
            if block:
                yield base, block, max(start - base, 0), min(end - base, _BLOCK)


class KeyBuckets:
    """Keys and their offsets, dealt out by hash to buckets of which each fits into memory.

    If one bucket is enough it stays in memory; else most of each waits in a scratch file.
    """

    def __init__(self, records: int, bucket_keys_max: int, open_scratch: Callable[[], IO[bytes]]) -> None:
        """``records``: how many there may be."""
        self._count = min(records // bucket_keys_max + 1, _BUCKETS_MAX)
        self._buffered_max = min(bucket_keys_max, _SPILLED_KEYS)
        self._open_scratch = open_scratch
        self._scratch: IO[bytes] | None = None
        self._buffered = 0
        self._keys: list[list[bytes]] = [[] for _ in range(self._count)]
        self._offsets: list[list[int]] = [[] for _ in range(self._count)]
        # Where the parts of each bucket are in the scratch file: (position, bytes).
        self._parts: list[list[tuple[int, int]]] = [[] for _ in range(self._count)]

    def add(self, keys: Sequence[bytes], offsets: Sequence[int]) -> None:
        """Takes records."""
        all_keys, all_offsets, count = self._keys, self._offsets, self._count
        if count == 1:
            all_keys[0] += keys
            all_offsets[0] += offsets
            return
        # Not Python's own hash: it is another one in each process, and a simulated run must be the same in all.
        for key, offset in zip(keys, offsets, strict=True):
            number = zlib.crc32(key) % count
            all_keys[number].append(key)
            all_offsets[number].append(offset)
        self._buffered += len(keys)
        if self._buffered > self._buffered_max:
            self._spill()

    def _spill(self) -> None:
        if self._scratch is None:
            self._scratch = self._open_scratch()
        position = self._scratch.seek(0, 2)
        pieces: list[bytes] = []
        for keys, offsets, parts in zip(self._keys, self._offsets, self._parts, strict=True):
            if keys:
                pieces.append(_encode((keys, offsets)))
                parts.append((position, len(pieces[-1])))
                position += len(pieces[-1])
                keys.clear()
                offsets.clear()
        self._scratch.write(b"".join(pieces))
        self._buffered = 0

    def superseded(self, found: Offsets) -> Iterator[None]:
        """Adds to ``found`` every offset whose key has a later one, in small steps."""
        for number, parts in enumerate(self._parts):
            newest: dict[bytes, int] = {}
            for position, size_bytes in parts:
                assert self._scratch is not None
                self._scratch.seek(position)
                _compare(*_decode(self._scratch.read(size_bytes)), newest, found)
                yield
            keys, offsets = self._keys[number], self._offsets[number]
            for at in range(0, len(keys), _STEP_KEYS):
                _compare(keys[at : at + _STEP_KEYS], offsets[at : at + _STEP_KEYS], newest, found)
                yield

    def close(self) -> None:
        """Lets go of the scratch file."""
        if self._scratch:
            self._scratch.close()


def _compare(keys: Sequence[bytes], offsets: Sequence[int], newest: dict[bytes, int], found: Offsets) -> None:
    for key, offset in zip(keys, offsets, strict=True):
        other = newest.get(key)
        if other is None:
            newest[key] = offset
        elif other < offset:
            found.add(other)
            newest[key] = offset
        else:
            found.add(offset)
