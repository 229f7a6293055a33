"""Reservations against the rules of their events: nothing is sold outside of a window, and no user has more seats than a user may have."""

from __future__ import annotations

from collections import Counter

from ticketmaster.audit.areas import Areas
from ticketmaster.audit.reservations import BOX_OFFICE, NONE, TOPIC_NAMES, Reservations
from ticketmaster.audit.rules import Findings, Rule, text_of
from ticketmaster.broker.port import BATCH_SPAN_MS
from ticketmaster.domain.reservation import LIVE
from ticketmaster.domain.rules import EventRules
from ticketmaster.wire import topics
from ticketmaster.wire.reservations import read_seats

_COMMAND = TOPIC_NAMES.index(topics.CREATE_RESERVATION.name)


def check_sales(findings: Findings, rows: Reservations, areas: Areas) -> None:
    """Of events whose rules are those that they were announced with: what held for a reservation of others is not known any more."""
    ruled = {number: rules for number, key in enumerate(rows.area_keys) if (rules := areas.unchanged_rules(key)).are_checked}
    if not ruled:
        return
    seats, over = Counter[int](), set[int]()
    for key, row in rows.rows.items():
        of_event = ruled.get(rows.area[row])
        # Of a box office nothing counts, and of a command that retention removed nothing is known.
        if of_event is None or rows.asked_ms[row] in (NONE, BOX_OFFICE):
            continue
        if rows.is_success(row) and _is_outside(of_event, rows.asked_ms[row]):
            text = f"{text_of(key)}: asked for at {rows.asked_ms[row]}, the sale is from {of_event.opening_ms} to {of_event.closing_ms}"
            findings.add(Rule.SOLD_OUTSIDE, text, rows.place(_COMMAND, row), rows.decision_place(row))
        if of_event.seats_per_user_max and rows.decision_state[row] in LIVE and row in rows.seats:
            user = rows.user[row]
            seats[user] += len(read_seats(rows.seats[row], 0)[0])
            if seats[user] > of_event.seats_per_user_max and user not in over:
                over.add(user)
                text = f"{text_of(key)}: its user has more than {of_event.seats_per_user_max} seats"
                findings.add(Rule.USER_OVER, text, rows.place(_COMMAND, row), rows.decision_place(row))


def _is_outside(rules: EventRules, asked_ms: int) -> bool:
    """Whether no role could take a command of this time for one in the window: a role knows the second at least."""
    if not rules.has_window:
        return False
    return asked_ms < rules.opening_ms or asked_ms - asked_ms % BATCH_SPAN_MS >= rules.closing_ms
