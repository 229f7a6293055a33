"""The limit per user in the reservation role: exact, whatever is asked at once, and freed by whatever ends a reservation."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reservation.test_rules import Sale, decisions
from tests.support.records import change, create_reservation, failure, success
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.broker.port import Pair
from ticketmaster.domain.rules import USER_LIMIT, USER_LIMIT_ELSEWHERE, EventRules
from ticketmaster.errors import InvalidRecord, TaskCorrupted
from ticketmaster.reservation.limits import USER_SEATS
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import topics
from ticketmaster.wire.binary import encode_string
from ticketmaster.wire.reservations import processing
from ticketmaster.wire.rules import of_box_office
from ticketmaster.wire.user_seats import encode_user_seats, read_user_seats, user_key, user_key_of

PARTITION, PARTITIONS = 7, 20
LIMIT = EventRules(seats_per_user_max=4, revision=1, checked_revision=1)
EVENT = encode_string("show")
# A user whose reservations are decided here, and one whose are not.
USER, STRANGER = (
    next(
        name
        for name in (f"u{number}" for number in count())
        if (partition_of(user_key(EVENT, name.encode()), PARTITIONS) == PARTITION) is here
    )
    for here in (True, False)
)


@pytest.fixture
def sale() -> Sale:
    one = Sale()
    one.know(LIMIT)
    return one


def ask(sale: Sale, key: bytes, seats: int = 1, user: str = USER, *, box_office: bool = False) -> str:
    """Why a reservation is refused at once."""
    create = create_reservation(count=seats, user=user)
    told = decisions(sale.create(5, of_box_office(create) if box_office else create, key))
    return told[key][1] if told else ""


def counted(sale: Sale, user: str = USER) -> dict[bytes, int]:
    value = sale.role.overlays[USER_SEATS].get(user_key(EVENT, user.encode()))
    return {} if value is None else read_user_seats(value)


def decide(sale: Sale, key: bytes, result: bytes) -> None:
    sale.role.run(topics.RESERVATION_RESULT, [(key, result)], 1_000)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_user_gets_as_many_seats_as_the_event_allows(sale: Sale, *, restarted: bool) -> None:
    assert ask(sale, b"r1", 3) == ""
    if restarted:
        sale.role.restart()

    assert ask(sale, b"r2", 2) == USER_LIMIT
    assert ask(sale, b"r3", 1) == ""
    assert ask(sale, b"r4", 1) == USER_LIMIT
    assert counted(sale) == {b"r1": 3, b"r3": 1}


def test_seats_that_a_user_picks_count_as_they_are_named(sale: Sale) -> None:
    create = create_reservation("SELF_PICK", 1, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)], user=USER)

    assert decisions(sale.create(5, create)).popitem()[1] == ("FAILED", USER_LIMIT)


def test_a_thousand_requests_of_one_user_at_once_get_no_more(sale: Sale) -> None:
    commands: list[Pair] = [(b"r%d" % number, create_reservation(user=USER)) for number in range(1_000)]

    outputs = sale.role.run(topics.CREATE_RESERVATION, commands, 5)

    assert sum(reason == USER_LIMIT for _, reason in decisions(outputs).values()) == 996
    assert counted(sale) == {b"r%d" % number: 1 for number in range(4)}


@pytest.mark.parametrize("end", ["refused", "cancelled", "refunded", "expired", "event cancelled", "cancelled early"])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_ends_a_reservation_frees_the_seats_of_its_user(sale: Sale, end: str, *, restarted: bool) -> None:
    ask(sale, b"r1", 4)
    if restarted:
        sale.role.restart()
    if end == "refused":
        decide(sale, b"r1", failure("r1", "NOT_AVAILABLE", "none"))
    elif end == "cancelled early":
        sale.role.run(topics.CHANGE_RESERVATION, [(b"r1", change("CANCEL"))], 1_500)
    else:
        decide(sale, b"r1", success("r1", [(0, 0)], (1, 1)))
        if end == "refunded":
            sale.role.run(topics.CHANGE_RESERVATION, [(b"r1", change("PAY", reference="p"))], 1_500)
        if end in {"cancelled", "refunded"}:
            sale.role.run(topics.CHANGE_RESERVATION, [(b"r1", change("CANCEL", changeId="change-2", refund=True))], 1_500)
        elif end == "expired":
            sale.role.run(topics.CHANGE_RESERVATION, [(b"", None)], 3_000)
            sale.role.on_time(3_000)
        else:
            sale.cancel()
            sale.work()

    assert counted(sale) == {}
    if end != "event cancelled":
        assert ask(sale, b"r2", 4) == ""


def test_a_payment_frees_nothing(sale: Sale) -> None:
    ask(sale, b"r1", 4)
    decide(sale, b"r1", success("r1", [(0, 0)]))
    sale.role.run(topics.CHANGE_RESERVATION, [(b"r1", change("PAY", reference="p"))], 1_500)

    assert ask(sale, b"r2") == USER_LIMIT


def test_seats_that_are_given_back_in_a_transaction_count_no_more_in_it(sale: Sale) -> None:
    ask(sale, b"r1", 4)
    decide(sale, b"r1", success("r1", [(0, 0)]))
    processor, stores = sale.role.processor, sale.role.overlays
    outputs = Outputs()
    processor.process(topics.CHANGE_RESERVATION.name, [(b"r1", change("CANCEL"))], stores, outputs)
    processor.process(topics.CREATE_RESERVATION.name, [(b"r2", create_reservation(count=4, user=USER))], stores, outputs)

    assert b"r2" not in decisions(outputs)
    assert counted(sale) == {b"r2": 4}


def test_a_command_on_another_partition_is_refused_and_not_trusted(sale: Sale) -> None:
    assert ask(sale, b"r1", user=STRANGER) == USER_LIMIT_ELSEWHERE
    assert counted(sale, STRANGER) == {}


def test_a_box_office_sells_past_the_limit_and_is_not_counted(sale: Sale) -> None:
    ask(sale, b"r1", 4)

    assert ask(sale, b"r2", 4, box_office=True) == ""
    assert ask(sale, b"r3", 4, STRANGER, box_office=True) == ""
    assert counted(sale) == {b"r1": 4}


def test_a_changed_limit_holds_for_what_comes_after_it(sale: Sale) -> None:
    ask(sale, b"r1", 3)
    sale.know(LIMIT._replace(seats_per_user_max=2, revision=2, checked_revision=2))
    assert ask(sale, b"r2") == USER_LIMIT
    sale.know(LIMIT._replace(seats_per_user_max=5, revision=3, checked_revision=3))

    assert ask(sale, b"r3", 2) == ""


def test_without_a_limit_nothing_is_counted(sale: Sale) -> None:
    sale.know(LIMIT._replace(seats_per_user_max=0, opening_ms=1, closing_ms=9, revision=2))

    assert ask(sale, b"r1", 100) == ""
    assert counted(sale) == {}


def test_a_count_that_can_t_be_read_ends_the_task(sale: Sale) -> None:
    sale.role.overlays[USER_SEATS].put(user_key(EVENT, USER.encode()), b"rubbish")

    with pytest.raises(TaskCorrupted):
        ask(sale, b"r1")


@given(st.dictionaries(st.binary(min_size=1, max_size=40), st.integers(1, 2**31 - 1), max_size=5))
def test_the_seats_of_a_user_come_back_as_they_were_written(seats: dict[bytes, int]) -> None:
    assert read_user_seats(encode_user_seats(seats)) == seats
    with pytest.raises(InvalidRecord):
        read_user_seats(b"\x00")


def test_the_user_of_a_reservation_is_found_again() -> None:
    assert user_key_of(processing(b"r1", create_reservation(user="bob"))) == user_key(EVENT, b"bob")
