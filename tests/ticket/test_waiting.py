"""Who waits for which reservation, against a plain list."""

from __future__ import annotations

import time

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ticketmaster.ticket.waiting import Waiting


def test_everybody_who_waits_for_a_key_is_answered_in_the_order_they_came() -> None:
    waiting: Waiting[str] = Waiting()
    for key, waiter in ((b"k", "first"), (b"other", "stranger"), (b"k", "second")):
        waiting.add(key, waiter, 10.0)

    assert waiting.take(b"k") == ["first", "second"]
    assert waiting.take(b"k") == []
    assert len(waiting) == 1


def test_a_key_nobody_waits_for_is_taken_by_nobody() -> None:
    waiting: Waiting[str] = Waiting()

    assert waiting.take(b"k") == []
    assert list(waiting.take_expired(1e9)) == []


def test_a_deadline_has_come_at_its_very_moment() -> None:
    waiting: Waiting[str] = Waiting()
    waiting.add(b"k", "early", 1.0)
    waiting.add(b"k", "late", 2.0)

    assert list(waiting.take_expired(0.5)) == []
    assert list(waiting.take_expired(1.0)) == ["early"]
    assert waiting.take(b"k") == ["late"]
    assert len(waiting) == 0


def test_somebody_may_come_while_the_expired_ones_are_told() -> None:
    waiting: Waiting[str] = Waiting()
    waiting.add(b"k", "first", 1.0)
    told = []
    for waiter in waiting.take_expired(1.0):
        told.append(waiter)
        if waiter == "first":
            waiting.add(b"k", "second", 3.0)

    assert told == ["first"]
    assert waiting.take(b"k") == ["second"]


class WaitingModel(RuleBasedStateMachine):
    """A list of (deadline, key, waiter), in the order they came."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: Waiting[int] = Waiting()
        self.model: list[tuple[int, bytes, int]] = []
        self.now = 0
        self.came = 0

    keys = st.sampled_from([b"a", b"b", b"c"])

    @rule(key=keys)
    def add(self, key: bytes) -> None:
        self.came += 1
        self.waiting.add(key, self.came, self.now + 5)
        self.model.append((self.now + 5, key, self.came))

    @rule(key=keys)
    def take(self, key: bytes) -> None:
        assert self.waiting.take(key) == [waiter for _, waited_for, waiter in self.model if waited_for == key]
        self.model = [entry for entry in self.model if entry[1] != key]

    @rule(passed=st.integers(0, 4))
    def take_expired(self, passed: int) -> None:
        self.now += passed
        assert list(self.waiting.take_expired(self.now)) == [waiter for deadline, _, waiter in self.model if deadline <= self.now]
        self.model = [entry for entry in self.model if entry[0] > self.now]

    @invariant()
    def nobody_is_lost(self) -> None:
        assert len(self.waiting) == len(self.model)
        # No trace is left of those who were answered.
        assert sorted(self.waiting._by_key) == sorted({key for _, key, _ in self.model})


TestWaitingModel = WaitingModel.TestCase
TestWaitingModel.settings = settings(max_examples=50, stateful_step_count=30)


def test_however_many_time_out_or_end_each_takes_one_step() -> None:
    waiting: Waiting[int] = Waiting()
    # Half of them wait for the same reservation. Were each looked for among all, this took minutes.
    for number in range(200_000):
        waiting.add(b"hot" if number % 2 else b"%d" % number, number, float(number))
    began = time.process_time()

    assert len(list(waiting.take_expired(99_999.0))) == 100_000
    assert waiting.take(b"150000") == [150_000]
    assert len(waiting.take(b"hot")) == 50_000
    assert len(list(waiting.take_expired(1e9))) == 49_999

    assert time.process_time() - began < 5
    assert (len(waiting), waiting.awaited()) == (0, [])
