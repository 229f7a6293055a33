"""Records to record batches, as they go over the wire: encoded one at a time, for what is refused may have to be made smaller."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from ticketmaster.broker.kafka.private import DefaultRecordBatchBuilder, calc_crc32c, lz4_encode
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.port import Headers, Pair, PlacedHeaders, TopicPartition
from ticketmaster.clock import Clock
from ticketmaster.errors import Refused

_MAGIC: Final = 2
_SEQUENCE_MASK: Final = 0x7FFFFFFF
_CODECS: Final = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
# Where things are in a batch (KIP-98): its length counts from behind itself, its checksum from the attributes on.
_LENGTH_AT, _LENGTH_FROM, _CHECKSUM_AT, _ATTRIBUTES_AT, _RECORDS_AT = 8, 12, 17, 21, 61
# Level 9, aiokafka's, takes four times as long as 1, and saves 2 to 7 bytes in a hundred of our records.
_LZ4_LEVEL: Final = 1


class Identity(NamedTuple):
    """Who writes. Of a transactional id only the newest epoch may."""

    producer_id: int
    epoch: int


NOBODY: Final = Identity(-1, -1)
"""Of whom the broker keeps no numbers: what is sent twice is written twice."""


class EncodedBatch(NamedTuple):
    """A record batch for one partition, ready to be sent, and how many records it has."""

    source: TopicPartition
    records: int
    data: bytes


class Encoder:
    """Makes batches as the settings say."""

    def __init__(self, settings: KafkaSettings, clock: Clock, *, transactional: bool) -> None:
        self._clock = clock
        self._is_transactional = int(transactional)
        self._fast_lz4 = settings.compression == "lz4"
        self._codec = 0 if self._fast_lz4 else _CODECS[settings.compression]
        # A batch must fit a request.
        self._batch_bytes_max = min(settings.batch_bytes_max, settings.request_bytes_max)
        self._request_bytes_max = settings.request_bytes_max

    def encoded(self, unsent: Unsent, identity: Identity, sequence: int) -> EncodedBatch:
        """The next batch; at least one record, however large. Refused: that one fits no request."""
        pairs, headers, first = unsent.pairs, unsent.headers, unsent.sent
        builder = DefaultRecordBatchBuilder(
            _MAGIC,
            self._codec,
            is_transactional=self._is_transactional,
            producer_id=identity.producer_id,
            producer_epoch=identity.epoch,
            base_sequence=sequence,
            batch_size=self._batch_bytes_max,
        )
        append, count, timestamp_ms = builder.append, 0, self._clock.now_ms()
        none: Headers = []
        traced = bool(headers)
        end = first + unsent.batch_records_max
        for key, value in pairs[first:end] if first or end < len(pairs) else pairs:
            if append(count, timestamp_ms, key=key, value=value, headers=headers.get(first + count, none) if traced else none) is None:
                break
            count += 1
        built = builder.build()
        batch = EncodedBatch(unsent.source, count, _compressed(built) if self._fast_lz4 else bytes(built))
        if len(batch.data) > self._request_bytes_max:
            # Of several records a batch is never so large.
            raise refused(batch, unsent, f"max.request.size is {self._request_bytes_max}")
        return batch


def _compressed(built: bytearray) -> bytes:
    """The same batch with its records compressed, where that makes them smaller."""
    records = lz4_encode(bytes(built[_RECORDS_AT:]), _LZ4_LEVEL)
    if len(records) >= len(built) - _RECORDS_AT:
        return bytes(built)
    data = built[:_RECORDS_AT] + records
    (attributes,) = struct.unpack_from(">h", data, _ATTRIBUTES_AT)
    struct.pack_into(">h", data, _ATTRIBUTES_AT, attributes | _CODECS["lz4"])
    struct.pack_into(">i", data, _LENGTH_AT, len(data) - _LENGTH_FROM)
    struct.pack_into(">I", data, _CHECKSUM_AT, calc_crc32c(data[_ATTRIBUTES_AT:]))
    return bytes(data)


class Unsent:
    """Records of one partition on their way: so many are acknowledged, the rest is sent batch after batch."""

    __slots__ = ("batch_records_max", "headers", "pairs", "sent", "source")

    def __init__(self, source: TopicPartition, pairs: Sequence[Pair], headers: PlacedHeaders) -> None:
        self.source = source
        self.pairs = pairs
        self.headers = headers
        self.sent = 0
        self.batch_records_max = len(pairs)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return self.sent == len(self.pairs)

    def passed(self, batch: EncodedBatch) -> None:
        """A batch was acknowledged, or given up."""
        self.sent += batch.records

    def halve(self, batch: EncodedBatch) -> None:
        """A batch was refused for some of its records: from now on each has half as many."""
        self.batch_records_max = max(batch.records // 2, 1)


def after(sequence: int, batch: EncodedBatch) -> int:
    """The number of the batch behind this one."""
    return (sequence + batch.records) & _SEQUENCE_MASK


def refused(batch: EncodedBatch, unsent: Unsent, why: str) -> Refused:
    """Of a batch that is never taken."""
    keys = tuple(key for key, _ in unsent.pairs[unsent.sent : unsent.sent + batch.records])
    source, first = batch.source, keys[0][:100].decode(errors="replace")
    what = f"a record (key {first!r})" if batch.records == 1 else f"{batch.records} records (the first one's key is {first!r})"
    return Refused(f"{source.topic}-{source.partition} will never take {what} of {len(batch.data)} bytes: {why}", source, keys)
