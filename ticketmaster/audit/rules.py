"""The rules that a sale keeps, and the list of what breaks them."""

from __future__ import annotations

from enum import StrEnum

from ticketmaster.audit.report import At, Example, Finding

_EXAMPLES_MAX = 10


class Rule(StrEnum):
    """What is wrong where a rule is broken; the worst first."""

    SEAT_TWICE = "a seat is in two live reservations"
    TOOK_TWICE = "one reservation took seats more than once"
    UNDECIDED = "a command has no decision"
    DECIDED_AGAIN = "a reservation was decided more than once"
    SEATS_GONE = "the seats gone from an area are not those of its live reservations"
    SEAT_FREED = "a seat that was taken is free again, and no reservation had given it back"
    NOT_RELEASED = "seats of a cancelled reservation have not come back"
    RELEASED_LIVE = "seats were given back that a live reservation has"
    NOT_HELD = "seats were given back that the reservation does not have"
    PAYMENT_UNDONE = "a payment was undone without a refund"
    PAYMENT_LOST = "a payment that the log took before the hold's end was not made"
    PAID_LATE = "a payment that the log took after the hold's end was made"
    HOLD_SHORT = "a hold ended before its instant"
    HOLD_LONG = "a hold lasted longer than it may"
    REFUND = "a paid reservation was cancelled without the right to refund"
    CHANGE_UNANSWERED = "a change of a decided reservation has no answer"
    NO_CHANGE = "a reservation was changed, and nobody had asked for it"
    SOLD_OUTSIDE = "seats were given outside of the window of their event"
    USER_OVER = "a user has more seats than the event allows"
    EVENT_ALIVE = "a reservation of a cancelled event has its seats"
    DEADLINE = "the reservation role does not remember when a hold ends"
    EVENT_RULES = "an area does not keep the rules of its event"
    FREE_SEATS = "the number of free seats in a status is not that of its seats"
    AREA_CHANGED = "an area has changed its size or its price"
    SEAT_COUNT = "a reservation does not have the seats that were asked for"
    ILLEGAL_MOVE = "a reservation moved to a state that it must not move to"
    ALTERED = "a record does not say what its reservation's other records say"
    DECISION_COPY = "a decision is not what the reservation role has in its changelog"
    DECISION_ANSWER = "a decision is not what the area answered"
    NO_COMMAND = "a reservation was made without a command"
    ASKED_AGAIN = "an area was asked more than once for one reservation"
    ANSWERED_AGAIN = "an area answered twice for one reservation, and not the same"
    HOLDER = "the event role does not remember what it answered"
    NOT_ASKED = "an area answered for a reservation that it was not asked for"
    AREA_COPY = "an area's last status is not what the event role has in its changelog"
    AREA_HISTORY = "an area's statuses are not the history of the event role's changelog"
    NOT_OPENED = "an announced area has no status"
    NOT_ANNOUNCED = "an area has a status and was never announced"
    MISPLACED = "a record does not stand where its key belongs"
    DELETED = "a record of the state was deleted"
    UNREADABLE = "a record can't be read"


class Findings:
    """Collects breaches: all are counted, some kept as examples."""

    def __init__(self) -> None:
        self._times: dict[Rule, int] = {}
        self._examples: dict[Rule, list[Example]] = {}

    def add(self, rule: Rule, text: str, *records: At | None) -> None:
        """A breach in words, and the records that show it, so far as they are known."""
        self._times[rule] = self._times.get(rule, 0) + 1
        examples = self._examples.setdefault(rule, [])
        if len(examples) < _EXAMPLES_MAX:
            examples.append(Example(text, tuple(record for record in records if record)))

    def copy(self) -> Findings:
        """As of now."""
        other = Findings()
        other._times = dict(self._times)
        other._examples = {rule: list(examples) for rule, examples in self._examples.items()}
        return other

    def listed(self) -> list[Finding]:
        """Every broken rule, the worst first."""
        return [Finding(str(rule), self._times[rule], self._examples[rule]) for rule in Rule if rule in self._times]


def text_of(key: bytes) -> str:
    """A key for people, whatever its bytes are."""
    return key.decode(errors="backslashreplace")
