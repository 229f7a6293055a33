"""A small role for tests of the engine: it counts how often each key came, and tells each count."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from ticketmaster.broker.embedded.broker import EmbeddedBroker
from ticketmaster.broker.embedded.storage import MemoryStorage
from ticketmaster.broker.port import NO_RECORD_HEADERS, Batch, Pair, RecordHeaders, TopicPartition, TopicSpec, TransactionalProducer
from ticketmaster.errors import TaskCorrupted
from ticketmaster.simulation.loop import VirtualClock
from ticketmaster.state.memory import MemoryStore
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.topology import Outputs, State, Topology
from ticketmaster.telemetry.observer import DeadLetter, Observer

PARTITIONS = 2
SETTINGS = StreamSettings(transaction_records_max=5, queued_records_max=10)


class CountingProcessor:
    """Counts by key; a key b"fail" is a defect."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._records = 0

    def process(self, topic: str, records: Sequence[Pair], state: State, outputs: Outputs) -> None:
        for key, _ in records:
            if key == b"fail":
                raise RuntimeError("a defect")
            count = b"%d" % (int(state.get(key) or b"0") + 1)
            state.put(key, count)
            outputs[TopicPartition("counts", self._partition)].append((key, count))
            self._records += 1

    def end_transaction(self, state: State, outputs: Outputs) -> None:
        """Tells how many records the transaction had."""
        outputs[TopicPartition("sizes", self._partition)].append((b"size", b"%d" % self._records))
        self._records = 0


TOPOLOGY = Topology("counting", ("words", "more-words"), "Counts", "counts-changelog", CountingProcessor)
CHANGELOG = TopicPartition(TOPOLOGY.changelog, 0)
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
        self.letters: list[DeadLetter] = []

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


class FailingBroker(EmbeddedBroker):
    """Fails commits as it is told: each error of ``failures`` is raised once, before the transaction is written."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage(), VirtualClock())
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.commits: list[dict[TopicPartition, int]] = []
        self.steps: list[str] = []

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return _FailingProducer(super().transactional_producer(transactional_id), self)

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self.steps.append("committed")
        return await super().committed(group, sources)

    async def end_offsets(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self.steps.append("end_offsets")
        return await super().end_offsets(sources)


class _FailingProducer:
    def __init__(self, producer: TransactionalProducer, broker: FailingBroker) -> None:
        self._producer = producer
        self._broker = broker

    async def start(self) -> None:
        await self._producer.start()
        self._broker.steps.append("started")

    async def commit(
        self,
        outputs: Mapping[TopicPartition, Sequence[Pair]],
        offsets: Mapping[TopicPartition, int],
        group: str,
        headers: RecordHeaders = NO_RECORD_HEADERS,
    ) -> dict[TopicPartition, int]:
        await self._broker.gate.wait()
        if self._broker.failures:
            raise self._broker.failures.pop(0)
        ends = await self._producer.commit(outputs, offsets, group, headers)
        self._broker.commits.append(dict(offsets))
        return ends

    async def committed(self, group: str, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._producer.committed(group, sources)

    async def stop(self) -> None:
        await self._producer.stop()


class FragileStore(MemoryStore):
    """Can be damaged; :meth:`clear` mends it."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged = False
        self.cleared = 0
        self.opened = 0
        self.writes: list[int] = []

    def get(self, key: bytes) -> bytes | None:
        self._check()
        return super().get(key)

    def checkpoint(self) -> int | None:
        self._check()
        return super().checkpoint()

    def write(self, changes: Mapping[bytes, bytes | None], checkpoint: int) -> None:
        self._check()
        assert self.opened == 1, f"written while it is open {self.opened} times"
        self.writes.append(checkpoint)
        super().write(changes, checkpoint)

    def clear(self) -> None:
        self.damaged = False
        self.cleared += 1
        super().clear()

    def close(self) -> None:
        self.opened -= 1

    def _check(self) -> None:
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
    names = ("words", "more-words", "counts", "sizes")
    await broker.create_topics(
        [*(TopicSpec(name, PARTITIONS) for name in names), TopicSpec(TOPOLOGY.changelog, PARTITIONS, compacted=True)]
    )
    return broker


def batch(source: TopicPartition, keys: Sequence[bytes], offset: int = 0) -> Batch:
    """A batch of records without values to speak of."""
    offsets = range(offset, offset + len(keys))
    return Batch(source, [(key, b"") for key in keys], offsets, offsets.stop, 0)
