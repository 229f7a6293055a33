"""The areas as the filter knows them."""

from __future__ import annotations

import pytest

from tests.support.records import Seat, area_status, create_reservation
from ticketmaster.broker.partitioner import partition_of
from ticketmaster.reservation.area_cache import AreaCache, KnownArea
from ticketmaster.wire.binary import encode_string
from ticketmaster.wire.reservations import read_create

PARTITIONS = 20


def names(area: str = "A", event: str = "show") -> bytes:
    """Event and area as a command carries them."""
    return encode_string(event) + encode_string(area)


def admits(area: KnownArea, create: bytes) -> bool:
    """Whether an area, as it is known, can serve a command."""
    command = read_create(create)
    return area.admits(create, command.seat_count, command.kind, command.seats_at)


def known(rows: int, cols: int, taken: set[Seat]) -> KnownArea:
    """An area that the cache knows."""
    cache = AreaCache(PARTITIONS, lambda: True)
    cache.apply([(b"show#A", area_status(rows, cols, taken))])
    area = cache.get(names())
    assert area is not None
    return area


def test_an_area_is_found_by_the_very_bytes_of_a_command() -> None:
    cache = AreaCache(PARTITIONS, lambda: True)
    cache.apply([("zoë#東京".encode(), area_status(1, 1, event="zoë", area="東京"))])
    create = create_reservation(event="zoë", area="東京")

    area = cache.get(read_create(create).names)

    assert area is not None
    assert (area.key, area.partition) == ("zoë#東京".encode(), partition_of("zoë#東京".encode(), PARTITIONS))
    assert cache.get(names()) is None


@pytest.mark.parametrize(
    ("create", "admitted"),
    [
        (create_reservation(count=1), True),
        (create_reservation(count=3), True),
        # There are three free seats, but no three adjacent ones: only the area looks that closely.
        (create_reservation(count=4), False),
        (create_reservation(count=5), False),
        (create_reservation(count=0), True),
        (create_reservation(count=-1), True),
        (create_reservation("SELF_PICK", 1, [(0, 0)]), True),
        (create_reservation("SELF_PICK", 2, [(0, 0), (1, 2)]), True),
        (create_reservation("SELF_PICK", 1, [(0, 1)]), False),
        (create_reservation("SELF_PICK", 2, [(0, 0), (0, 1)]), False),
        (create_reservation("SELF_PICK", 1, [(2, 0)]), False),
        (create_reservation("SELF_PICK", 1, [(0, 4)]), False),
        (create_reservation("SELF_PICK", 1, [(-1, 0)]), False),
        (create_reservation("SELF_PICK", 0, []), True),
        (create_reservation("SELF_PICK", 2, [(0, 0), (0, 0)]), True),
    ],
)
def test_the_filter_refuses_what_the_area_can_not_serve(create: bytes, *, admitted: bool) -> None:
    area = known(2, 4, {(0, 1), (0, 3), (1, 0), (1, 1), (1, 3)})

    assert admits(area, create) is admitted


def test_random_needs_no_more_seats_than_a_row_has() -> None:
    area = known(3, 4, set())

    assert admits(area, create_reservation(count=4))
    assert not admits(area, create_reservation(count=5))


def test_a_newer_status_replaces_the_last_one() -> None:
    cache = AreaCache(PARTITIONS, lambda: True)
    cache.apply([(b"show#A", area_status(1, 2))])
    area = cache.get(names())
    assert area is not None
    assert admits(area, create_reservation(count=2))

    cache.apply([(b"show#A", area_status(1, 2, {(0, 0)}))])

    assert cache.get(names()) is area
    assert not admits(area, create_reservation(count=2))
    assert not admits(area, create_reservation("SELF_PICK", 1, [(0, 0)]))
    assert admits(area, create_reservation("SELF_PICK", 1, [(0, 1)]))


def test_a_tombstone_changes_nothing() -> None:
    cache = AreaCache(PARTITIONS, lambda: True)
    cache.apply([(b"show#A", area_status(1, 2)), (b"show#A", None)])

    assert cache.get(names()) is not None


def test_the_least_recently_used_area_makes_room() -> None:
    cache = AreaCache(PARTITIONS, lambda: True, areas_max=3)
    cache.apply([(f"show#{area}".encode(), area_status(1, 1, area=area)) for area in "ABC"])
    assert cache.get(names("A")) is not None

    cache.apply([(b"show#D", area_status(1, 1, area="D"))])

    assert {area for area in "ABCD" if cache.get(names(area))} == {"A", "C", "D"}


def test_the_cache_never_holds_more_areas_than_it_may() -> None:
    cache = AreaCache(PARTITIONS, lambda: True, areas_max=10)

    cache.apply([(f"show#{number}".encode(), area_status(1, 1, area=str(number))) for number in range(100)] * 2)

    assert sum(cache.get(names(str(number))) is not None for number in range(100)) == 10


def test_a_thousand_areas_are_known_unless_somebody_says_otherwise() -> None:
    cache = AreaCache(PARTITIONS, lambda: True)

    cache.apply([(f"show#{number}".encode(), area_status(1, 1, area=str(number))) for number in range(1_001)])

    assert cache.get(names("0")) is None
    assert all(cache.get(names(str(number))) for number in range(1, 1_001))


def test_an_area_that_made_room_is_known_again_with_its_next_status() -> None:
    cache = AreaCache(PARTITIONS, lambda: True, areas_max=1)
    cache.apply([(b"show#A", area_status(1, 1)), (b"show#B", area_status(1, 1, area="B"))])
    assert cache.get(names("A")) is None

    cache.apply([(b"show#A", area_status(1, 1, {(0, 0)}))])

    area = cache.get(names("A"))
    assert area is not None
    assert not admits(area, create_reservation())


def test_of_an_area_whose_last_status_cant_be_read_nothing_is_known() -> None:
    cache = AreaCache(PARTITIONS, lambda: True)
    sold = [(f"{event}#{area}".encode(), area_status(1, 1, {(0, 0)}, event=event, area=area)) for event, area in EVENTS_AREAS]
    cache.apply(sold)

    assert [at for at, _ in cache.apply([(b"the#show#A#1", b"rubbish")])] == [0]

    assert [cache.get(names(area, event)) is None for event, area in EVENTS_AREAS] == [True, True, True, False]
    cache.apply(sold[:1])
    assert cache.get(names("1", "the#show#A")) is not None


EVENTS_AREAS = [("the#show#A", "1"), ("the#show", "A#1"), ("the", "show#A#1"), ("the#show", "B#1")]
