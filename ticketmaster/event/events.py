"""Events as the event role decides them: announced once, changed in the order in which the log has the changes."""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair, partitions_of
from ticketmaster.domain.event import area_key
from ticketmaster.domain.rules import NO_RULES, EventRules, Status, announced, changed
from ticketmaster.errors import InvalidRecord
from ticketmaster.streams.topology import Outputs, State
from ticketmaster.wire import events, topics
from ticketmaster.wire.area_status import AreaImage
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.rules import area_rules, ruled_area


class Budget:
    """About how much the open transaction will write, and how much it should at most."""

    __slots__ = ("bytes_max", "written_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.written_bytes = 0

    @property
    def is_spent(self) -> bool:
        """Whether the rest is for the next transaction."""
        return self.written_bytes >= self.bytes_max


class Events:
    """The events whose names belong to one partition. Their areas live on all: every partition is told of their rules."""

    def __init__(self, partitions: int, budget: Budget) -> None:
        self._partitions = partitions
        self._repartition = partitions_of(topics.AREA_REPARTITION.name, partitions)
        self._ruled_repartition = partitions_of(topics.RULED_AREA_REPARTITION.name, partitions)
        self._cancels = partitions_of(topics.CANCEL_EVENT.name, partitions)
        self._budget = budget
        # Events whose change the open transaction answers.
        self._answered: set[bytes] = set()

    def end_transaction(self) -> None:
        """Another change of each event may be answered."""
        self._answered.clear()

    def announce(self, records: Sequence[Pair], known: State, outputs: Outputs) -> None:
        """Sends each area of an event to the partition it lives on; what is too much for a transaction is left to the next one.

        A crash in between sends the first areas again, which changes nothing: they are there already. An event's rules stay as they
        were announced first, or are by now. First ones may come to areas that were announced before without any.
        """
        for at, (_, value) in enumerate(records):
            if value is None:
                continue
            try:
                event_id, areas, rules = events.read_announcement(value)
                name, rules = event_id.encode(), announced(rules, outputs.time_ms)
                there = known.get(name)
                if there is not None:
                    rules = events.read_rules_of(there)
            except UNREADABLE as reason:
                outputs.reject(at, f"no CreateEvent, or one whose rules can't be read: {reason}")
                continue
            has_rules = there is not None or rules.any
            if there is None and has_rules:
                known.put(name, events.encode_rules(event_id, rules))
                self._tell(name, rules, outputs)
            kept = area_rules(rules)
            for place, area in enumerate(areas):
                if self._budget.is_spent:
                    outputs.leave(at, events.without_areas(value, place))
                    return
                key = area_key(event_id, area.area_id).encode()
                image = AreaImage.all_free(name, area.area_id.encode(), area.price, area.row_count, area.col_count)
                status = image.value(area.row_count * area.col_count)
                partition = partition_of(key, self._partitions)
                if has_rules:
                    outputs[self._ruled_repartition[partition]].append((key, ruled_area(kept, status)))
                else:
                    outputs[self._repartition[partition]].append((key, status))
                self._budget.written_bytes += len(status)

    def change(self, records: Sequence[Pair], known: State, outputs: Outputs) -> None:
        """Changes events, and answers each change by the event's record, of which a transaction writes one."""
        for at, (key, value) in enumerate(records):
            if value is None:
                continue
            if key in self._answered or self._budget.is_spent:
                outputs.leave(at)
                return
            try:
                change = events.read_change(value)
                if change.event_id.encode() != key:
                    raise InvalidRecord(f"its key is {key!r}")
                there = known.get(key)
                rules = NO_RULES if there is None else events.read_rules_of(there)
            except UNREADABLE as reason:
                outputs.reject(at, f"no ChangeEvent, or one of an event whose rules can't be read: {reason}")
                continue
            new = changed(rules, change)
            if new is not rules:
                known.put(key, events.encode_rules(change.event_id, new))
                self._answered.add(key)
            if new.change_refusal:
                continue
            # Also if it is repeated, or comes to nothing.
            self._tell(key, new, outputs)
            if new.status is Status.CANCELLED:
                cancel = events.encode_cancel(change.event_id)
                for source in self._cancels:
                    outputs[source].append((key, cancel))

    def _tell(self, name: bytes, rules: EventRules, outputs: Outputs) -> None:
        """Tells every partition: nobody knows all areas of an event, and one that is announced opens when its task comes to it."""
        kept = area_rules(rules).encoded()
        for source in self._ruled_repartition:
            outputs[source].append((name, kept))
        self._budget.written_bytes += len(self._ruled_repartition) * (len(name) + len(kept))
