"""One task of the event role on a store in memory."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support import role
from tests.support.records import area_status
from ticketmaster.broker.port import Pair, TopicPartition
from ticketmaster.event.processor import EventProcessor, event_topology
from ticketmaster.event.stores import against_repeating
from ticketmaster.state.overlay import Overlays
from ticketmaster.state.port import StateTable
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import topics

PARTITION, PARTITIONS = 3, 20
STATUSES = TopicPartition(topics.AREA_STATUS.name, PARTITION)
STORES = tuple(store.name for store in event_topology(PARTITIONS).stores)


class Role:
    """Each call is a transaction of its own."""

    def __init__(self, cached_bytes_max: int = 1 << 20) -> None:
        self._task = role.Role(event_topology(PARTITIONS), PARTITION)
        self.overlays, self.overlay = self._task.overlays, self._task.overlay
        self.processor = EventProcessor(PARTITION, PARTITIONS, cached_bytes_max)

    def run(self, *batches: tuple[topics.Topic, Sequence[Pair]]) -> Outputs:
        """What a transaction of these batches writes; it is then committed."""
        outputs = Outputs()
        for topic, records in batches:
            self.processor.process(topic.name, records, self.overlays, outputs)
        self.processor.end_transaction(self.overlays, outputs)
        return self._task.commit(outputs)

    def open(self, rows: int, cols: int, area: str = "A") -> None:
        """Opens an area in which every seat is free."""
        self.run((topics.AREA_REPARTITION, [(f"show#{area}".encode(), area_status(rows, cols, area=area))]))

    def reserve(self, *values: bytes, area: str = "A") -> list[bytes]:
        """The results of commands to one area, in one transaction."""
        outputs = self.run((topics.RESERVE_SEAT, [(f"show#{area}".encode(), value) for value in values]))
        return [value for source, records in outputs.items() if source != STATUSES for _, value in records if value is not None]

    def status(self, area: str = "A") -> bytes | None:
        """The area as the store has it."""
        return self.overlay.get(f"show#{area}".encode())


def objection(tables: dict[str, StateTable], sources: list[str]) -> str:
    """What speaks against reading again, at the end of the look."""
    look = against_repeating(tables, sources)
    while True:
        try:
            next(look)
        except StopIteration as end:
            return str(end.value)


def tables_of(overlays: Overlays) -> dict[str, StateTable]:
    """The stores as they are restored."""
    return {name: overlay.table for name, overlay in overlays.items()}
