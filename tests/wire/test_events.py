"""``CreateEvent`` there and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import create_event, create_reservation
from ticketmaster.domain.event import Area, Event
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro
from ticketmaster.wire.events import encode_event, read_announcement

INT32 = st.integers(-(2**31), 2**31 - 1)
SIDE = st.integers(1, 1_000)
AREAS = st.lists(st.builds(Area, st.text(), INT32, SIDE, SIDE), max_size=5).map(tuple)


@given(name=st.text(), artist=st.text(), areas=AREAS)
def test_name_and_areas_come_back(name: str, artist: str, areas: tuple[Area, ...]) -> None:
    value = encode_event(Event(name, artist, 0, 0, 0, 0, areas))

    assert read_announcement(value)[:2] == (name, list(areas))
    assert avro.decode("CreateEvent", value)["artist"] == artist


def test_times_are_cut_to_milliseconds() -> None:
    event = Event("show", "", 1_746_600_000_500_000_000, 1_746_700_000_123_456_700, 999_999, -1)

    fields = avro.decode("CreateEvent", encode_event(event))

    assert fields["reservationOpeningTime"] == datetime(2025, 5, 7, 6, 40, 0, 500_000, tzinfo=UTC)
    assert fields["reservationClosingTime"] == datetime(2025, 5, 8, 10, 26, 40, 123_000, tzinfo=UTC)
    assert fields["eventStartTime"] == datetime(1970, 1, 1, tzinfo=UTC)
    assert fields["eventEndTime"] == datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)


@pytest.mark.parametrize("seconds", [-62_135_596_800, 253_402_300_799])
def test_the_first_and_the_last_second_that_a_client_may_name_come_back(seconds: int) -> None:
    ns = seconds * 1_000_000_000
    value = encode_event(Event("show", "", ns, ns, ns, ns))

    assert avro.decode("CreateEvent", value)["eventStartTime"].year in {1, 9999}
    assert read_announcement(value)[:2] == ("show", [])


@pytest.mark.parametrize("value", [b"", create_reservation(), create_event("show", [("A", 1, 2, 3)])[:-1]])
def test_bytes_that_are_no_event_are_invalid(value: bytes) -> None:
    with pytest.raises(InvalidRecord):
        read_announcement(value)
