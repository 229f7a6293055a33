"""The stores of the event role by their names, and what they say against reading commands again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ticketmaster.state.port import StateTable
from ticketmaster.streams.topology import Look
from ticketmaster.wire import topics
from ticketmaster.wire.area_status import AreaHeader
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.holders import CLOSED, read_holder
from ticketmaster.wire.seat_changes import changes_key, read_changes

AREAS, HOLDERS, RULES, EVENTS = "AreaStatus", "Holder", "AreaRules", "Event"
# So many holders are looked at in one go.
_LOOKED_AT_ONCE = 1_000


def against_repeating(tables: Mapping[str, StateTable], sources: Sequence[str]) -> Look:
    """Why commands to take seats must not be read again: the holders of some seats are not known."""
    if topics.RESERVE_SEAT.name not in sources:
        return ""
    taken = held = 0
    try:
        for key, value in tables[AREAS].items():
            area = AreaHeader(value)
            taken += area.rows * area.cols - area.available
            if changes := tables[RULES].get(changes_key(key)):
                since, freed = read_changes(changes)
                taken += len(since) - len(freed)
            yield
        for number, (key, value) in enumerate(tables[HOLDERS].items()):
            held += 0 if value == CLOSED else len(read_holder(key, value)[2])
            if number % _LOOKED_AT_ONCE == 0:
                yield
    except UNREADABLE as reason:
        return f"its state can't be read: {reason}"
    if taken == held:
        return ""
    return (
        f"{taken - held} of {taken} taken seats have no known holder (they were sold by another program, or by an earlier release), so "
        "commands that are read again could take seats again. Stop all roles, run `ticketmaster topics refill`, and start them"
    )
