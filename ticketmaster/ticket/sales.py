"""Whether an event sells now, as far as this process knows: what would be refused anyway is refused before it costs anything.

By this process's clock and its copy of the events. The reservation role decides for good, by the time of the record.
"""

from __future__ import annotations

from collections.abc import Mapping

from ticketmaster.broker.partitioner import partition_of
from ticketmaster.clock import Clock
from ticketmaster.domain.rules import EVENT_CANCELLED, SALE_CLOSED, SALE_NOT_OPEN, SALE_PAUSED, EventRules, refused_by_status
from ticketmaster.ticket import problems
from ticketmaster.ticket.problems import Problem
from ticketmaster.ticket.times import time_json
from ticketmaster.wire.binary import encode_string
from ticketmaster.wire.reservations import read_create
from ticketmaster.wire.user_seats import user_key

_PROBLEMS = {
    SALE_CLOSED: problems.SALE_CLOSED,
    SALE_PAUSED: problems.SALE_PAUSED,
    EVENT_CANCELLED: problems.EVENT_CANCELLED,
}
_NS_PER_MS = 1_000_000
# Answers that are kept: few events are waited for at once.
_NOT_OPEN_MAX = 1_000


class Sales:
    """The events that do not simply sell."""

    def __init__(self, ruled: Mapping[str, EventRules], partitions: int, clock: Clock) -> None:
        """``ruled`` are these events, by name."""
        self._ruled = ruled
        self._partitions = partitions
        self._clock = clock
        # Of events that are not open: the answer, while it says the same.
        self._not_open: dict[str, tuple[int, int, Problem]] = {}

    def refusal(self, event_id: str, *, box_office: bool = False) -> Problem | None:
        """Why the event sells nothing now."""
        rules = self._ruled.get(event_id)
        if rules is None:
            return None
        now_ms = self._clock.now_ns() // _NS_PER_MS
        reason = refused_by_status(rules.status, box_office=box_office) or ("" if box_office else rules.refused_by_window(now_ms))
        if reason == SALE_NOT_OPEN:
            return self._opens_in(event_id, rules.opening_ms, -(-(rules.opening_ms - now_ms) // 1000))
        return _PROBLEMS[reason] if reason else None

    def home(self, event_id: str, command: bytes) -> int | None:
        """The partition whose task counts the seats of the user of a ``CreateReservation``; None: nobody does."""
        rules = self._ruled.get(event_id)
        if not rules or not rules.seats_per_user_max:
            return None
        return partition_of(user_key(encode_string(event_id), read_create(command).who), self._partitions)

    def _opens_in(self, event_id: str, opening_ms: int, seconds: int) -> Problem:
        known = self._not_open.get(event_id)
        if known and known[:2] == (opening_ms, seconds):
            return known[2]
        problem = problems.sale_not_open(time_json(opening_ms * _NS_PER_MS), seconds)
        if len(self._not_open) >= _NOT_OPEN_MAX:
            self._not_open.clear()
        self._not_open[event_id] = opening_ms, seconds, problem
        return problem
