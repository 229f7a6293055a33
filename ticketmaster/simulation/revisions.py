"""The books of changed events: each revision follows the one before, by a change that was asked for and that names it, or names none."""

from __future__ import annotations

from ticketmaster.broker.port import Batch
from ticketmaster.domain.rules import ANY_REVISION, NO_RULES, EventChange, EventRules
from ticketmaster.simulation.journal import Journal
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.events import read_change, read_rules_of


class Revisions:
    """Follows the commands that change events, and what the event role makes of them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._changes: dict[str, EventChange] = {}
        self._last: dict[bytes, EventRules] = {}
        self._artists: dict[tuple[bytes, int], str] = {}

    def take(self, batch: Batch) -> None:
        """A write is durable."""
        if batch.source.topic == topics.CHANGE_EVENT.name:
            for _, value in batch.records:
                try:
                    change = read_change(value or b"")
                except UNREADABLE:
                    continue
                self._changes[change.change_id] = change
        elif batch.source.topic == topics.EVENT.name:
            for key, value in batch.records:
                if value is not None:
                    self._follow(key, read_rules_of(value))

    def _follow(self, key: bytes, new: EventRules) -> None:
        before = self._last.get(key, NO_RULES)
        self._last[key] = new
        self._artists[key, new.revision] = new.artist
        if before is NO_RULES and not new.change_id:
            return
        change = self._changes.get(new.change_id)
        if change is None:
            self._journal.violation(f"{key!r} was changed by {new.change_id}, which nobody has asked for")
        elif new.revision == before.revision:
            if new._replace(change_id="", change_refusal="") != before._replace(change_id="", change_refusal=""):
                self._journal.violation(f"{key!r} has another content of the same revision: {before}, {new}")
        elif new.revision != before.revision + 1 or new.change_refusal:
            self._journal.violation(f"{key!r} goes on from revision {before.revision} to {new.revision}: {new}")
        elif change.revision not in (ANY_REVISION, before.revision):
            self._journal.violation(f"{key!r} was changed at revision {before.revision} by a change of revision {change.revision}")
        elif any(getattr(new, name) != value for name, value in change.values.items()):
            self._journal.violation(f"{key!r} was changed by {change} to {new}")

    def artist(self, event: str, revision: int) -> str | None:
        """The artist of a revision; None: there is no such revision."""
        return self._artists.get((event.encode(), revision))
