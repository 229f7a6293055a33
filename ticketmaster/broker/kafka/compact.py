"""The three requests of a transaction and their answers by hand, in the form they have nearly always.

``protocol.py`` describes them field by field; what is unusual in an answer (errors, tags, long names) is read by that description.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

_NO_TAGS: Final = b"\x00"
_NULL: Final = b"\x00"
# No errors of single records, no message, no tags.
_FINE: Final = b"\x01\x00\x00"
_ONE_BYTE: Final = 0x80
# An answer begins with its request's number and tags.
_BODY_AT: Final = 5
_INT: Final = Struct(">i")
_ACKS_AND_TIMEOUT: Final = Struct(">hi")
_PRODUCER: Final = Struct(">qhi")
_OFFSET: Final = Struct(">iqi")
_WRITTEN: Final = Struct(">ihqqq")
_MOVED: Final = Struct(">ih")
_ENDED: Final = Struct(">ihqh")
_IDENTITY: Final = Struct(">qh")


# Of a topic: of each partition its records; of each partition an offset, its leader's epoch, and metadata. Tags are none.
Records = tuple[str, Sequence[tuple[int, bytes, object]], object]
Moves = tuple[str, Sequence[tuple[int, int, int, str, object]], object]


class Unusual(Exception):
    """An answer is to be read by its description."""


def _size(size: int) -> bytes:
    """How long something compact is, which is not null."""
    size += 1
    out = bytearray()
    while size >= _ONE_BYTE:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def _string(text: str) -> bytes:
    data = text.encode()
    return _size(len(data)) + data


def encode_produce(transactional_id: str, acks: int, timeout_ms: int, topics: Sequence[Records]) -> bytes:
    """Version 12."""
    parts = [_string(transactional_id), _ACKS_AND_TIMEOUT.pack(acks, timeout_ms), _size(len(topics))]
    for topic, partitions, _ in topics:
        parts += (_string(topic), _size(len(partitions)))
        for partition, records, _ in partitions:
            parts += (_INT.pack(partition), _size(len(records)), records, _NO_TAGS)
        parts.append(_NO_TAGS)
    parts.append(_NO_TAGS)
    return b"".join(parts)


def encode_offsets(names: tuple[str, str], identity: tuple[int, int], generation: int, member: str, topics: Sequence[Moves]) -> bytes:
    """``TxnOffsetCommit``, version 5, of (transactional id, group), by nobody with a fixed id in the group."""
    parts = [*map(_string, names), _PRODUCER.pack(*identity, generation), _string(member), _NULL, _size(len(topics))]
    for topic, partitions, _ in topics:
        parts += (_string(topic), _size(len(partitions)))
        for partition, offset, epoch, metadata, _ in partitions:
            parts += (_OFFSET.pack(partition, offset, epoch), _string(metadata), _NO_TAGS)
        parts.append(_NO_TAGS)
    parts.append(_NO_TAGS)
    return b"".join(parts)


def encode_end(transactional_id: str, identity: tuple[int, int], *, commits: bool) -> bytes:
    """``EndTxn``, version 5."""
    return b"".join((_string(transactional_id), _IDENTITY.pack(*identity), b"\x01" if commits else b"\x00", _NO_TAGS))


class Topics(NamedTuple):
    """The answer to a produce request that was taken."""

    topics: list[tuple[str, list[tuple[int, int, int]]]]


class Moved(NamedTuple):
    """The answer to offsets that were taken."""

    errors: tuple[()] = ()


class Ended(NamedTuple):
    """The answer to the end of a transaction."""

    error_code: int
    producer_id: int
    producer_epoch: int


def _short(frame: bytes, at: int) -> int:
    """A size of one byte."""
    size = frame[at]
    if not 0 < size < _ONE_BYTE:
        raise Unusual
    return size - 1


def _no_tags(frame: bytes, at: int) -> int:
    if frame[at]:
        raise Unusual
    return at + 1


def read_written(frame: bytes) -> Topics:
    """Of version 12. Unusual: something was refused, or there is more in it."""
    at = _no_tags(frame, _BODY_AT - 1)
    count, at = _short(frame, at), at + 1
    topics = []
    for _ in range(count):
        size, at = _short(frame, at), at + 1
        topic, at = frame[at : at + size].decode(), at + size
        partitions, at = _short(frame, at), at + 1
        written = []
        for _ in range(partitions):
            partition, code, offset, _, _ = _WRITTEN.unpack_from(frame, at)
            at += _WRITTEN.size
            if code or frame[at : at + len(_FINE)] != _FINE:
                raise Unusual
            at += len(_FINE)
            written.append((partition, code, offset))
        at = _no_tags(frame, at)
        topics.append((topic, written))
    return Topics(topics)


def read_moved(frame: bytes) -> Moved:
    """Of version 5. Unusual: as of :func:`read_written`."""
    at = _no_tags(frame, _BODY_AT - 1) + _INT.size
    count, at = _short(frame, at), at + 1
    for _ in range(count):
        at += _short(frame, at) + 1
        partitions, at = _short(frame, at), at + 1
        for _ in range(partitions):
            _, code = _MOVED.unpack_from(frame, at)
            if code:
                raise Unusual
            at = _no_tags(frame, at + _MOVED.size)
        at = _no_tags(frame, at)
    return Moved()


def read_ended(frame: bytes) -> Ended:
    """Of version 5. Unusual: as of :func:`read_written`."""
    at = _no_tags(frame, _BODY_AT - 1)
    _, code, producer_id, epoch = _ENDED.unpack_from(frame, at)
    _no_tags(frame, at + _ENDED.size)
    return Ended(code, producer_id, epoch)
