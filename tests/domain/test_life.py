"""Which change makes what of a reservation, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.domain.life import (
    CANCELLED,
    HOLD_EXPIRED,
    NO_LIFE,
    REFUNDED,
    Change,
    Kind,
    Life,
    Moved,
    changed,
    expired,
    is_over,
)
from ticketmaster.domain.reservation import LEGAL_MOVES, State

HELD = Life(hold_expires_ms=10_000, hold_expires_max_ms=20_000)
PAID = Life(payment_reference=b"order-1")
ASKED = b"change-1"
# Any pair of state and life that can be.
PLACES = st.sampled_from(
    [
        (State.PROCESSING, "", NO_LIFE),
        (State.RESERVED, "", NO_LIFE),
        (State.RESERVED, "", HELD),
        (State.FAILED, "[NOT_AVAILABLE]: none left", NO_LIFE),
        (State.PAID, "", PAID),
        (State.CANCELLED, CANCELLED, NO_LIFE),
        (State.CANCELLED, HOLD_EXPIRED, NO_LIFE),
        (State.CANCELLED, REFUNDED, PAID),
    ]
)
CHANGES = st.builds(
    Change, st.just(ASKED), st.sampled_from(Kind), st.sampled_from([b"order-1", b"order-2"]), st.integers(1, 30), st.booleans()
)


def asked(kind: Kind, state: State, life: Life, at_ms: int = 5_000, reason: str = "", **rest: object) -> Moved:
    moved = changed(Change(ASKED, kind, **rest), state, reason, life, at_ms)  # type: ignore[arg-type]
    assert moved
    assert moved.life.change_id == ASKED
    return moved


def test_a_payment_before_the_end_of_the_hold_is_paid_for_good() -> None:
    moved = asked(Kind.PAY, State.RESERVED, HELD, 9_999, reference=b"order-1")

    assert moved == Moved(State.PAID, "", Life(0, 0, b"order-1", ASKED))


@pytest.mark.parametrize("at_ms", [10_000, 10_001, 99_999])
def test_a_payment_at_the_end_of_the_hold_or_later_frees_the_seats(at_ms: int) -> None:
    moved = asked(Kind.PAY, State.RESERVED, HELD, at_ms, reference=b"order-1")

    assert moved == Moved(State.CANCELLED, HOLD_EXPIRED, Life(change_id=ASKED, change_refusal=b"hold_expired"), frees=True)


def test_without_a_hold_a_reservation_can_be_paid_at_any_time() -> None:
    assert asked(Kind.PAY, State.RESERVED, NO_LIFE, 10**15, reference=b"r").state is State.PAID


def test_the_same_payment_again_changes_nothing_and_another_one_is_refused() -> None:
    assert asked(Kind.PAY, State.PAID, PAID, reference=b"order-1") == Moved(State.PAID, "", PAID._replace(change_id=ASKED))
    other = asked(Kind.PAY, State.PAID, PAID, reference=b"order-2")
    assert (other.state, other.life.payment_reference, other.life.change_refusal) == (State.PAID, b"order-1", b"already_paid")


def test_an_extension_counts_from_when_it_was_asked_for_and_goes_no_further_than_the_longest_hold() -> None:
    assert asked(Kind.EXTEND, State.RESERVED, HELD, 5_000, seconds=15).life.hold_expires_ms == 20_000
    beyond = asked(Kind.EXTEND, State.RESERVED, HELD, 5_001, seconds=15)
    assert (beyond.life.hold_expires_ms, beyond.life.change_refusal) == (10_000, b"hold_limit")


def test_an_extension_that_comes_again_is_answered_as_it_was() -> None:
    first = asked(Kind.EXTEND, State.RESERVED, HELD, 5_000, seconds=15)

    assert asked(Kind.EXTEND, first.state, first.life, 9_000, seconds=15) == first
    refused = asked(Kind.EXTEND, State.RESERVED, HELD, 6_000, seconds=15)
    assert asked(Kind.EXTEND, refused.state, refused.life, 1_000, seconds=15) == refused


def test_an_extension_never_makes_a_hold_shorter() -> None:
    shorter = asked(Kind.EXTEND, State.RESERVED, HELD, 5_000, seconds=1)

    assert (shorter.life.hold_expires_ms, shorter.life.change_refusal) == (10_000, b"")


def test_a_cancellation_frees_the_seats_of_a_reservation() -> None:
    assert asked(Kind.CANCEL, State.RESERVED, HELD) == Moved(State.CANCELLED, CANCELLED, Life(change_id=ASKED), frees=True)


def test_a_cancellation_before_the_decision_has_no_seats_to_free_yet() -> None:
    assert asked(Kind.CANCEL, State.PROCESSING, NO_LIFE) == Moved(State.CANCELLED, CANCELLED, Life(change_id=ASKED))


def test_a_paid_reservation_is_cancelled_only_by_whoever_may_refund() -> None:
    assert asked(Kind.CANCEL, State.PAID, PAID).life.change_refusal == b"already_paid"
    refunded = asked(Kind.CANCEL, State.PAID, PAID, refund=True)
    assert (refunded.state, refunded.reason, refunded.frees) == (State.CANCELLED, REFUNDED, True)


@pytest.mark.parametrize("kind", [Kind.PAY, Kind.EXTEND])
@pytest.mark.parametrize(
    ("state", "reason", "refusal"),
    [
        (State.FAILED, "[NOT_AVAILABLE]: none left", b"reservation_failed"),
        (State.CANCELLED, CANCELLED, b"reservation_cancelled"),
        (State.CANCELLED, HOLD_EXPIRED, b"hold_expired"),
    ],
)
def test_what_is_over_is_neither_paid_nor_extended(kind: Kind, state: State, reason: str, refusal: bytes) -> None:
    assert asked(kind, state, NO_LIFE, reason=reason) == Moved(state, reason, Life(change_id=ASKED, change_refusal=refusal))


@pytest.mark.parametrize("kind", [Kind.PAY, Kind.EXTEND])
def test_what_is_not_decided_waits(kind: Kind) -> None:
    assert changed(Change(ASKED, kind), State.PROCESSING, "", NO_LIFE, 5_000) is None


@given(PLACES, CHANGES, st.integers(0, 20_000))
def test_moves_are_legal_and_seats_are_freed_exactly_when_they_were_held_and_are_not_any_more(
    place: tuple[State, str, Life], change: Change, at_ms: int
) -> None:
    state, reason, life = place
    moved = changed(change, state, reason, life, at_ms)
    if moved is None:
        return

    assert moved.state is state or moved.state in LEGAL_MOVES[state]
    assert moved.frees == (state in {State.RESERVED, State.PAID} and moved.state is State.CANCELLED)
    assert moved.life.hold_expires_ms <= HELD.hold_expires_max_ms
    if moved.state is not State.RESERVED:
        assert not moved.life.hold_expires_ms
    # The same once more, as after a crash: nothing new happens to the seats, and nothing is refused that was done.
    again = changed(change, moved.state, moved.reason, moved.life, at_ms)
    assert again
    assert not again.frees
    assert again.state is moved.state
    if not moved.life.change_refusal:
        assert not again.life.change_refusal


@given(PLACES, st.integers(0, 20_000))
def test_only_a_reservation_with_a_hold_ends_by_itself(place: tuple[State, str, Life], at_ms: int) -> None:
    state, _, life = place

    assert is_over(state, life, at_ms) == (life is HELD and at_ms >= 10_000)


def test_what_has_ended_by_itself_has_its_reason() -> None:
    assert expired(HELD) == Moved(State.CANCELLED, HOLD_EXPIRED, NO_LIFE, frees=True)
