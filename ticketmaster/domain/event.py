"""An event (a concert) and its areas, and the rules a new one must keep."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

KEY_SEPARATOR = "#"
# Stands for bytes that were no text: what is called so, no path can name.
_REPLACEMENT = "\ufffd"


class Area(Struct, frozen=True):
    """An area as it is announced. Its key in the system is ``<event>#<areaId>``."""

    area_id: str
    price: int
    row_count: int
    col_count: int


class Event(Struct, frozen=True):
    """An event as it is announced; the times are nanoseconds since 1970."""

    event_name: str
    artist: str
    reservation_opening_ns: int
    reservation_closing_ns: int
    event_start_ns: int
    event_end_ns: int
    areas: tuple[Area, ...] = ()
    # How long an unpaid reservation lasts, and how long at most when it is extended; 0: for ever.
    hold_seconds: int = 0
    hold_seconds_max: int = 0
    # How many seats a user may hold or have paid; 0: any number.
    seats_per_user_max: int = 0


class EventLimits(Struct, frozen=True):
    """How large an event may be."""

    areas_max: int = 1_000
    # The AreaStatus of so many seats stays below a megabyte, Kafka's default limit of a record.
    seats_per_area_max: int = 100_000
    seats_per_event_max: int = 10_000_000
    name_bytes_max: int = 255
    # A week. What is held for longer is no hold.
    hold_seconds_max: int = 604_800
    # What is known of a user is kept in one record.
    seats_per_user_max: int = 1_000


class Violation(Struct, frozen=True):
    """A broken rule: a stable code and a sentence that says what to change."""

    code: str
    message: str


def area_key(event_id: str, area_id: str) -> str:
    """The key of an area's records."""
    return f"{event_id}{KEY_SEPARATOR}{area_id}"


def name_violation(field: str, name: str, bytes_max: int) -> Violation | None:
    """A name is neither empty nor longer than ``bytes_max`` bytes of UTF-8."""
    if not name:
        return Violation("empty_name", f"{field} must not be empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return Violation("invalid_text", f"{field} is not valid Unicode text")
    if size > bytes_max:
        return Violation("name_too_long", f"{field} has {size} bytes, {bytes_max} are allowed")
    return None


def _named_in_paths_violation(field: str, name: str, bytes_max: int) -> Violation | None:
    if _REPLACEMENT in name:
        return Violation("invalid_text", f"{field} holds U+FFFD, which stands for text that was damaged")
    return name_violation(field, name, bytes_max)


def hold_violation(seconds: int, seconds_max: int, limits: EventLimits) -> Violation | None:
    """A hold lasts for a second at least, and may be extended to what it lasts at most."""
    if not 1 <= seconds <= seconds_max <= limits.hold_seconds_max:
        rule = f"1 <= holdSeconds <= holdSecondsMax <= {limits.hold_seconds_max}"
        return Violation("invalid_hold", f"holdSeconds is {seconds} and holdSecondsMax is {seconds_max}, which breaks {rule}")
    return None


def limit_violation(seats: int, limits: EventLimits) -> Violation | None:
    """A user may have a seat at least."""
    if not 1 <= seats <= limits.seats_per_user_max:
        return Violation("invalid_limit_per_user", f"seatsPerUserMax is {seats}, and must be from 1 to {limits.seats_per_user_max}")
    return None


def window_violation(opening: int, closing: int) -> Violation | None:
    """A sale does not close before it opens."""
    if opening > closing:
        return Violation(
            "invalid_window",
            "reservationOpeningTime is behind reservationClosingTime; give both, or neither, and equal ones where there is no window",
        )
    return None


def event_violation(event_name: str, artist: str, areas: Sequence[Area], limits: EventLimits) -> Violation | None:
    """The first rule that a new event breaks, or None."""
    broken = _named_in_paths_violation("eventName", event_name, limits.name_bytes_max)
    if broken:
        return broken
    if KEY_SEPARATOR in event_name:
        return Violation("invalid_event_name", f"eventName must not contain {KEY_SEPARATOR!r}")
    if artist and (broken := name_violation("artist", artist, limits.name_bytes_max)):
        return broken
    if len(areas) > limits.areas_max:
        return Violation("too_many_areas", f"the event has {len(areas)} areas, {limits.areas_max} are allowed")
    seen: set[str] = set()
    for area in areas:
        if broken := _area_violation(area, limits):
            return broken
        if area.area_id in seen:
            return Violation("duplicate_area", f"areaId {area.area_id!r} appears twice")
        seen.add(area.area_id)
    seats = sum(area.row_count * area.col_count for area in areas)
    if seats > limits.seats_per_event_max:
        return Violation("event_too_large", f"the event has {seats} seats, {limits.seats_per_event_max} are allowed")
    return None


def _area_violation(area: Area, limits: EventLimits) -> Violation | None:
    if broken := _named_in_paths_violation("areaId", area.area_id, limits.name_bytes_max):
        return broken
    if area.price < 0:
        return Violation("invalid_price", f"area {area.area_id!r}: price must not be below 0")
    if area.row_count < 1 or area.col_count < 1:
        return Violation("invalid_area_size", f"area {area.area_id!r}: rowCount and colCount must be at least 1")
    seats = area.row_count * area.col_count
    if seats > limits.seats_per_area_max:
        return Violation("area_too_large", f"area {area.area_id!r} has {seats} seats, {limits.seats_per_area_max} are allowed")
    return None
