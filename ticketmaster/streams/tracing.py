"""Records that are traced, among those that are not: each is decided alone, so that what comes of it is known."""

from __future__ import annotations

from ticketmaster.broker.port import Batch
from ticketmaster.streams.topology import Outputs, Processor, Stores
from ticketmaster.telemetry.tracing import NOT_TRACED, Kind, Span, Tracer


def process_traced(processor: Processor, batch: Batch, stores: Stores, outputs: Outputs, tracer: Tracer) -> list[Span]:
    """Processes a batch as :meth:`Processor.process` does, in the same order; returns a span for each traced record, which is over.

    The records that it makes of a traced one carry that span's headers.
    """
    spans = []
    done = 0
    for at in sorted(batch.headers):
        _process(processor, batch, done, at, stores, outputs)
        done = at + 1
        if not outputs.left:
            spans.append(_decide(processor, batch, at, stores, outputs, tracer))
    _process(processor, batch, done, len(batch.records), stores, outputs)
    return [span for span in spans if span is not NOT_TRACED]


def _decide(processor: Processor, batch: Batch, at: int, stores: Stores, outputs: Outputs, tracer: Tracer) -> Span:
    source = batch.source
    before = {partition: len(records) for partition, records in outputs.items()}
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": source.topic,
        "messaging.destination.partition.id": str(source.partition),
        "messaging.kafka.offset": batch.offsets[at],
        "messaging.kafka.message.key": batch.records[at][0].decode("utf-8", "replace"),
    }
    span = tracer.start(f"decide {source.topic}", Kind.CONSUMER, batch.headers[at], attributes)
    rejected = len(outputs.rejected)
    _process(processor, batch, at, at + 1, stores, outputs)
    span.end(outputs.rejected[-1][1] if len(outputs.rejected) > rejected else "")
    if span is not NOT_TRACED:
        for partition, records in outputs.items():
            for place in range(before.get(partition, 0), len(records)):
                outputs.headers.setdefault(partition, {})[place] = span.headers
    return span


def _process(processor: Processor, batch: Batch, start: int, end: int, stores: Stores, outputs: Outputs) -> None:
    """A part of the batch, unless the rest was left; what it rejects or leaves is noted by its place in the whole."""
    if start == end or outputs.left:
        return
    rejected = len(outputs.rejected)
    processor.process(batch.source.topic, batch.records[start:end], stores, outputs)
    if outputs.left:
        at, rest = outputs.left
        outputs.leave(start + at, rest)
    outputs.rejected[rejected:] = [(start + at, reason) for at, reason in outputs.rejected[rejected:]]
