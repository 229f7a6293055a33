"""Who holds seats: what the event role writes, and what is made again from a reservation, are the same."""

from __future__ import annotations

import pytest

from tests.support.records import area_status, create_reservation
from ticketmaster.broker.port import TopicPartition
from ticketmaster.errors import InvalidRecord
from ticketmaster.event.processor import EventProcessor
from ticketmaster.event.stores import AREAS, HOLDERS, RULES
from ticketmaster.state.memory import MemoryStores
from ticketmaster.state.overlay import Overlays
from ticketmaster.streams.topology import Outputs
from ticketmaster.wire import topics
from ticketmaster.wire.binary import UNREADABLE
from ticketmaster.wire.holders import CLOSED, holder, holder_of, holds_just, read_holder, result_of
from ticketmaster.wire.holds import Hold, for_now
from ticketmaster.wire.reservations import (
    decided,
    encode_seats,
    failed_at_once,
    processing,
    read_create,
    read_reserve,
    reserve_seat,
    succeeded,
)

KEY = b"018bcfe5-726d-7000-ba11-a3d0efac6001"
COMMANDS = {
    "seats": create_reservation(count=2),
    "chosen seats": create_reservation("SELF_PICK", 2, [(1, 1), (0, 1)]),
    "too many seats": create_reservation(count=9),
    "no such seat": create_reservation("SELF_PICK", 1, [(7, 7)]),
    "no such area": create_reservation(area="Ä"),
}


@pytest.mark.parametrize("create", COMMANDS.values(), ids=COMMANDS)
def test_a_holder_is_made_again_from_the_reservation_as_the_event_role_wrote_it(create: bytes) -> None:
    overlays, outputs = Overlays(MemoryStores(), (AREAS, HOLDERS, RULES)), Outputs()
    event = EventProcessor(0, 1)
    event.process(topics.AREA_REPARTITION.name, [(b"show#A", area_status(2, 2))], overlays, outputs)
    command = read_create(create)
    area = b"show#A" if create is not COMMANDS["no such area"] else "show#Ä".encode()
    event.process(topics.RESERVE_SEAT.name, [(area, reserve_seat(KEY, create, command.names_at))], overlays, outputs)
    ((_, result),) = outputs[TopicPartition(topics.RESERVATION_RESULT.name, 0)]
    assert result is not None

    decision = decided(processing(KEY, create), result)
    assert decision is not None
    written = overlays[HOLDERS].open_writes[KEY]
    assert holder_of(decision.reservation) == (area, written)
    assert written is not None
    assert result_of(KEY, written) == result


def test_of_a_reservation_that_no_area_has_decided_there_is_no_holder() -> None:
    create = create_reservation()

    assert holder_of(processing(KEY, create)) is None
    assert holder_of(failed_at_once(KEY, create, "request rejected at cache level")) is None


@pytest.mark.parametrize("value", [b"", b"\x02\x00\x00", b"\x01", b"\x01\x02a\x02b", b"\x01\x02a\x02b\x00\x02\x00"])
def test_what_is_no_holder_is_unreadable(value: bytes) -> None:
    with pytest.raises(UNREADABLE):
        read_holder(KEY, value)


@pytest.mark.parametrize("hold", [None, Hold(600, 900)])
def test_a_holder_of_just_these_seats_is_told_without_reading_it(hold: Hold | None) -> None:
    create, seats = create_reservation(count=2), encode_seats([(0, 1), (0, 2)])
    names = read_create(create).names
    other_names = read_create(create_reservation(area="B")).names
    command = read_reserve(reserve_seat(KEY, create, read_create(create).names_at))
    result = succeeded(KEY, seats) if hold is None else for_now(succeeded(KEY, seats), hold)
    value = holder(command, result)

    assert holds_just(value, names, seats)
    assert read_holder(KEY, value) == (b"show", b"A", [(0, 1), (0, 2)])
    for others in (encode_seats([(0, 1)]), encode_seats([(0, 1), (0, 2), (0, 3)])):
        assert not holds_just(value, names, others)
    assert not holds_just(value, other_names, seats)
    assert not holds_just(CLOSED, names, seats)


def test_what_is_no_reservation_has_no_holder() -> None:
    with pytest.raises(InvalidRecord):
        holder_of(b"rubbish of some length, which is no reservation at all")
