"""One task of a role on a store in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.support.stores import done
from ticketmaster.broker.port import Pair
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.streams.topology import Outputs, Processor, Topology
from ticketmaster.wire import topics


class Role:
    """A partition of a role. Each call is a transaction of its own."""

    def __init__(self, topology: Topology, partition: int) -> None:
        self._new_processor: Callable[[], Processor] = lambda: topology.new_processor(partition)
        self.processor = self._new_processor()
        self.stores = MemoryStores()
        self.overlays = Overlays(self.stores, tuple(store.name for store in topology.stores))
        self.overlay = next(iter(self.overlays.values()))
        self.position = 0

    def run(self, topic: topics.Topic, records: Sequence[Pair], time_ms: int = 0) -> Outputs:
        """What a transaction of these records writes, which the log took at a time; it is then committed."""
        outputs = Outputs()
        outputs.time_ms = time_ms
        self.processor.process(topic.name, records, self.overlays, outputs)
        self.processor.end_transaction(self.overlays, outputs)
        return self.commit(outputs)

    def on_time(self, now_ms: int) -> Outputs:
        """What a transaction writes that has no records; it is then committed."""
        outputs = Outputs()
        self.processor.on_time(now_ms, self.overlays, outputs)
        self.processor.end_transaction(self.overlays, outputs)
        return self.commit(outputs)

    def commit(self, outputs: Outputs) -> Outputs:
        """Makes all decisions durable."""
        for overlay in self.overlays.values():
            self.position += len(overlay.open_writes)
            overlay.commit(self.position)
        return outputs

    def restart(self) -> None:
        """The task starts over, on what it has written."""
        done(self.overlays.writing_all())
        self.processor = self._new_processor()
        done(self.processor.restored({name: overlay.table for name, overlay in self.overlays.items()}))
