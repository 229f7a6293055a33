"""What becomes of reservations: changes, and holds that end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.records import change, create_reservation, release_seats, reserve_seat, success
from tests.support.role import Role
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import TopicPartition
from ticketmaster.reservation.area_cache import AreaCache
from ticketmaster.reservation.lives import DEADLINES
from ticketmaster.reservation.processor import reservation_topology
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import avro, topics
from ticketmaster.wire.registry import SCHEMA_IDS, frame

PARTITION, PARTITIONS = 7, 20
ID = "51998dfc-abe9-4429-bce7-255ede8d55db"
KEY = ID.encode()
DECISIONS = TopicPartition(topics.USER_RESERVATION.name, PARTITION)
CHANGES = TopicPartition(topics.CHANGE_RESERVATION.name, PARTITION)
COMMANDS = TopicPartition(topics.RESERVE_SEAT.name, partition_of(b"show#A", PARTITIONS))
RELEASES = TopicPartition(topics.RELEASE_SEATS.name, partition_of(b"show#A", PARTITIONS))
RELEASE = (b"show#A", release_seats(ID, [(0, 1)]))
# When the seats were given, and how long they are held.
AT, HOLD = 1_000_000, (60, 120)
ENDS = AT + 60_000


@pytest.fixture
def role() -> Role:
    """A task of the reservation role, with nothing in it."""
    return Role(reservation_topology(PARTITIONS, AreaCache(PARTITIONS, lambda: True)), PARTITION)


def reserve(role: Role, key: bytes = KEY, hold: tuple[int, int] | None = HOLD) -> None:
    """A reservation that got its seats."""
    role.run(topics.CREATE_RESERVATION, [(key, create_reservation())])
    role.run(topics.RESERVATION_RESULT, [(key, success(key.decode(), [(0, 1)], hold))], AT)


def ask(role: Role, kind: str, at_ms: int = AT, key: bytes = KEY, **fields: object) -> Outputs:
    """What a change writes that the log took at a time."""
    return role.run(topics.CHANGE_RESERVATION, [(key, change(kind, **fields))], at_ms)


def told(outputs: Outputs, key: bytes = KEY) -> dict[str, Any]:
    """The one reservation that is told of, as its topic has it."""
    ((found, value),) = outputs[DECISIONS]
    assert found == key
    assert value
    return avro.decode("Reservation.2", value)


def standing(fields: dict[str, Any]) -> tuple[str, str]:
    """(its state, what its reason begins with)."""
    return fields["state"], fields["failedReason"].partition(":")[0]


def tick(role: Role, at_ms: int) -> Outputs:
    """The log took a tick at a time."""
    return role.run(topics.CHANGE_RESERVATION, [(b"", None)], at_ms)


def test_without_a_hold_nothing_ends_and_nothing_is_kept_of_it(role: Role) -> None:
    reserve(role, hold=None)

    value = role.overlay.get(KEY)
    assert value
    assert value.startswith(frame(SCHEMA_IDS["Reservation"]))
    assert role.processor.deadline_ms is None
    assert role.overlays[DEADLINES].get(KEY) is None


def test_a_reservation_is_told_with_the_end_of_its_hold(role: Role) -> None:
    role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation())])

    outputs = role.run(topics.RESERVATION_RESULT, [(KEY, success(ID, [(0, 1)], HOLD))], AT)

    fields = told(outputs)
    assert fields["state"] == "RESERVED"
    assert fields["holdExpiresAt"].timestamp() * 1000 == ENDS
    assert fields["holdExpiresAtMax"].timestamp() * 1000 == AT + 120_000
    assert role.processor.deadline_ms == ENDS


def test_a_payment_is_told_and_the_hold_does_not_end_any_more(role: Role) -> None:
    reserve(role)

    fields = told(ask(role, "PAY", reference="order-1"))

    assert standing(fields) == ("PAID", "")
    assert (fields["paymentReference"], fields["changeId"], fields["changeRefusal"]) == ("order-1", "change-1", "")
    assert role.overlays[DEADLINES].get(KEY) is None
    tick(role, ENDS)
    assert role.on_time(ENDS) == {}
    assert role.processor.deadline_ms is None


def test_a_hold_ends_when_the_log_was_read_past_its_end(role: Role) -> None:
    reserve(role)

    # Nobody sends anything: the task asks the log what time it is.
    assert role.on_time(ENDS) == {CHANGES: [(b"", None)]}
    assert role.processor.deadline_ms
    assert role.processor.deadline_ms > ENDS
    assert tick(role, ENDS) == {}
    assert role.processor.deadline_ms == ENDS
    outputs = role.on_time(ENDS)

    assert standing(told(outputs)) == ("CANCELLED", "[HOLD_EXPIRED]")
    assert outputs[RELEASES] == [RELEASE]
    assert role.overlays[DEADLINES].get(KEY) is None
    assert role.processor.deadline_ms is None


def test_a_payment_that_the_log_took_before_the_end_wins_however_late_it_is_worked_off(role: Role) -> None:
    reserve(role)
    role.on_time(ENDS)

    # The tick comes behind it.
    assert standing(told(ask(role, "PAY", ENDS - 1, reference="order-1"))) == ("PAID", "")
    tick(role, ENDS + 5)

    assert role.on_time(ENDS + 5) == {}


def test_a_payment_that_the_log_took_at_the_end_is_refused_and_frees_the_seats(role: Role) -> None:
    reserve(role)

    outputs = ask(role, "PAY", ENDS, reference="order-1")

    fields = told(outputs)
    assert standing(fields) == ("CANCELLED", "[HOLD_EXPIRED]")
    assert fields["changeRefusal"] == "hold_expired"
    assert outputs[RELEASES] == [RELEASE]
    assert RELEASES not in role.on_time(ENDS)


@pytest.mark.parametrize("behind_ms", [1, 999, 3_600_000])
def test_where_the_clock_is_ahead_of_the_log_the_log_is_asked_again_when_it_is_time(role: Role, behind_ms: int) -> None:
    reserve(role)
    role.on_time(ENDS)

    tick(role, ENDS - behind_ms)

    assert role.processor.deadline_ms == ENDS + behind_ms
    assert role.on_time(ENDS + behind_ms) == {CHANGES: [(b"", None)]}
    tick(role, ENDS)
    assert role.on_time(ENDS + behind_ms)[RELEASES] == [RELEASE]


def test_a_tick_that_is_lost_is_sent_again(role: Role) -> None:
    reserve(role)
    role.on_time(ENDS)

    again_ms = role.processor.deadline_ms

    assert again_ms
    assert ENDS < again_ms <= ENDS + 10_000
    assert role.on_time(again_ms) == {CHANGES: [(b"", None)]}


def test_an_extended_hold_ends_later(role: Role) -> None:
    reserve(role)

    fields = told(ask(role, "EXTEND", AT + 30_000, seconds=90))
    tick(role, ENDS)
    assert role.on_time(ENDS) == {}

    assert fields["holdExpiresAt"].timestamp() * 1000 == AT + 120_000
    assert role.processor.deadline_ms == AT + 120_000
    tick(role, AT + 120_000)
    assert role.on_time(AT + 120_000)[RELEASES] == [RELEASE]


def test_an_extension_beyond_the_longest_hold_is_refused(role: Role) -> None:
    reserve(role)

    fields = told(ask(role, "EXTEND", AT + 30_001, seconds=90))

    assert fields["changeRefusal"] == "hold_limit"
    assert fields["holdExpiresAt"].timestamp() * 1000 == ENDS


@pytest.mark.parametrize("how", ["extended", "as it was"])
def test_a_task_that_starts_over_knows_when_holds_end(role: Role, how: str) -> None:
    reserve(role)
    ends = ENDS
    if how == "extended":
        ask(role, "EXTEND", AT + 30_000, seconds=60)
        ends = AT + 90_000

    role.restart()

    # Its host's clock may be behind, and nobody may send anything: it asks what time it is in the log.
    assert role.processor.deadline_ms == 0
    assert role.on_time(AT - 900_000) == {CHANGES: [(b"", None)]}
    tick(role, AT + 40_000)
    assert role.processor.deadline_ms == ends
    role.on_time(ends)
    tick(role, ends)
    assert role.on_time(ends)[RELEASES] == [RELEASE]


def test_a_cancellation_gives_the_seats_back_once(role: Role) -> None:
    reserve(role)

    outputs = ask(role, "CANCEL")

    assert standing(told(outputs)) == ("CANCELLED", "[CANCELLED]")
    assert outputs[RELEASES] == [RELEASE]
    assert RELEASES not in ask(role, "CANCEL")


def test_a_refund_gives_the_seats_back(role: Role) -> None:
    reserve(role)
    ask(role, "PAY", reference="order-1")

    assert told(ask(role, "CANCEL", changeId="change-2"))["changeRefusal"] == "already_paid"
    outputs = ask(role, "CANCEL", refund=True, changeId="change-3")

    assert standing(told(outputs)) == ("CANCELLED", "[REFUNDED]")
    assert outputs[RELEASES] == [RELEASE]


def test_seats_that_come_after_a_cancellation_are_given_back(role: Role) -> None:
    role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation())])
    outputs = ask(role, "CANCEL")
    assert standing(told(outputs)) == ("CANCELLED", "[CANCELLED]")
    assert RELEASES not in outputs

    outputs = role.run(topics.RESERVATION_RESULT, [(KEY, success(ID, [(0, 1)], HOLD))], AT)

    assert outputs == {RELEASES: [RELEASE]}
    assert role.processor.deadline_ms is None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_cancellation_that_is_read_before_its_reservation_is_not_lost(role: Role, *, restarted: bool) -> None:
    assert DECISIONS not in ask(role, "CANCEL")
    if restarted:
        role.restart()

    outputs = role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation())])

    assert standing(told(outputs)) == ("CANCELLED", "[CANCELLED]")
    assert told(outputs)["changeId"] == "change-1"
    assert COMMANDS not in outputs
    assert role.overlays[DEADLINES].get(KEY) is None


def test_a_cancellation_of_what_has_not_come_takes_one_place_however_often_it_is_repeated(role: Role) -> None:
    for number in range(100):
        ask(role, "CANCEL", AT + number, changeId=f"change-{number}")

    assert role.processor.due_by(AT + 3_600_000) == 1
    outputs = role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation())])
    assert told(outputs)["changeId"] == "change-99"


def test_a_cancellation_of_what_never_comes_is_forgotten_some_time(role: Role) -> None:
    ask(role, "CANCEL")
    later_ms = role.processor.deadline_ms
    assert later_ms
    assert later_ms >= AT + 60_000
    tick(role, later_ms)

    role.on_time(later_ms)

    assert role.processor.deadline_ms is None
    assert role.overlays[DEADLINES].get(KEY) is None
    assert role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation())])[COMMANDS] == [(b"show#A", reserve_seat(ID))]


@pytest.mark.parametrize("kind", ["PAY", "EXTEND"])
def test_what_is_not_decided_or_not_there_is_neither_paid_nor_extended(role: Role, kind: str) -> None:
    assert ask(role, kind, reference="r", seconds=5) == {}
    role.run(topics.CREATE_RESERVATION, [(KEY, create_reservation())])
    before = role.overlay.get(KEY)

    assert ask(role, kind, reference="r", seconds=5) == {}

    assert role.overlay.get(KEY) == before


def test_holds_are_counted_as_long_as_they_are_open(role: Role) -> None:
    keys = [f"51998dfc-abe9-4429-bce7-{number:012x}".encode() for number in range(5)]
    for key in keys:
        reserve(role, key)
    reserve(role, hold=None)
    ask(role, "EXTEND", AT + 30_000, keys[0], seconds=90)
    paid = ask(role, "PAY", AT, keys[1], reference="r")
    cancelled = ask(role, "CANCEL", AT, keys[2])
    refused = ask(role, "EXTEND", AT, keys[1], seconds=1, changeId="change-2")

    assert (role.processor.open_deadlines, role.processor.oldest_due_ms) == (3, ENDS)
    assert (role.processor.due_by(ENDS), role.processor.due_by(ENDS - 1)) == (5, 0)
    assert [outputs.changes for outputs in (paid, cancelled, refused)] == [{"paid": 1}, {"cancelled": 1}, {"refused": 1}]
    role.restart()
    assert role.processor.open_deadlines == 3
    tick(role, ENDS)
    assert role.on_time(ENDS).changes == {"expired": 2}
    assert role.processor.open_deadlines == 1


def test_many_holds_that_end_at_once_end_in_transactions_of_bounded_size(role: Role) -> None:
    keys = [f"51998dfc-abe9-4429-bce7-{number:012x}".encode() for number in range(1_200)]
    for key in keys:
        reserve(role, key)
    tick(role, ENDS)

    ended: list[int] = []
    while role.processor.deadline_ms is not None:
        assert role.processor.deadline_ms <= ENDS
        # Payments go on meanwhile.
        assert told(ask(role, "CANCEL", ENDS, keys[0]), keys[0])["state"] == "CANCELLED"
        ended.append(len(role.on_time(ENDS)[DECISIONS]))

    assert sum(ended) == 1_199
    assert max(ended) <= 250


def test_what_is_no_change_is_put_aside(role: Role) -> None:
    reserve(role)
    outputs = Outputs()
    outputs.time_ms = AT

    records = [(KEY, b"rubbish"), (b"", change("PAY", reference="r")), (KEY, change("PAY", reference="r"))]
    role.processor.process(topics.CHANGE_RESERVATION.name, records, role.overlays, outputs)

    assert [at for at, _ in outputs.rejected] == [0, 1]
    assert told(outputs)["state"] == "PAID"
