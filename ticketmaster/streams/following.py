"""Which offset each source of a partition must deliver next.

A consumer may deliver what it fetched before a seek, a suspension or a restart: whatever it does, only what follows is taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from ticketmaster.broker.port import Batch, Consumer, TopicPartition
from ticketmaster.telemetry.observer import Observer


class Following:
    """The next offset of each source; nothing is taken of a source that was not sought since :meth:`forget`."""

    def __init__(self, consumer: Consumer, application_id: str, observer: Observer) -> None:
        self._consumer = consumer
        self._application_id = application_id
        self._observer = observer
        self._next: dict[TopicPartition, int] = {}
        # Sources that were sought anew because something was missing, and from where.
        self._sought_again: dict[TopicPartition, int] = {}
        self.gap = ""
        """What the log does not have any more, once that is certain: the task must start over, and see where the log starts."""

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Goes on from these offsets, whatever was delivered before."""
        self.gap = ""
        self._sought_again.clear()
        for source, offset in positions.items():
            self._next[source] = offset
            self._consumer.seek(source, offset)

    def forget(self) -> None:
        """Takes nothing until the next :meth:`seek`, and has nothing delivered meanwhile."""
        for source in self._next:
            self._consumer.pause(source)
        self._next.clear()
        self.gap = ""

    def takes(self, batch: Batch) -> bool:
        """Whether a batch follows what was taken; if so, the one behind it is expected from now on."""
        source = batch.source
        expected = self._next.get(source)
        follows = batch.offsets[0] if batch.follows is None else batch.follows
        if follows == expected:
            self._next[source] = batch.next_offset
            return True
        self._observer.records_dropped(self._application_id, source.topic, len(batch.records))
        if expected is not None and follows > expected:
            self._seek_again(source, expected, follows)
        return False

    def _seek_again(self, source: TopicPartition, expected: int, follows: int) -> None:
        # What was fetched before a seek is gone by a seek. If it comes again, the log has no more what should come.
        if self._sought_again.get(source) == expected:
            self.gap = f"{source.topic}-{source.partition} delivers from {follows} on, not from {expected}"
            return
        self._sought_again[source] = expected
        self._consumer.seek(source, expected)
