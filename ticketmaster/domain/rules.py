"""The rules of an event: when it sells, whether it sells now, how many seats a user may have. Times are milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, NamedTuple


class Status(IntEnum):
    """Whether an event sells. The values are the positions in the Avro enum."""

    OPEN = 0
    PAUSED = 1
    CLOSED = 2
    CANCELLED = 3


SALE_NOT_OPEN: Final = "[SALE_NOT_OPEN]: the sale has not begun"
SALE_CLOSED: Final = "[SALE_CLOSED]: the sale is over"
SALE_PAUSED: Final = "[SALE_PAUSED]: the sale is paused"
EVENT_CANCELLED: Final = "[EVENT_CANCELLED]: the event is cancelled"
RULES_UNKNOWN: Final = "[RULES_UNKNOWN]: the rules of the event were not known, or have changed; try again"
USER_LIMIT: Final = "[USER_LIMIT]: the user would have more seats of the event than a user may have"
USER_LIMIT_ELSEWHERE: Final = "[USER_LIMIT]: an id of another partition, where nobody counts the seats of this user; ask a gateway for one"
# What a rule may say to a reservation: why it has failed, or is cancelled.
REASONS: Final = (SALE_NOT_OPEN, SALE_CLOSED, SALE_PAUSED, EVENT_CANCELLED, RULES_UNKNOWN, USER_LIMIT, USER_LIMIT_ELSEWHERE)
_BY_STATUS: Final = {
    Status.OPEN: "",
    Status.PAUSED: SALE_PAUSED,
    Status.CLOSED: SALE_CLOSED,
    Status.CANCELLED: EVENT_CANCELLED,
}


def refused_by_status(status: Status, *, box_office: bool = False) -> str:
    """Why an event of this status sells nothing; "": it does. A box office sells unless it is cancelled."""
    return "" if box_office and status is not Status.CANCELLED else _BY_STATUS[status]


class EventRules(NamedTuple):
    """What holds for an event; 0 and nothing where it has none."""

    artist: str = ""
    opening_ms: int = 0
    closing_ms: int = 0
    start_ms: int = 0
    end_ms: int = 0
    hold_seconds: int = 0
    hold_seconds_max: int = 0
    seats_per_user_max: int = 0
    status: Status = Status.OPEN
    # Counts the changes from 1; 0: it has no rules.
    revision: int = 0
    # A reservation must have been found right by this revision or a later one before its area gives seats; 0: it need not.
    checked_revision: int = 0
    # The last change that was worked off, and why it did nothing.
    change_id: str = ""
    change_refusal: str = ""

    @property
    def has_window(self) -> bool:
        """Whether it sells between two times only. Equal ones are no window."""
        return self.opening_ms < self.closing_ms

    @property
    def are_checked(self) -> bool:
        """Whether reservations must be looked at before their area is asked: the area knows neither times nor users."""
        return self.has_window or self.seats_per_user_max > 0

    @property
    def any(self) -> bool:
        """Whether a new event has any."""
        return self.are_checked or self.hold_seconds > 0

    def refused_by_window(self, time_ms: int) -> str:
        """Why nothing is sold at this time; "": it is. The opening is part of the window, the closing is not."""
        if not self.has_window:
            return ""
        if time_ms < self.opening_ms:
            return SALE_NOT_OPEN
        return SALE_CLOSED if time_ms >= self.closing_ms else ""

    def refused_at(self, time_ms: int) -> str:
        """Why nothing is sold at this time, whatever the reason; "": it is."""
        return _BY_STATUS[self.status] or self.refused_by_window(time_ms)


NO_RULES: Final = EventRules()
ANY_REVISION: Final = -1


class ChangeRefusal:
    """Why a change of an event did nothing."""

    REVISION: Final = "revision_conflict"
    WINDOW: Final = "invalid_window"
    HOLD: Final = "invalid_hold"
    CANCELLED: Final = "event_cancelled"


class EventChange(NamedTuple):
    """What somebody asks of an event."""

    change_id: str
    event_id: str
    # The only one that it may change; ANY_REVISION: whichever it is.
    revision: int
    # New values by the names of EventRules' fields, those that may be changed.
    values: Mapping[str, Any]


# The fields of EventRules that may be changed, and what they are called in records and in JSON.
CHANGEABLE: Final = {
    "artist": "artist",
    "opening_ms": "reservationOpeningTime",
    "closing_ms": "reservationClosingTime",
    "start_ms": "eventStartTime",
    "end_ms": "eventEndTime",
    "hold_seconds": "holdSeconds",
    "hold_seconds_max": "holdSecondsMax",
    "seats_per_user_max": "seatsPerUserMax",
    "status": "status",
}


def announced(rules: EventRules, time_ms: int) -> EventRules:
    """The rules of a new event, announced at this time. A window that is over by then is none: nobody announces a sale that has ended."""
    if rules.has_window and rules.closing_ms <= time_ms:
        rules = rules._replace(opening_ms=0, closing_ms=0)
    return rules._replace(revision=1, checked_revision=1 if rules.are_checked else 0)


def changed(rules: EventRules, change: EventChange) -> EventRules:
    """What a change makes of rules. What comes to nothing is answered, too: with the rules as they are, and why."""
    if rules.change_id == change.change_id:
        return rules
    asked = rules._replace(change_id=change.change_id, change_refusal="")
    if refusal := _refusal(rules, change):
        return asked._replace(change_refusal=refusal)
    new = asked._replace(**_whole(rules, change.values))
    if new._replace(change_id="", change_refusal="") == rules._replace(change_id="", change_refusal=""):
        return new
    if new.opening_ms > new.closing_ms:
        return asked._replace(change_refusal=ChangeRefusal.WINDOW)
    if not new.hold_seconds <= new.hold_seconds_max or (new.hold_seconds_max and not new.hold_seconds):
        return asked._replace(change_refusal=ChangeRefusal.HOLD)
    revision = rules.revision + 1
    checked_revision = revision if _checked(new) != _checked(rules) else rules.checked_revision
    return new._replace(revision=revision, checked_revision=checked_revision if new.are_checked else 0)


def _whole(rules: EventRules, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values, with the longest hold that goes with another one, if that is all that was given."""
    if "hold_seconds" not in values or "hold_seconds_max" in values:
        return values
    seconds = values["hold_seconds"]
    return {**values, "hold_seconds_max": max(seconds, rules.hold_seconds_max) if seconds else 0}


def _refusal(rules: EventRules, change: EventChange) -> str:
    if change.revision not in (ANY_REVISION, rules.revision):
        return ChangeRefusal.REVISION
    is_cancelled, cancels = rules.status is Status.CANCELLED, change.values.get("status") is Status.CANCELLED
    return ChangeRefusal.CANCELLED if is_cancelled and not cancels else ""


def _checked(rules: EventRules) -> tuple[int, int, int]:
    """What reservations are looked at for."""
    window = (rules.opening_ms, rules.closing_ms) if rules.has_window else (0, 0)
    return (*window, rules.seats_per_user_max)
