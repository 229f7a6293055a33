"""The life of a reservation that has its seats: paid, extended, cancelled, expired. Times are milliseconds since 1970."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from ticketmaster.domain.reservation import State
from ticketmaster.domain.rules import EVENT_CANCELLED

HOLD_EXPIRED = "[HOLD_EXPIRED]: the hold ended before a payment"
CANCELLED = "[CANCELLED]: cancelled on request"
REFUNDED = "[REFUNDED]: refunded on request"


class Kind(IntEnum):
    """What is asked for. The values are the positions in the Avro enum."""

    PAY = 0
    CANCEL = 1
    EXTEND = 2


class Change(NamedTuple):
    """What somebody asks of a reservation. ``seconds`` count from the time at which the log took it."""

    change_id: bytes
    kind: Kind
    reference: bytes = b""
    seconds: int = 0
    # Whether a paid reservation may be cancelled.
    refund: bool = False


class ChangeRefusal:
    """Why a change did nothing: what the answer says as its code."""

    HOLD_EXPIRED = "hold_expired"
    HOLD_LIMIT = "hold_limit"
    ALREADY_PAID = "already_paid"
    CANCELLED = "reservation_cancelled"
    FAILED = "reservation_failed"
    EVENT_CANCELLED = "event_cancelled"


_ENDED_BY = {HOLD_EXPIRED: ChangeRefusal.HOLD_EXPIRED, EVENT_CANCELLED: ChangeRefusal.EVENT_CANCELLED}


class Life(NamedTuple):
    """What a reservation has besides what was asked for and given; 0 and nothing where it has none."""

    hold_expires_ms: int = 0
    # However often it is extended.
    hold_expires_max_ms: int = 0
    payment_reference: bytes = b""
    # The last change that was worked off, and why it did nothing.
    change_id: bytes = b""
    change_refusal: bytes = b""


NO_LIFE = Life()


class Moved(NamedTuple):
    """Where a reservation stands after a change, and whether its seats are free from now on."""

    state: State
    reason: str
    life: Life
    frees: bool = False


# What may become of a decided reservation, as it is counted.
CHANGES = ("paid", "extended", "cancelled", "refunded", "expired", "refused")


def change_name(kind: Kind, before: State, moved: Moved) -> str:
    """The name of what a change came to, one of :data:`CHANGES`."""
    if moved.reason == HOLD_EXPIRED and before is State.RESERVED:
        return "expired"
    if moved.life.change_refusal:
        return "refused"
    if kind is Kind.CANCEL:
        return "refunded" if moved.reason == REFUNDED else "cancelled"
    return "paid" if kind is Kind.PAY else "extended"


def is_over(state: State, life: Life, time_ms: int) -> bool:
    """Whether the hold of a reservation has ended at this time of its log. The instant itself is no part of the hold."""
    return state is State.RESERVED and 0 < life.hold_expires_ms <= time_ms


def expired(life: Life) -> Moved:
    """A reservation whose hold is over."""
    return Moved(State.CANCELLED, HOLD_EXPIRED, _unheld(life), frees=True)


def ended_by_event(state: State, life: Life) -> Moved | None:
    """A reservation whose event is cancelled; None: it was over before."""
    if state in (State.FAILED, State.CANCELLED):
        return None
    # Of one that is undecided its area was asked: seats that it gives nevertheless are given back when they come.
    return Moved(State.CANCELLED, EVENT_CANCELLED, _unheld(life), frees=state is not State.PROCESSING)


def changed(change: Change, state: State, reason: str, life: Life, time_ms: int, *, event_is_cancelled: bool = False) -> Moved | None:
    """What a change that the log took at ``time_ms`` makes of a reservation; None: it has no decision that could be changed.

    What comes to nothing is answered, too: with the reservation as it is, and with why. A change that comes again is answered as it was.
    """
    if life.change_id == change.change_id:
        return Moved(state, reason, life)
    pays = change.kind is Kind.PAY and state is State.RESERVED
    if pays and not event_is_cancelled and not is_over(state, life, time_ms):
        return Moved(State.PAID, "", Life(0, 0, change.reference, change.change_id))
    # Not by _replace, which takes four times as long: each payment makes some of these.
    life = Life(life.hold_expires_ms, life.hold_expires_max_ms, life.payment_reference, change.change_id)
    if event_is_cancelled and (ended := ended_by_event(state, life)):
        return ended if change.kind is Kind.CANCEL else _refused(ended, ChangeRefusal.EVENT_CANCELLED)
    if is_over(state, life, time_ms):
        moved = expired(life)
        return moved if change.kind is Kind.CANCEL else _refused(moved, ChangeRefusal.HOLD_EXPIRED)
    as_it_is = Moved(state, reason, life)
    if change.kind is Kind.CANCEL:
        return _cancelled(change, as_it_is)
    if state is State.PROCESSING:
        return None
    if state is State.RESERVED:
        return _extended(change, as_it_is, time_ms)
    if state is State.PAID:
        is_repeated = change.kind is Kind.PAY and change.reference == life.payment_reference
        return as_it_is if is_repeated else _refused(as_it_is, ChangeRefusal.ALREADY_PAID)
    if state is State.FAILED:
        return _refused(as_it_is, ChangeRefusal.FAILED)
    return _refused(as_it_is, _ENDED_BY.get(reason, ChangeRefusal.CANCELLED))


def _unheld(life: Life) -> Life:
    return Life(0, 0, life.payment_reference, life.change_id, life.change_refusal)


def _refused(moved: Moved, refusal: str) -> Moved:
    return moved._replace(life=moved.life._replace(change_refusal=refusal.encode()))


def _extended(change: Change, now: Moved, time_ms: int) -> Moved:
    life, wanted_ms = now.life, time_ms + change.seconds * 1000
    # What is held for ever, or longer than asked for, is extended already.
    if not life.hold_expires_ms or wanted_ms <= life.hold_expires_ms:
        return now
    if wanted_ms > life.hold_expires_max_ms:
        return _refused(now, ChangeRefusal.HOLD_LIMIT)
    return now._replace(life=life._replace(hold_expires_ms=wanted_ms))


def _cancelled(change: Change, now: Moved) -> Moved:
    life = _unheld(now.life)
    if now.state is State.PROCESSING:
        # Its area was asked: seats that it gives nevertheless are given back when they come.
        return Moved(State.CANCELLED, CANCELLED, life)
    if now.state is State.RESERVED:
        return Moved(State.CANCELLED, CANCELLED, life, frees=True)
    if now.state is State.PAID:
        return Moved(State.CANCELLED, REFUNDED, life, frees=True) if change.refund else _refused(now, ChangeRefusal.ALREADY_PAID)
    return now if now.state is State.CANCELLED else _refused(now, ChangeRefusal.FAILED)
