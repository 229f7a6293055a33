"""Fetch requests and their answers by hand: they are asked all the time, by every client, and name each partition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

VERSION: Final = 11
# A client, no replica, asks; at most so long and so many bytes; read committed or not; no session of incremental fetches.
_HEAD: Final = Struct(">iiiibii")
_NO_REPLICA, _NO_SESSION, _NO_EPOCH, _NO_OFFSET = -1, 0, -1, -1
_COUNT: Final = Struct(">i")
_SHORT: Final = Struct(">h")
# Number, the leader's epoch, from where on, the log's start, bytes.
_ASKED: Final = Struct(">iiqqi")
# Number, error, ends of the log and of what is stable, its start; how many aborted transactions.
_ANSWERED: Final = Struct(">ihqqqi")
_ABORTED: Final = Struct(">qq")
# The replica to be asked instead; bytes of records.
_RECORDS: Final = Struct(">ii")
# The number of the request, throttling in ms, an error of the session, and its number.
_BODY_AT: Final = 4 + 4 + 2 + 4

# (partition, error, high watermark, last stable offset, log start, aborted transactions, preferred replica, records).
Fetched = tuple[int, int, int, int, int, Sequence[tuple[int, int]], int, bytes]


# By topic.
Answer = list[tuple[str, list[Fetched]]]


class Fetch:
    """Version 11; ``topics`` are of (name, [(partition, offset, bytes at most)])."""

    API_KEY, API_VERSION, FLEXIBLE_VERSION = 1, VERSION, False

    def __init__(
        self,
        wait_ms: int,
        bytes_min: int,
        bytes_max: int,
        isolation: int,
        topics: Iterable[tuple[str, list[tuple[int, int, int]]]],
        rack: str,
    ) -> None:
        self._head = _HEAD.pack(_NO_REPLICA, wait_ms, bytes_min, bytes_max, isolation, _NO_SESSION, _NO_EPOCH)
        self._topics = list(topics)
        self._rack = rack

    def encode(self) -> bytes:
        """The body of the request."""
        parts = [self._head, _COUNT.pack(len(self._topics))]
        for topic, partitions in self._topics:
            name = topic.encode()
            parts += (_SHORT.pack(len(name)), name, _COUNT.pack(len(partitions)))
            parts += [_ASKED.pack(partition, _NO_EPOCH, offset, _NO_OFFSET, most) for partition, offset, most in partitions]
        rack = self._rack.encode()
        # No topic is to be forgotten.
        parts += (_COUNT.pack(0), _SHORT.pack(len(rack)), rack)
        return b"".join(parts)

    def answer(self, frame: bytes) -> Answer:
        """The answer in a frame. struct.error: it breaks off."""
        topics: Answer = []
        (count,) = _COUNT.unpack_from(frame, _BODY_AT)
        at = _BODY_AT + _COUNT.size
        for _ in range(count):
            (size,) = _SHORT.unpack_from(frame, at)
            at += _SHORT.size
            topic = frame[at : at + size].decode()
            (partitions,) = _COUNT.unpack_from(frame, at + size)
            at += size + _COUNT.size
            fetched: list[Fetched] = []
            for _ in range(partitions):
                partition, error, end, stable, start, aborted_count = _ANSWERED.unpack_from(frame, at)
                at += _ANSWERED.size
                # -1: none are told.
                behind = at + _ABORTED.size * max(aborted_count, 0)
                aborted = list(_ABORTED.iter_unpack(frame[at:behind]))
                replica, records_size = _RECORDS.unpack_from(frame, behind)
                at = behind + _RECORDS.size
                records = frame[at : at + max(records_size, 0)]
                at += len(records)
                fetched.append((partition, error, end, stable, start, aborted, replica, records))
            topics.append((topic, fetched))
        return topics
