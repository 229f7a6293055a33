"""Tables: the last value of each key of a compacted topic, followed as it grows.

Of an :class:`OwnedTable` each partition lives in one process, which keeps it in a store; a :class:`GlobalTable` is followed whole
by every process, which keeps of it what it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from ticketmaster.broker.port import Broker, Pair, TopicPartition, partitions_of
from ticketmaster.state.overlay import Overlay
from ticketmaster.streams.restoration import restore
from ticketmaster.streams.settings import StreamSettings
from ticketmaster.streams.worker import OpenStore
from ticketmaster.telemetry.observer import Observer


class GlobalTable:
    """Every partition of a topic, from the log's start on; ``apply`` is given the records in order."""

    def __init__(
        self, broker: Broker, topic: str, partitions: int, apply: Callable[[Sequence[Pair]], None], settings: StreamSettings
    ) -> None:
        self._broker = broker
        self._sources = partitions_of(topic, partitions)
        self._apply = apply
        self._settings = settings
        self._behind: dict[TopicPartition, int] | None = None

    @property
    def ready(self) -> bool:
        """Whether it has all that was there when it began."""
        return self._behind is not None and not self._behind

    async def run(self) -> None:
        """Follows the topic until cancelled."""
        ends = await self._broker.end_offsets(self._sources)
        behind = self._behind = {source: end for source, end in ends.items() if end}
        reader = self._broker.reader(dict.fromkeys(self._sources, 0))
        try:
            while True:
                for batch in await reader.poll(self._settings.poll_timeout_ms):
                    self._apply(batch.records)
                    if behind and batch.next_offset >= behind.get(batch.source, batch.next_offset + 1):
                        del behind[batch.source]
        finally:
            await reader.stop()


class OwnedTable:
    """The partitions of a compacted topic that the group assigns to this process, each with a store."""

    def __init__(
        self,
        application_id: str,
        topic: str,
        store: str,
        broker: Broker,
        open_store: OpenStore,
        settings: StreamSettings,
        observer: Observer,
    ) -> None:
        self._application_id = application_id
        self._topic = topic
        self._store = store
        self._broker = broker
        self._open_store = open_store
        self._settings = settings
        self._observer = observer
        self._overlays: dict[int, Overlay] = {}
        self._opening: set[int] = set()
        self._assigned = False
        self._written_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether every partition it owns can be looked up."""
        return self._assigned and not self._opening

    def get(self, partition: int, key: bytes) -> bytes | None:
        """The value of a key of an owned partition; None: it has none, or the partition is not owned (yet)."""
        overlay = self._overlays.get(partition)
        return overlay.get(key) if overlay else None

    async def run(self, on_records: Callable[[Sequence[Pair]], None], on_opened: Callable[[], None]) -> None:
        """Follows the owned partitions until cancelled, then closes them.

        ``on_records`` sees records as soon as they can be looked up; ``on_opened`` is told when many can be at once that it did not
        see, because partitions were opened.
        """
        self._consumer = self._broker.group_consumer(self._application_id, (self._topic,), self)
        try:
            while True:
                for batch in await self._consumer.poll(self._settings.poll_timeout_ms):
                    overlay = self._overlays.get(batch.source.partition)
                    if overlay:
                        overlay.apply(batch.records, batch.next_offset)
                        on_records(batch.records)
                if self._opening:
                    await self._open_assigned()
                    on_opened()
                self._write_behind_if_due()
        finally:
            await self.on_revoked(tuple(self._overlays))
            await self._consumer.stop()

    async def _open_assigned(self) -> None:
        for partition in sorted(self._opening):
            store = self._open_store(self._application_id, self._store, partition)
            source = TopicPartition(self._topic, partition)
            try:
                restored = await restore(self._broker, source, store)
                overlay = self._overlays[partition] = Overlay(store)
            except BaseException:
                store.close()
                raise
            self._observer.task_restored(f"{self._application_id}-{partition}", restored)
            self._opening.discard(partition)
            self._consumer.seek(source, overlay.position or 0)

    def _write_behind_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        aged = now - self._written_at >= self._settings.write_behind_interval_ms / 1000
        for overlay in self._overlays.values():
            if aged or overlay.unwritten >= self._settings.write_behind_records:
                overlay.write_behind()
        if aged:
            self._written_at = now

    def on_assigned(self, partitions: Collection[int], generation: int) -> None:
        """Takes note; the loop opens them."""
        self._observer.partitions_assigned(self._application_id, sorted(partitions), generation)
        self._opening = set(partitions)
        self._assigned = True

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Closes what is owned."""
        self._assigned = False
        self._opening.clear()
        for partition in partitions:
            overlay = self._overlays.pop(partition, None)
            if overlay:
                overlay.close()
