"""The replies, one column a fact: 51 bytes a request, so that processes can hand over millions of them."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

ID_BYTES = 16
REASONS_MAX = 100
FAULTS_MAX = 20


class Outcome(IntEnum):
    """How a request ended."""

    UNANSWERED = 0  # not sent, or interrupted before its id came
    RESERVED = 1
    REFUSED = 2
    FAILED = 3  # never taken: the server said so, or was not reached
    UNDECIDED = 4  # its id was handed out, and the server never told a decision
    UNKNOWN = 5  # ended in an error before there was an id: it may have been taken
    UNREACHED = 6  # its id was handed out, and nobody answered when its decision was asked for


class End(IntEnum):
    """The end of the seats that a request got."""

    LEFT = 0
    PAID = 1
    CANCELLED = 2
    EXPIRED = 3  # as the answer to a payment says
    UNKNOWN = 4  # nobody answered, or not as the contract has it


# What may have taken seats that no reply tells of.
MAY_HAVE_TAKEN = (Outcome.UNDECIDED, Outcome.UNKNOWN, Outcome.UNREACHED)
NOT_DECIDED = (Outcome.FAILED, *MAY_HAVE_TAKEN)
WITHOUT_ID = (Outcome.UNANSWERED, Outcome.FAILED, Outcome.UNKNOWN)


class Seat(msgspec.Struct, frozen=True, gc=False):
    """A seat, counted from 0."""

    row: int
    col: int


class Decision(msgspec.Struct, gc=False):
    """The reply to GET /v1/reservation/{id}, as far as the client reads it."""

    reservationId: str  # noqa: N815 - names on the wire
    eventId: str  # noqa: N815
    areaId: str  # noqa: N815
    numOfSeats: int  # noqa: N815
    type: str
    seats: list[Seat]
    state: str
    failedReason: str = ""  # noqa: N815


@dataclass(slots=True)
class Replies:
    """One worker's replies. Column i belongs to request i of its share of the workload.

    `first_rows` and `first_cols` say where the run of adjacent seats starts that a RESERVED request got; what is no such
    run stands in `odd_seats`. `decided_at_us` counts from `started_s`. `changed_us` is how long a payment or a cancellation took that was
    answered. `http_replies` counts replies of any status.
    `started_s` and `ended_s` are monotonic.
    """

    outcomes: bytearray
    ids: bytearray
    post_us: array[int]
    decision_us: array[int]
    decided_at_us: array[int]
    first_rows: array[int]
    first_cols: array[int]
    ends: bytearray
    changed_us: array[int]
    odd_seats: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    faults_total: int = 0
    transport_errors: int = 0
    http_replies: int = 0
    cpu_s: float = 0.0
    started_s: float = 0.0
    ended_s: float = 0.0

    def id_text(self, number: int) -> str:
        """The reservation id as the server wrote it: a UUID."""
        digits = self.ids[ID_BYTES * number : ID_BYTES * (number + 1)].hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def fault(self, text: str) -> None:
        """Note a reply that breaks the contract."""
        self.faults_total += 1
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(text)

    def refuse(self, reason: str) -> None:
        """Count a refusal by its reason; a server that makes up reasons must not fill the memory."""
        self.refusals[reason if reason in self.refusals or len(self.refusals) < REASONS_MAX else "other reasons"] += 1


def empty(requests: int) -> Replies:
    """Columns for so many requests, none answered."""
    zeros = bytes(4 * requests)
    return Replies(
        outcomes=bytearray(requests),
        ids=bytearray(ID_BYTES * requests),
        post_us=array("I", zeros),
        decision_us=array("I", zeros),
        decided_at_us=array("Q", bytes(8 * requests)),
        first_rows=array("I", zeros),
        first_cols=array("I", zeros),
        ends=bytearray(requests),
        changed_us=array("I", zeros),
    )


def id_bytes(text: str) -> bytes | None:
    """The 16 bytes of a UUID in its canonical form, None for any other text."""
    if len(text) != 36 or not text.isascii() or text[8] + text[13] + text[18] + text[23] != "----":
        return None
    try:
        value = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return value if len(value) == ID_BYTES else None


def adjacent(seats: list[Seat]) -> bool:
    """Whether the seats are one run in one row, in order."""
    first = seats[0]
    return all(seat.row == first.row and seat.col == first.col + offset for offset, seat in enumerate(seats))
