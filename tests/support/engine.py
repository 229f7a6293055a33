"""A small role for tests of the engine: it counts how often each key came, and tells each count."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

from tests.support.storages import GatedStorage
from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.port import NO_RECORD_HEADERS, Batch, Pair, RecordHeaders, TopicPartition, TopicSpec, TransactionalProducer
from ticketmaster.errors import Refused, TaskCorrupted
from ticketmaster.simulation.loop import VirtualClock
from ticketmaster.state.memory import MemoryStores, MemoryTable
from ticketmaster.state.port import Scanned, StateTable, Steps, Update
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.topology import Outputs, Processor, Store, Stores, Topology
from ticketmaster.telemetry.observer import DeadLetter, Observer

PARTITIONS = 2
SETTINGS = StreamSettings(transaction_records_max=5, queued_records_max=10)


COUNTS_STORE = "Counts"


class CountingProcessor(Processor):
    """Counts by key; a key b"fail" is a defect."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._records = 0

    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        state = stores[COUNTS_STORE]
        for key, _ in records:
            if key == b"fail":
                raise RuntimeError("a defect")
            count = b"%d" % (int(state.get(key) or b"0") + 1)
            state.put(key, count)
            outputs[TopicPartition("counts", self._partition)].append((key, count))
            self._records += 1

    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        """Tells which record it was."""
        outputs[TopicPartition("counts", self._partition)].append((record[0], b"given up"))

    def end_transaction(self, stores: Stores, outputs: Outputs) -> None:
        """Tells how many records the transaction had."""
        outputs[TopicPartition("sizes", self._partition)].append((b"size", b"%d" % self._records))
        self._records = 0


class HoldingProcessor(Processor):
    """Holds each key until its value says (in milliseconds of the log's time), then tells that it has ended; some in one piece."""

    PIECE_MAX = 3

    def __init__(self, partition: int) -> None:
        self._told = TopicPartition("counts", partition)
        self._holds: list[tuple[int, bytes]] = []

    @property
    def deadline_ms(self) -> int | None:
        return self._holds[0][0] if self._holds else None

    def restored(self, tables: Mapping[str, StateTable]) -> Steps:
        for key, value in tables[COUNTS_STORE].items():
            self._holds.append((int(value), key))
            yield
        heapify(self._holds)

    def process(self, topic: str, records: Sequence[Pair], stores: Stores, outputs: Outputs) -> None:
        for key, value in records:
            assert value is not None
            stores[COUNTS_STORE].put(key, value)
            heappush(self._holds, (int(value), key))
            outputs[self._told].append((key, b"held at %d" % outputs.time_ms))

    def on_time(self, now_ms: int, stores: Stores, outputs: Outputs) -> None:
        for _ in range(self.PIECE_MAX):
            if not self._holds or self._holds[0][0] > now_ms:
                break
            _, key = heappop(self._holds)
            stores[COUNTS_STORE].put(key, None)
            outputs[self._told].append((key, b"ended"))

    def give_up(self, topic: str, record: Pair, stores: Stores, outputs: Outputs) -> None:
        """Tells which record it was."""
        outputs[self._told].append((record[0], b"given up"))


TOPOLOGY = Topology("counting", ("words", "more-words"), (Store(COUNTS_STORE, "counts-changelog"),), CountingProcessor)
HOLDING = replace(TOPOLOGY, new_processor=HoldingProcessor)
CHANGELOG = TopicPartition("counts-changelog", 0)
WORDS = TopicPartition("words", 0)
MORE_WORDS = TopicPartition("more-words", 0)
COUNTS = TopicPartition("counts", 0)


class Notes(Observer):
    """What the engine told."""

    def __init__(self) -> None:
        self.assigned: list[tuple[int, ...]] = []
        self.restored: list[int] = []
        self.restarted: list[str] = []
        self.migrated: list[str] = []
        self.dropped = 0
        self.lost: list[tuple[str, int]] = []
        self.repeated: list[str] = []
        self.not_written: list[str] = []
        self.letters: list[DeadLetter] = []
        self.failed_reads: list[str] = []

    def reading_failed(self, application_id: str, reason: str) -> None:
        self.failed_reads.append(reason)

    def partitions_assigned(self, application_id: str, partitions: Sequence[int], generation: int) -> None:
        self.assigned.append(tuple(partitions))

    def dead_letters(self, task: str, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    def task_restored(self, task: str, records: int) -> None:
        self.restored.append(records)

    def task_restarted(self, task: str, reason: str) -> None:
        self.restarted.append(reason)

    def task_migrated(self, task: str, reason: str) -> None:
        self.migrated.append(reason)

    def records_dropped(self, application_id: str, topic: str, records: int) -> None:
        self.dropped += records

    def records_lost(self, task: str, topic: str, records: int) -> None:
        self.lost.append((topic, records))

    def records_repeated(self, task: str, sources: str) -> None:
        self.repeated.append(sources)

    def state_not_written(self, task: str, reason: str) -> None:
        self.not_written.append(reason)


class SetClock(VirtualClock):
    """Somebody sets it, or lets the machine sleep, which the loop's time does not count."""

    def __init__(self) -> None:
        self.set_by_s = 0.0
        self.slept_s = 0.0

    def now_ns(self) -> int:
        return self.elapsed_ns() + int(self.set_by_s * 1e9)

    def elapsed_ns(self) -> int:
        return super().now_ns() + int(self.slept_s * 1e9)


class FailingBroker(EmbeddedBroker):
    """Fails commits as it is told: each error of ``failures`` is raised once, before the transaction is written."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.storage = GatedStorage()
        super().__init__(self.storage, self.clock)
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        # Every transaction that counts this word is refused for good.
        self.poison = b""
        # Where logs start, other than where they do.
        self.starts: dict[TopicPartition, int] = {}
        # Where they end by who does not lead any more.
        self.ends: dict[TopicPartition, int] = {}
        self.slow_stop = False
        self.commits: list[dict[TopicPartition, int]] = []
        # What was asked for, and of which partition.
        self.steps: list[tuple[str, int]] = []

    def forget_offsets(self) -> None:
        """As Kafka does with those of a group that was empty for long."""
        for consumed in self._consumed.values():
            consumed.update(dict.fromkeys(consumed))

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return _FailingProducer(super().transactional_producer(transactional_id), self, transactional_id)

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        (partition,) = {source.partition for source in sources}
        self.steps.append(("committed", partition))
        return await super().committed(group, sources)

    async def start_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await super().start_offsets(sources) | {at: start for at, start in self.starts.items() if at in sources}

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        (partition,) = {source.partition for source in sources}
        self.steps.append((f"end of {next(iter(sources)).topic}", partition))
        return await super().end_offsets(sources) | {at: end for at, end in self.ends.items() if at in sources}


class _FailingProducer:
    def __init__(self, producer: TransactionalProducer, broker: FailingBroker, transactional_id: str) -> None:
        self._producer = producer
        self._broker = broker
        self._partition = int(transactional_id.rpartition("-")[2])

    async def start(self) -> None:
        await self._producer.start()
        self._broker.steps.append(("started", self._partition))

    async def commit(
        self,
        outputs: Mapping[TopicPartition, Sequence[Pair]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        headers: RecordHeaders = NO_RECORD_HEADERS,
    ) -> dict[TopicPartition, int]:
        await self._broker.gate.wait()
        if self._broker.poison and (self._broker.poison, b"1") in outputs.get(COUNTS, ()):
            raise Refused("counts: 9 bytes", COUNTS)
        if self._broker.failures:
            raise self._broker.failures.pop(0)
        ends = await self._producer.commit(outputs, offsets, group, headers)
        self._broker.commits.append(dict(offsets))
        return ends

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._producer.committed(group, sources)

    async def ends_of(self, logs: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._producer.ends_of(logs)

    async def stop(self) -> None:
        if self._broker.slow_stop:
            await asyncio.sleep(0.5)
        await self._producer.stop()
        self._broker.steps.append(("stopped", self._partition))


class _FragileTable(MemoryTable):
    def __init__(self, stores: FragileStores) -> None:
        super().__init__()
        self._stores = stores

    def get(self, key: bytes) -> bytes | None:
        self._stores.raise_if_damaged()
        return super().get(key)

    def get_all(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        self._stores.raise_if_damaged()
        return super().get_all(keys)

    def scan(self, after: bytes, part: bytes, rows_max: int) -> Scanned:
        self._stores.raise_if_damaged()
        return super().scan(after, part, rows_max)

    def checkpoint(self) -> int | None:
        self._stores.raise_if_damaged()
        return super().checkpoint()


class FragileStores(MemoryStores):
    """Can be damaged; :meth:`clear` mends it. It is asked about the one store that it has, whatever that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.only = _FragileTable(self)
        self.damaged = False
        self.found = False
        self.cleared = 0
        self.opened = 0
        self.writes: list[int] = []

    def table(self, name: str) -> MemoryTable:
        return self.only

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self.only.items()

    def checkpoint(self) -> int | None:
        return self.only.checkpoint()

    def writing(self, updates: Mapping[str, Update]) -> Steps:
        self.raise_if_damaged()
        yield
        assert self.opened == 1, f"written while it is open {self.opened} times"
        for update in updates.values():
            self.writes.append(update.checkpoint)
            self.only.write(*update)

    def check(self, rows_max: int) -> bool:
        if self.found:
            raise TaskCorrupted("the store is damaged")
        return False

    def clear(self) -> None:
        self.damaged = self.found = False
        self.cleared += 1
        self.only.clear()

    def close(self) -> None:
        self.opened -= 1

    def raise_if_damaged(self) -> None:
        if self.damaged:
            raise TaskCorrupted("the store is damaged")


class NoConsumer:
    """A consumer that notes what it is asked: the test delivers."""

    def __init__(self) -> None:
        self.sought: list[tuple[TopicPartition, int]] = []
        self.paused: list[TopicPartition] = []

    async def poll(self, timeout_ms: int) -> list[Batch]:
        await asyncio.sleep(timeout_ms / 1_000)
        return []

    def seek(self, source: TopicPartition, offset: int) -> None:
        self.sought.append((source, offset))

    def pause(self, source: TopicPartition) -> None:
        self.paused.append(source)

    def behind(self, source: TopicPartition) -> int:
        return 0

    async def stop(self) -> None:
        """Nothing is held."""


async def started_broker() -> FailingBroker:
    """A broker with the role's topics."""
    broker = FailingBroker()
    await broker.start()
    names = ("words", "more-words", "counts", "sizes", "words.dlq")
    await broker.create_topics([*(TopicSpec(name, PARTITIONS) for name in names), TopicSpec(CHANGELOG.topic, PARTITIONS, compacted=True)])
    return broker


def batch(source: TopicPartition, keys: Sequence[bytes], offset: int = 0) -> Batch:
    """A batch of records without values to speak of."""
    offsets = range(offset, offset + len(keys))
    return Batch(source, [(key, b"") for key in keys], offsets, offsets.stop, 0, follows=offset)
