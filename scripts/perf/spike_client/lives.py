"""The lives of seats that were sold: whether they were sold again too early, and which of them are free in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import chain
from typing import NamedTuple

import msgspec

from scripts.perf.spike_client.replies import Decision, End, Outcome, Replies
from scripts.perf.spike_client.workload import Fate

FOREVER_US = 1 << 62
# The server's clock counts milliseconds, and may be slewed against the monotonic one of this client.
SLACK_US = 100_000
_HOLD_EXPIRED = "hold_expired"
_STATES = {Fate.PAY: ("PAID", End.PAID), Fate.CANCEL: ("CANCELLED", End.CANCELLED)}
_decode = msgspec.json.Decoder(Decision).decode


class Held(NamedTuple):
    """A reservation that is paid or cancelled: how long ago it was asked for, and how long its seats are held, if not for ever."""

    fate: Fate
    held_us: int
    hold_us: int | None


def hold_us(seconds: int | None) -> int | None:
    """A hold as it is counted here."""
    return None if seconds is None else seconds * 1_000_000


def answered(held: Held, status: int, code: str, body: bytes, reservation_id: str) -> tuple[End, str]:
    """The end that an answer to a payment or cancellation tells of, and the answer's fault, or "".

    A payment may be told that the hold has ended, if it can have. No other refusal is right: nobody else changes the reservation.
    """
    name = held.fate.name
    if status == 409 and code == _HOLD_EXPIRED and held.fate is Fate.PAY:
        if held.hold_us is not None and held.held_us >= held.hold_us - SLACK_US:
            return End.EXPIRED, ""
        return End.UNKNOWN, f"its hold ended {held.held_us / 1e6:.3f} s after it was asked for, too early"
    if status != 200:
        return End.UNKNOWN, f"{name} answered {status} {code}".rstrip()
    try:
        decision = _decode(body)
    except msgspec.MsgspecError as error:
        return End.UNKNOWN, f"malformed reply to {name}: {error}"
    state, end = _STATES[held.fate]
    if decision.reservationId != reservation_id:
        return End.UNKNOWN, f"{name} is answered by reservation {decision.reservationId[:60]}"
    if decision.state != state:
        return End.UNKNOWN, f"{name} is answered by 200 with the state {decision.state[:20]}"
    return end, ""


def asked_us(replies: Replies, number: int) -> int:
    """When a decided request was asked for, or earlier."""
    return replies.decided_at_us[number] - replies.decision_us[number]


class Span(NamedTuple):
    """When a seat was sold at the latest, and when it was given back at the earliest."""

    sold_us: int
    freed_us: int
    owner: int


def span(replies: Replies, number: int, owner: int, fate: Fate, held_us: int | None) -> Span:
    """A reserved request's. A hold counts from the decision, which is never before the request; a cancellation is sent after it."""
    sold_us, end = replies.decided_at_us[number], replies.ends[number]
    if end == End.PAID:
        return Span(sold_us, FOREVER_US, owner)
    freed_us = FOREVER_US if held_us is None else asked_us(replies, number) + held_us - SLACK_US
    return Span(sold_us, min(sold_us, freed_us) if fate is Fate.CANCEL else freed_us, owner)


def conflicts(spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """The owners of one seat who had it at the same time: of each another one before it, in the order of their sales.

    Two go together if one of them can have given the seat back before the other got it.
    """
    earlier: list[Span] = []
    # Of the earlier ones that which keeps the seat longest. Nearly always it is the only one to look at.
    longest: Span | None = None
    for new in sorted(spans, key=lambda one: one.sold_us):
        if longest and (new.sold_us < longest.freed_us or earlier[-1].owner == new.owner):
            other = next((one for one in chain((longest,), earlier) if _at_once(one, new)), None)
            if other:
                yield other.owner, new.owner
        earlier.append(new)
        longest = new if longest is None or new.freed_us > longest.freed_us else longest


def _at_once(one: Span, other: Span) -> bool:
    return one.owner == other.owner or (one.freed_us > other.sold_us and other.freed_us > one.sold_us)


class AtTheEnd(Enum):
    """A sold seat when the maps are looked at."""

    TAKEN = "taken"
    FREE = "free"
    UNKNOWN = "unknown"


def at_the_end(replies: Replies, number: int, held_us: int | None, from_us: int, until_us: int) -> AtTheEnd:
    """A reserved request's seats, while the maps are compared."""
    end = replies.ends[number]
    if end == End.PAID:
        return AtTheEnd.TAKEN
    if end in (End.CANCELLED, End.EXPIRED):
        return AtTheEnd.FREE
    if end == End.UNKNOWN:
        return AtTheEnd.UNKNOWN
    if held_us is None or asked_us(replies, number) + held_us - SLACK_US > until_us:
        return AtTheEnd.TAKEN
    return AtTheEnd.FREE if replies.decided_at_us[number] + held_us <= from_us else AtTheEnd.UNKNOWN


def last_end_us(parts: Sequence[Replies], held_us: int) -> int:
    """When the last hold ends that may be open, at the latest; 0 without one."""
    return max(
        (
            replies.decided_at_us[number] + held_us
            for replies in parts
            for number, outcome in enumerate(replies.outcomes)
            if outcome == Outcome.RESERVED and replies.ends[number] == End.LEFT
        ),
        default=0,
    )
