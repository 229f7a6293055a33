"""What the books come to: what was counted, and what does not add up, with the records that show it."""

from __future__ import annotations

from typing import NamedTuple


class At(NamedTuple):
    """Where a record is."""

    topic: str
    partition: int
    offset: int


class Example(NamedTuple):
    """One breach of a rule in words, and the records concerned."""

    text: str
    records: tuple[At, ...]


class Finding(NamedTuple):
    """A rule that was broken: how often, and some examples of it."""

    rule: str
    times: int
    examples: list[Example]


class Totals(NamedTuple):
    """What was counted."""

    # All of them, the unreadable and the repeated ones, too.
    commands: int
    # Commands, questions and answers that nobody can read: the roles put them aside.
    unreadable: int
    # Of the commands, those that repeat an id; and answers of areas that were given before, and are the same.
    repeated: int
    answered_again: int
    decisions: int
    reserved: int
    failed: int
    # Of the live ones, and of those that are not any more; and holds that have not ended.
    paid: int
    cancelled: int
    open_holds: int
    # Payments, extensions and cancellations that were asked for, and how many of them were answered more than once.
    changes: int
    changed_again: int
    # Commands that may still be decided, as the sale goes on.
    under_way: int
    areas: int
    seats_sold: int


class AreaReport(NamedTuple):
    """An area of an event: its seats, and what became of the reservations that asked for them."""

    event_id: str
    area_id: str
    capacity: int
    # Seats that are gone by its last status.
    sold: int
    # Live reservations.
    reserved: int
    # Refused reservations by reason.
    failed: dict[str, int]


class Report(NamedTuple):
    """The books, closed.

    ``elsewhere``: refused reservations of areas that don't exist, by reason. ``digest`` is a hash of the last status of each area and
    of each decision: those of equal sales are equal.
    """

    totals: Totals
    areas: list[AreaReport]
    elsewhere: dict[str, int]
    digest: str
    findings: list[Finding]

    @property
    def sound(self) -> bool:
        """Whether it all adds up."""
        return not self.findings
