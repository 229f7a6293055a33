"""Patterns of events, and who is let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.ticket.access import EVERYBODY, PROBE, RULES, Caller, EventPattern, Rule, Scope, pattern_of, refusal


@pytest.mark.parametrize(
    ("pattern", "event", "is_one"),
    [
        ("concert", "concert", True),
        ("concert", "concerts", False),
        ("concert*", "concert", True),
        ("concert*", "concert-2027/a b", True),
        ("*-2027", "gala-2027", True),
        ("*-2027", "-2027", True),
        ("*-2027", "2027", False),
        ("a*b*c", "abc", True),
        ("a*b*c", "a-c-b-c", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("*", "", True),
        ("**", "anything\n", True),
        ("a%2Ab", "a*b", True),
        ("a%2Ab", "axb", False),
        ("caf%C3%A9*", "café 1", True),
    ],
)
def test_a_star_stands_for_any_characters(pattern: str, event: str, *, is_one: bool) -> None:
    assert EventPattern(pattern).matches(event) == is_one


@given(st.lists(st.text("ab*\n", max_size=6), min_size=1, max_size=4), st.text("ab\n", max_size=6))
def test_a_pattern_matches_whatever_its_stars_are_replaced_by(parts: list[str], filling: str) -> None:
    fixed = [part.replace("*", "") for part in parts]
    assert pattern_of("*".join(fixed)).matches(filling.join(fixed))


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not EventPattern("*a" * 5_000).matches("a" * 4_999)


def test_a_pattern_that_is_no_text_is_none() -> None:
    with pytest.raises(UnicodeDecodeError):
        EventPattern("%FF")


def test_rules_hold_for_everybody_where_no_token_is_asked_for() -> None:
    assert all(refusal(EVERYBODY, rule) is None for rule in RULES.values())
    assert not EVERYBODY.is_box_office
    assert Caller("till", frozenset({Scope.BOX_OFFICE})).is_box_office
    assert not Caller("till", frozenset({Scope.SELLER})).is_box_office


def test_an_organiser_alone_changes_events() -> None:
    for route in (("PATCH", "/v1/event/{eventId}"), ("DELETE", "/v1/event/{eventId}"), ("POST", "/v1/event")):
        allowed = {scope for scope in Scope if refusal(Caller("x", frozenset({scope})), RULES[route]) is None}
        assert allowed == {Scope.ORGANISER}


def test_nobody_without_scopes_passes_a_rule_that_is_not_open() -> None:
    nobody = Caller("", frozenset(), by_id=False)
    assert [route for route, rule in RULES.items() if not rule.is_open and refusal(nobody, rule) is None] == []
    assert refusal(nobody, PROBE) is None
    assert refusal(nobody, Rule(frozenset(Scope), by_id=True)) is not None
