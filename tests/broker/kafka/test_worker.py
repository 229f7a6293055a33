"""The engine on a real Kafka: workers of one role come and go under load, and every record counts once."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.consuming import read_batches, read_records, records_of, until
from tests.support.engine import COUNTS_STORE, HoldingProcessor, Notes
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.port import Pair, TopicPartition, TopicSpec
from ticketmaster.state.memory import MemoryStores
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.topology import Outputs, Processor, Store, Stores, Topology
from ticketmaster.streams.worker import StreamWorker

PARTITIONS = 4
RECORDS = 1_200


class Counting(Processor):
    """Counts by key, and tells each count."""

    def __init__(self, output: TopicPartition) -> None:
        self._output = output

    def process(self, _topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        state = stores[COUNTS_STORE]
        for key, _ in records:
            count = b"%d" % (int(state.get(key) or b"0") + 1)
            state.put(key, count)
            outputs[self._output].append((key, count))

    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        """Nothing."""


class Holding(HoldingProcessor):
    """Holds keys, and tells to a topic of this test."""

    def __init__(self, output: TopicPartition) -> None:
        super().__init__(output.partition)
        self._told = output


@pytest.fixture
async def topology(broker: KafkaBroker) -> Topology:
    name = uuid.uuid4().hex
    words, counts, changelog = f"words-{name}", f"counts-{name}", f"changelog-{name}"
    await broker.create_topics(
        [TopicSpec(words, PARTITIONS), TopicSpec(counts, PARTITIONS), TopicSpec(changelog, PARTITIONS, compacted=True)]
    )
    return Topology(name, (words,), (Store(COUNTS_STORE, changelog),), lambda partition: Counting(TopicPartition(counts, partition)))


async def test_over_rebalances_under_load_tasks_are_kept_and_every_record_counts_once(broker: KafkaBroker, topology: Topology) -> None:
    (words,) = topology.sources
    counts = words.replace("words", "counts")
    notes = [Notes() for _ in range(3)]

    def start(number: int) -> asyncio.Task[None]:
        worker = StreamWorker(topology, broker, lambda *_: MemoryStores(), StreamSettings(), notes[number])
        return asyncio.create_task(worker.run())

    async def stop(job: asyncio.Task[None]) -> None:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    async def send() -> None:
        for number in range(RECORDS // PARTITIONS):
            await broker.producer().send({TopicPartition(words, part): [(b"%d" % (number % 7), b"")] for part in range(PARTITIONS)})
            await asyncio.sleep(0.005)

    sending = asyncio.create_task(send())
    first = start(0)
    await until(lambda: len(notes[0].restored) == PARTITIONS, "the first one runs all")
    second = start(1)
    await until(lambda: len(notes[1].restored) == 2, "the second one runs a half")
    third = start(2)
    await until(lambda: len(notes[2].restored) == 1, "the third one runs one")
    await stop(second)
    await until(lambda: sum(map(len, (notes[0].assigned[-1], notes[2].assigned[-1]))) == PARTITIONS, "two share what three had")
    await sending
    sources = [TopicPartition(counts, number) for number in range(PARTITIONS)]
    async with asyncio.timeout(20):
        while sum([len(await read_records(broker, source)) for source in sources]) < RECORDS:
            await asyncio.sleep(0.1)
    found = {source: await read_records(broker, source) for source in sources}
    await stop(first)
    await stop(third)

    for told in found.values():
        seen = Counter[bytes]()
        for key, count in told:
            seen[key] += 1
            assert count == b"%d" % seen[key], "counted twice, or not at all"
        assert seen.total() == RECORDS / PARTITIONS
    # Nobody began a task anew that stayed: each was restored where it came to, and nowhere else.
    moved = PARTITIONS + 2 + 1 + 2
    assert sum(len(each.restored) for each in notes) <= moved
    assert [each.restarted + each.migrated for each in notes] == [[], [], []]


async def test_what_is_due_comes_once_and_without_records(broker: KafkaBroker, topology: Topology) -> None:
    (words,) = topology.sources
    told = [TopicPartition(words.replace("words", "counts"), partition) for partition in range(PARTITIONS)]
    holding = replace(topology, new_processor=lambda partition: Holding(told[partition]))
    notes = Notes()
    worker = StreamWorker(holding, broker, lambda *_: MemoryStores(), StreamSettings(), notes)
    job = asyncio.create_task(worker.run())
    await until(lambda: worker.ready, "it runs all")
    until_ms = b"%d" % (broker.now_ms() + 2_000)
    await broker.producer().send({TopicPartition(words, part): [(b"a", until_ms), (b"b", until_ms)] for part in range(PARTITIONS)})

    async with asyncio.timeout(20):
        while sum([len(await read_records(broker, source)) for source in told]) < 4 * PARTITIONS:
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)
    found = {source: await read_batches(broker, source) for source in told}
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)

    for batches in found.values():
        records = [(key, value and value.partition(b" ")[0]) for key, value in records_of(batches)]
        assert records == [(b"a", b"held"), (b"b", b"held"), (b"a", b"ended"), (b"b", b"ended")]
        (ended_ms,) = {batch.timestamp_ms for batch in batches if batch.records and batch.records[0][1] == b"ended"}
        assert 0 <= ended_ms - int(until_ms) < 5_000
    assert (notes.restarted, notes.migrated) == ([], [])
