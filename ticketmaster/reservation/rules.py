"""The rules of events as the reservation role knows them: whether a reservation may ask its area for seats, by the time of its command."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ticketmaster.broker.port import Pair
from ticketmaster.domain.rules import EventRules, Status, refused_by_status
from ticketmaster.streams.table import Unreadable
from ticketmaster.wire.binary import UNREADABLE, encode_string
from ticketmaster.wire.events import read_rules_of


class KnownRules:
    """The events that do not simply sell, by their encoded names: the very bytes that a command carries. A copy of ``state.event``.

    It may be old. It decides about a window for good, by the time of the command. The area is told the revision, and refuses one that is
    older than the one it asks for.
    """

    def __init__(self, is_fresh: Callable[[], bool] = lambda: True) -> None:
        """``is_fresh()``: whether every record of a moment ago has come. If not, a sale that is paused here may have been resumed."""
        self.is_fresh = is_fresh
        self.by_name: dict[bytes, EventRules] = {}

    def apply(self, records: Sequence[Pair]) -> list[Unreadable]:
        """Takes records of ``state.event``, and returns those that are none."""
        unreadable = list[Unreadable]()
        for at, (key, value) in enumerate(records):
            name = encode_string(key)
            # An event whose record can't be read has none here: its areas refuse what was looked at by none.
            self.by_name.pop(name, None)
            if value is None:
                continue
            try:
                rules = read_rules_of(value)
            except UNREADABLE as reason:
                unreadable.append((at, f"no Event: {reason}"))
                continue
            if rules.are_checked or rules.status is not Status.OPEN:
                self.by_name[name] = rules
        return unreadable

    def refusal(self, rules: EventRules, time_ms: int, *, box_office: bool) -> str:
        """Why a command that the log took at ``time_ms`` gets no seats; "": it may ask for them."""
        if self.is_fresh() and (refused := refused_by_status(rules.status, box_office=box_office)):
            return refused
        return "" if box_office else rules.refused_by_window(time_ms)
