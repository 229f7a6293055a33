"""What the reservation role remembers of the ends of holds, against the reservations that have one; and of cancelled events."""

from __future__ import annotations

from ticketmaster.audit.places import packed, unpacked
from ticketmaster.audit.report import At
from ticketmaster.audit.reservations import Reservations
from ticketmaster.audit.rules import Findings, Rule, text_of
from ticketmaster.broker.port import Batch
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.deadlines import CANCELLING_EVENT, EVENT_KEY, HOLD, event_key, read_deadline

_DEADLINES, _CANCELS = topics.DEADLINE_CHANGELOG.name, topics.CANCEL_EVENT.name


class RememberedHolds:
    """Reads the changelog of the store ``Deadline``."""

    def __init__(self, findings: Findings, reservations: Reservations) -> None:
        self._findings = findings
        self._reservations = reservations
        # Of those that are to come, by the reservation: when a hold ends, or 0, and where that is said.
        self._open: dict[bytes, tuple[int, int]] = {}
        # By partition and event: the first record that tells of its cancellation; and those of which not all is cancelled.
        self._cancels: dict[tuple[int, bytes], At] = {}
        self._cancelling: set[tuple[int, bytes]] = set()

    def take(self, batch: Batch) -> bool:
        """Takes records of its topics; False: the topic is another one."""
        topic, partition = batch.source
        if topic == _CANCELS:
            for offset, (key, _) in zip(batch.offsets, batch.records, strict=True):
                self._cancels.setdefault((partition, event_key(key)), At(topic, partition, offset))
            return True
        if topic != _DEADLINES:
            return False
        for offset, (key, value) in zip(batch.offsets, batch.records, strict=True):
            at = packed(partition, offset)
            if value is None:
                self._open.pop(key, None)
                continue
            try:
                deadline = read_deadline(value)
            except UNREADABLE as reason:
                self._findings.add(Rule.UNREADABLE, f"the deadline of {text_of(key)}: {reason}", unpacked(topic, at))
                continue
            if key.startswith(EVENT_KEY):
                change = self._cancelling.add if deadline.kind == CANCELLING_EVENT else self._cancelling.discard
                change((partition, key))
            self._open[key] = deadline.at_ms if deadline.kind == HOLD else 0, at
        return True

    def is_cancelling(self, partition: int, event_id: bytes) -> bool:
        """Whether the role goes through the reservations of a cancelled event."""
        return (partition, event_key(event_id)) in self._cancelling

    def cancel_of(self, partition: int, event_id: bytes) -> At | None:
        """The record by which the role is told that an event is cancelled."""
        return self._cancels.get((partition, event_key(event_id)))

    def check(self, findings: Findings) -> None:
        """Compares them, now that all are read."""
        rows = self._reservations
        for key, row in rows.rows.items():
            ends_ms = rows.lives.holds_until_ms(row)
            known_ms, at = self._open.get(key, (None, -1))
            if (known_ms or 0) != ends_ms:
                text = f"{text_of(key)}: the hold ends at {ends_ms}, remembered is {known_ms}"
                findings.add(Rule.DEADLINE, text, rows.decision_place(row), unpacked(_DEADLINES, at))
        for key, (ends_ms, at) in self._open.items():
            if ends_ms and key not in rows.rows:
                findings.add(Rule.DEADLINE, f"{text_of(key)} is no reservation", unpacked(_DEADLINES, at))
