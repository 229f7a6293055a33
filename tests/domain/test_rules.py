"""The rules of an event, as plain values."""

from __future__ import annotations

from typing import Any

import pytest

from ticketmaster.domain.rules import (
    ANY_REVISION,
    EVENT_CANCELLED,
    NO_RULES,
    SALE_CLOSED,
    SALE_NOT_OPEN,
    SALE_PAUSED,
    ChangeRefusal,
    EventChange,
    EventRules,
    Status,
    announced,
    changed,
    refused_by_status,
)

WINDOW = EventRules(opening_ms=1_000, closing_ms=2_000)


def asked(change_id: str = "c1", revision: int = ANY_REVISION, **values: object) -> EventChange:
    return EventChange(change_id, "show", revision, values)


@pytest.mark.parametrize(
    ("time_ms", "reason"), [(0, SALE_NOT_OPEN), (999, SALE_NOT_OPEN), (1_000, ""), (1_999, ""), (2_000, SALE_CLOSED), (9_000, SALE_CLOSED)]
)
def test_an_event_with_a_window_sells_from_its_opening_to_before_its_closing(time_ms: int, reason: str) -> None:
    assert WINDOW.refused_at(time_ms) == reason


@pytest.mark.parametrize("at_ms", [0, 1_000])
def test_equal_times_are_no_window(at_ms: int) -> None:
    rules = EventRules(opening_ms=at_ms, closing_ms=at_ms)

    assert not rules.has_window
    assert not announced(rules, 0).any
    assert [rules.refused_at(time_ms) for time_ms in (0, at_ms, 9_000)] == ["", "", ""]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(Status.OPEN, ""), (Status.PAUSED, SALE_PAUSED), (Status.CLOSED, SALE_CLOSED), (Status.CANCELLED, EVENT_CANCELLED)],
)
def test_an_event_sells_by_its_status(status: Status, reason: str) -> None:
    assert WINDOW._replace(status=status).refused_at(1_500) == reason
    assert refused_by_status(status) == reason
    assert refused_by_status(status, box_office=True) == (EVENT_CANCELLED if status is Status.CANCELLED else "")


@pytest.mark.parametrize(
    ("rules", "checked"), [(WINDOW, 1), (EventRules(seats_per_user_max=4), 1), (EventRules(hold_seconds=60, hold_seconds_max=60), 0)]
)
def test_a_new_event_with_rules_has_the_first_revision(rules: EventRules, checked: int) -> None:
    new = announced(rules, 0)

    assert new.any
    assert (new.revision, new.checked_revision) == (1, checked)


@pytest.mark.parametrize(("time_ms", "sells"), [(1_999, False), (2_000, True), (9_000, True)])
def test_a_window_that_is_over_when_the_event_is_announced_is_none(time_ms: int, *, sells: bool) -> None:
    new = announced(WINDOW, time_ms)

    assert (new.any, new.refused_at(9_000) == "") == (not sells, sells)


def test_a_change_gives_the_event_a_new_revision() -> None:
    new = changed(announced(WINDOW, 0), asked(start_ms=5_000))

    assert (new.revision, new.start_ms, new.change_id, new.change_refusal) == (2, 5_000, "c1", "")
    assert new.checked_revision == 1, "reservations that were looked at before are as right as they were"


@pytest.mark.parametrize("values", [{"closing_ms": 3_000}, {"seats_per_user_max": 2}, {"opening_ms": 1_500}])
def test_reservations_must_be_looked_at_by_a_changed_window_or_limit(values: dict[str, Any]) -> None:
    assert changed(announced(WINDOW, 0), asked(**values)).checked_revision == 2


def test_nobody_must_look_at_reservations_when_window_and_limit_are_gone() -> None:
    new = changed(announced(WINDOW, 0), asked(opening_ms=2_000))

    assert (new.are_checked, new.checked_revision, new.revision) == (False, 0, 2)


def test_an_event_without_rules_gets_its_first_ones() -> None:
    new = changed(NO_RULES, asked(revision=0, status=Status.PAUSED))

    assert (new.status, new.revision, new.checked_revision) == (Status.PAUSED, 1, 0)


@pytest.mark.parametrize(
    ("rules", "change", "refusal"),
    [
        (announced(WINDOW, 0), asked(revision=2, closing_ms=3_000), ChangeRefusal.REVISION),
        (NO_RULES, asked(revision=1, closing_ms=3_000), ChangeRefusal.REVISION),
        (announced(WINDOW, 0), asked(closing_ms=500), ChangeRefusal.WINDOW),
        (NO_RULES, asked(opening_ms=500), ChangeRefusal.WINDOW),
        (announced(WINDOW, 0), asked(hold_seconds=60, hold_seconds_max=30), ChangeRefusal.HOLD),
        (announced(WINDOW, 0), asked(hold_seconds_max=30), ChangeRefusal.HOLD),
        (WINDOW._replace(status=Status.CANCELLED), asked(status=Status.OPEN), ChangeRefusal.CANCELLED),
        (WINDOW._replace(status=Status.CANCELLED), asked(closing_ms=9_000), ChangeRefusal.CANCELLED),
    ],
)
def test_a_change_that_breaks_a_rule_changes_nothing_and_says_why(rules: EventRules, change: EventChange, refusal: str) -> None:
    assert changed(rules, change) == rules._replace(change_id="c1", change_refusal=refusal)


def test_a_change_that_comes_again_is_not_made_again() -> None:
    once = changed(announced(WINDOW, 0), asked(revision=1, closing_ms=3_000))

    assert changed(once, asked(revision=1, closing_ms=3_000)) is once


def test_a_change_to_what_is_changes_no_revision() -> None:
    rules = announced(WINDOW, 0)

    assert changed(rules, asked(closing_ms=2_000)) == rules._replace(change_id="c1")


def test_an_event_can_be_cancelled_twice() -> None:
    once = changed(WINDOW, asked(status=Status.CANCELLED))

    assert changed(once, asked("c2", status=Status.CANCELLED)) == once._replace(change_id="c2")


@pytest.mark.parametrize(
    ("values", "hold"),
    [
        ({"hold_seconds": 60}, (60, 90)),
        ({"hold_seconds": 120}, (120, 120)),
        ({"hold_seconds": 0}, (0, 0)),
        ({"hold_seconds_max": 200}, (30, 200)),
    ],
)
def test_the_longest_hold_goes_with_a_changed_one(values: dict[str, Any], hold: tuple[int, int]) -> None:
    new = changed(EventRules(hold_seconds=30, hold_seconds_max=90, revision=1), asked(**values))

    assert (new.hold_seconds, new.hold_seconds_max) == hold
