"""Deadlines: nothing before its instant, everything hardly a second later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketmaster.reservation.deadlines import Deadlines
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.deadlines import EARLY_CANCEL, HOLD, Deadline, hold_end, read_deadline


@given(st.lists(st.integers(0, 30_000), max_size=60), st.lists(st.integers(0, 3_000), max_size=30), st.integers(1, 7))
def test_ids_are_due_from_their_instant_on_and_all_of_them_within_a_second(instants: list[int], steps: list[int], ids_max: int) -> None:
    deadlines, at_ms = Deadlines(), {b"%d" % number: instant for number, instant in enumerate(instants)}
    for key, instant in at_ms.items():
        deadlines.add(key, instant)
    now_ms, taken = 0, list[bytes]()

    for step in steps:
        now_ms += step
        while some := list(deadlines.take_due(now_ms, ids_max)):
            assert len(some) <= ids_max
            taken += some
        assert deadlines.next_ms is None or deadlines.next_ms > now_ms
        assert all(at_ms[key] <= now_ms for key in taken)
        assert {key for key, instant in at_ms.items() if instant <= now_ms - 1_000} <= set(taken)

    assert len(set(taken)) == len(taken)


@given(st.sampled_from([HOLD, EARLY_CANCEL]), st.integers(0, 2**63), st.binary(max_size=40))
def test_a_deadline_is_read_as_it_was_written(kind: int, at_ms: int, change_id: bytes) -> None:
    deadline = Deadline(kind, at_ms, change_id)

    assert read_deadline(deadline.encoded()) == deadline
    # Asked of each that is open when a task starts: of anything but a hold it says nothing.
    assert hold_end(deadline.encoded()) == (at_ms if kind == HOLD and not change_id else 0)


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x00" + bytes(8), b"\x05" + bytes(8)])
def test_what_is_no_deadline_is_unreadable(value: bytes) -> None:
    assert hold_end(value) == 0
    with pytest.raises(UNREADABLE):
        read_deadline(value)
