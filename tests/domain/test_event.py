"""The rules a new event must keep."""

from __future__ import annotations

import pytest

from ticketmaster.domain.event import Area, EventLimits, area_key, event_violation, name_violation

LIMITS = EventLimits()
A = Area("A", 10, 2, 3)


def code_of(name: str = "show", artist: str = "", areas: tuple[Area, ...] = (A,), limits: EventLimits = LIMITS) -> str | None:
    """The code of the first rule that an event breaks."""
    broken = event_violation(name, artist, areas, limits)
    return broken.code if broken else None


def test_an_areas_key_is_event_and_area_with_a_separator() -> None:
    assert area_key("show", "A") == "show#A"


@pytest.mark.parametrize(
    ("name", "artist", "areas"),
    [
        ("show", "", ()),
        ("show", "Golden Gate", (A,)),
        ("n" * 255, "a" * 255, (Area("i" * 255, 0, 1, 1),)),
        ("東京 zoë / 🎸", "", (A, Area("a", 0, 1, 1))),
        ("show", "", (Area("100,000 seats in a row", 1, 1, 100_000), Area("100,000 rows", 1, 100_000, 1))),
        ("show", "", (Area("a#b", 1, 1, 1),)),
    ],
)
def test_an_event_that_keeps_the_rules_breaks_none(name: str, artist: str, areas: tuple[Area, ...]) -> None:
    assert event_violation(name, artist, areas, LIMITS) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "empty_name"),
        ("n" * 256, "name_too_long"),
        ("é" * 128, "name_too_long"),
        ("a#b", "invalid_event_name"),
        ("#", "invalid_event_name"),
        ("\ud800", "invalid_text"),
        ("sh\ufffdw", "invalid_text"),
    ],
)
def test_a_bad_event_name_is_found(name: str, code: str) -> None:
    assert code_of(name) == code


def test_a_name_is_measured_in_bytes() -> None:
    assert name_violation("userId", "é" * 127, 255) is None
    broken = name_violation("userId", "é" * 128, 255)
    assert broken is not None
    assert broken.message == "userId has 256 bytes, 255 are allowed"


@pytest.mark.parametrize(("artist", "code"), [("a" * 256, "name_too_long"), ("\udfff", "invalid_text")])
def test_a_bad_artist_is_found(artist: str, code: str) -> None:
    assert code_of(artist=artist) == code


@pytest.mark.parametrize(
    ("area", "code"),
    [
        (Area("", 1, 1, 1), "empty_name"),
        (Area("i" * 256, 1, 1, 1), "name_too_long"),
        (Area("\ud800", 1, 1, 1), "invalid_text"),
        (Area("B", 1, 0, 1), "invalid_area_size"),
        (Area("B", 1, 1, 0), "invalid_area_size"),
        # A product of two negatives is positive: each side is looked at.
        (Area("B", 1, -2, -2), "invalid_area_size"),
        (Area("B", 1, 1, 100_001), "area_too_large"),
        (Area("B", 1, 2**31 - 1, 2**31 - 1), "area_too_large"),
        (Area("A", 99, 5, 5), "duplicate_area"),
    ],
)
def test_a_bad_area_is_found(area: Area, code: str) -> None:
    assert code_of(areas=(A, area)) == code


def test_an_event_may_have_as_many_areas_as_the_limit_says_and_not_one_more() -> None:
    areas = tuple(Area(f"a{number}", 1, 1, 1) for number in range(4))

    assert code_of(areas=areas, limits=EventLimits(areas_max=4)) is None
    assert code_of(areas=areas, limits=EventLimits(areas_max=3)) == "too_many_areas"


def test_an_event_may_have_as_many_seats_as_the_limit_says_and_not_one_more() -> None:
    areas = (Area("A", 1, 2, 5), Area("B", 1, 1, 10))

    assert code_of(areas=areas, limits=EventLimits(seats_per_event_max=20)) is None
    assert code_of(areas=areas, limits=EventLimits(seats_per_event_max=19)) == "event_too_large"


def test_the_default_limits_are_those_that_are_announced() -> None:
    assert EventLimits(areas_max=1_000, seats_per_area_max=100_000, seats_per_event_max=10_000_000, name_bytes_max=255) == LIMITS
