"""Batches of records as a log has them."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from ticketmaster.broker.port import Headers

TRACED: Headers = [("traceparent", b"00-1-1-01")]


def written(offsets: Sequence[int], codec: int = 0, times_ms: Sequence[int] = ()) -> bytes:
    """A batch as the log has it, of records at these offsets; the second one has a header."""
    builder = DefaultRecordBatchBuilder(
        2, codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1 << 20
    )
    for number, offset in enumerate(offsets):
        builder.append(
            offset, times_ms[number] if times_ms else 1_000, key=b"k%d" % offset, value=b"v", headers=TRACED if number == 1 else []
        )
    return bytes(builder.build())
