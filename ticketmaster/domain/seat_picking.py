"""The decision itself: which seats a reservation gets, all or nothing.

Each function takes the seats or says why not; ``key`` is ``<event>#<area>``, the name the messages carry.
"""

from __future__ import annotations

from collections.abc import Sequence

from ticketmaster.domain.reservation import ErrorCode, Refusal
from ticketmaster.domain.seat_map import SeatMap

UNKNOWN_TYPE = Refusal(ErrorCode.INVALID_ARGUMENT, "INVALID reservation strategy is not implemented")


def unknown_area(key: str) -> Refusal:
    """The answer to a reservation in an area that nobody created."""
    return Refusal(ErrorCode.INVALID_EVENT_AREA, f"{key} event area does not exist")


def pick_random(seats: SeatMap, count: int, key: str) -> tuple[int, int] | Refusal:
    """RANDOM: takes the first run of ``count`` adjacent free seats and returns where it starts, (row, col)."""
    if count < 1:
        return Refusal(ErrorCode.INVALID_ARGUMENT, f"{count} continuous seats is invalid")
    start = seats.find_run(count)
    if start is None:
        event, _, area = key.partition("#")
        return Refusal(ErrorCode.NOT_AVAILABLE, f"no continuous {count} seats at area {area} in event {event}")
    seats.take_run(*start, count)
    return start


def pick_chosen(seats: SeatMap, chosen: Sequence[tuple[int, int]], key: str) -> Refusal | None:
    """SELF_PICK: takes exactly the ``chosen`` (row, col) seats; None means they were taken."""
    if not chosen:
        return Refusal(ErrorCode.INVALID_ARGUMENT, "no seat was picked")
    if len(set(chosen)) < len(chosen):
        return Refusal(ErrorCode.INVALID_ARGUMENT, "a seat was picked twice")
    for row, col in chosen:
        if not seats.has(row, col):
            return Refusal(ErrorCode.INVALID_SEAT, f"{key} ({row}, {col}) is not a valid seat.")
        if not seats.is_free(row, col):
            return Refusal(ErrorCode.NOT_AVAILABLE, f"{key} ({row}, {col}) is unavailable.")
    seats.take(chosen)
    return None
