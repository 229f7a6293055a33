"""A reservation's words: its types, its states and their legal moves, and why it may be refused."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class ReservationType(IntEnum):
    """How the seats are chosen. The values are the positions in the Avro enum."""

    SELF_PICK = 0
    RANDOM = 1
    INVALID = 2


class State(IntEnum):
    """Where a reservation stands. The values are the positions in the Avro enum."""

    PROCESSING = 0
    RESERVED = 1
    FAILED = 2
    PAID = 3
    CANCELLED = 4


# Those that have their seats.
LIVE = (State.RESERVED, State.PAID)
LEGAL_MOVES: dict[State, frozenset[State]] = {
    State.PROCESSING: frozenset({State.RESERVED, State.FAILED, State.CANCELLED}),
    State.RESERVED: frozenset({State.PAID, State.CANCELLED}),
    State.FAILED: frozenset(),
    State.PAID: frozenset({State.CANCELLED}),
    State.CANCELLED: frozenset(),
}


class ErrorCode(IntEnum):
    """Why an area refused. The values are the positions in the Avro enum."""

    INVALID_EVENT_AREA = 0
    INVALID_SEAT = 1
    NOT_AVAILABLE = 2
    INTERNAL_ERROR = 3
    INVALID_ARGUMENT = 4


class Refusal(NamedTuple):
    """A refused reservation is a value, never an exception."""

    code: ErrorCode
    message: str


REJECTED_BY_FILTER = "request rejected at cache level"
UNSUPPORTED_TYPE = "INVALID type reservation is not supported"
CANT_BE_WRITTEN = "[INTERNAL_ERROR]: the area can't be asked"


def failed_reason(refusal: Refusal) -> str:
    """The ``failedReason`` of a reservation that an area refused."""
    return f"[{refusal.code.name}]: {refusal.message}"
