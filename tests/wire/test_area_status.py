"""``AreaStatus`` as bytes, against fastavro."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.records import Seat, area_fields, area_status
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire import avro
from ticketmaster.wire.area_status import AreaHeader, AreaImage, area_names, seat_is_free
from ticketmaster.wire.binary import encode_int, encode_string
from ticketmaster.wire.seat_layout import Layout, layout_of

NAMES = st.text(max_size=80)
# Where the number of a row or column takes a byte more: 64 and 8192.
SHAPES = st.sampled_from([(1, 1), (1, 64), (1, 65), (64, 1), (65, 1), (3, 70), (70, 3), (66, 66), (2, 8193), (8193, 2)]) | st.tuples(
    st.integers(1, 9), st.integers(1, 9)
)


@st.composite
def areas(draw: st.DrawFn) -> tuple[int, int, set[Seat]]:
    """Rows, columns, and some taken seats."""
    rows, cols = draw(SHAPES)
    taken = draw(st.sets(st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1)), max_size=12))
    return rows, cols, taken


@settings(max_examples=60)
@given(area=areas(), event=NAMES, name=NAMES, price=st.integers(-(2**31), 2**31 - 1))
def test_an_area_with_seats_taken_is_what_fastavro_writes(area: tuple[int, int, set[Seat]], event: str, name: str, price: int) -> None:
    rows, cols, taken = area
    image = AreaImage.all_free(event.encode(), name.encode(), price, rows, cols)

    image.take(list(taken))

    value = image.value(rows * cols - len(taken))
    assert value == area_status(rows, cols, taken, price=price, event=event, area=name)
    assert area_names(value) == encode_string(event) + encode_string(name)
    header = AreaHeader(value)
    assert (header.price, header.rows, header.cols, header.available) == (price, rows, cols, rows * cols - len(taken))


@settings(max_examples=60)
@given(area=areas(), data=st.data())
def test_seats_that_are_released_are_shown_free_again(area: tuple[int, int, set[Seat]], data: st.DataObject) -> None:
    rows, cols, taken = area
    image, seats = AreaImage.parse(area_status(rows, cols, taken))
    released = data.draw(st.sets(st.sampled_from(sorted(taken)))) if taken else set()

    image.release(list(released))
    seats.release(released)

    value = image.value(seats.available)
    assert value == area_status(rows, cols, taken - released)
    assert AreaImage.parse(value)[1].free == seats.free


@settings(max_examples=60)
@given(shape=SHAPES, data=st.data())
def test_a_run_that_is_taken_is_shown_as_each_of_its_seats_would_be(shape: tuple[int, int], data: st.DataObject) -> None:
    rows, cols = shape
    row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    count = data.draw(st.integers(1, min(cols - col, 9)))
    by_run, by_seat = (AreaImage.all_free(b"show", b"A", 10, rows, cols) for _ in range(2))

    by_run.take_run(row, col, count)
    by_seat.take([(row, taken) for taken in range(col, col + count)])

    assert by_run.value(0) == by_seat.value(0)


@settings(max_examples=60)
@given(area=areas())
def test_what_fastavro_writes_is_parsed_into_the_same_seats(area: tuple[int, int, set[Seat]]) -> None:
    rows, cols, taken = area
    value = area_status(rows, cols, taken)

    image, seats = AreaImage.parse(value)

    assert image.value(seats.available) == value
    assert {(row, col) for row in range(rows) for col in range(cols) if not seats.is_free(row, col)} == taken
    header = AreaHeader(value)
    for row, col in [*taken, (0, 0), (rows - 1, cols - 1), (0, cols - 1), (rows - 1, 0)]:
        assert seat_is_free(value, header, row, col) is ((row, col) not in taken)


@pytest.mark.parametrize(("rows", "cols"), [(1, 100_000), (100_000, 1), (250, 400), (11, 9_000)])
def test_an_area_of_100_000_seats_is_patched_in_place(rows: int, cols: int) -> None:
    taken = {(0, 0), (rows - 1, cols - 1), (rows // 2, cols // 2), (min(rows - 1, 64), min(cols - 1, 64))}
    taken |= {(min(rows - 1, 8_192), min(cols - 1, 8_192)), (min(rows - 1, 8_191), min(cols - 1, 8_191))}
    image = AreaImage.all_free(b"show", b"A", 10, rows, cols)

    image.take(list(taken))
    value = image.value(rows * cols - len(taken))

    assert value == area_status(rows, cols, taken)
    # Kafka's default limit of a record.
    assert len(value) < 1_000_000
    again, seats = AreaImage.parse(value)
    assert again.value(seats.available) == value
    assert all(not seats.is_free(row, col) for row, col in taken)
    assert seats.available == rows * cols - len(taken)


@pytest.mark.parametrize(("col", "count"), [(60, 8), (8_188, 8), (0, 64), (0, 8_200)])
def test_a_run_is_taken_across_the_columns_where_numbers_grow(col: int, count: int) -> None:
    image = AreaImage.all_free(b"show", b"A", 10, 2, 8_200)

    image.take_run(1, col, count)

    assert image.value(16_400 - count) == area_status(2, 8_200, {(1, taken) for taken in range(col, col + count)})


def test_images_of_one_shape_share_their_layout_and_nothing_else() -> None:
    one, other = (AreaImage.all_free(b"show", name, 10, 2, 2) for name in (b"A", b"B"))

    one.take([(0, 0)])

    assert other.value(4) == area_status(2, 2, area="B")
    assert layout_of(2, 2) is layout_of(2, 2)


@pytest.mark.parametrize("seat", [(-1, 0), (0, -1), (2, 0), (0, 3), (2**31 - 1, 0), (0, -(2**31))])
def test_a_seat_that_is_not_there_is_not_free(seat: Seat) -> None:
    value = area_status(2, 3)

    assert seat_is_free(value, AreaHeader(value), *seat) is False


@pytest.mark.parametrize("end", range(len(area_status(2, 3))))
def test_a_status_that_is_cut_off_anywhere_is_invalid(end: int) -> None:
    with pytest.raises(InvalidRecord):
        AreaImage.parse(area_status(2, 3)[:end])


@given(at=st.integers(0, len(area_status(2, 3)) - 1), byte=st.integers(0, 255))
def test_a_status_with_a_byte_changed_is_invalid_or_says_what_it_shows(at: int, byte: int) -> None:
    value = bytearray(area_status(2, 3))
    value[at] = byte
    try:
        image, seats = AreaImage.parse(bytes(value))
    except InvalidRecord:
        return
    assert image.value(seats.available) == value
    assert seats.available == seats.count_free()


def test_a_status_that_miscounts_its_free_seats_is_invalid() -> None:
    fields = area_fields(2, 3, {(0, 0)})

    with pytest.raises(InvalidRecord, match="says 6 free seats and shows 5"):
        AreaImage.parse(avro.encode("AreaStatus", fields | {"availableSeats": 6}))


@pytest.mark.parametrize(
    "seats",
    [
        [],
        [[{"row": 0, "col": 1, "isAvailable": True}, {"row": 0, "col": 0, "isAvailable": True}]],
        [[{"row": 1, "col": 0, "isAvailable": True}, {"row": 1, "col": 1, "isAvailable": True}]],
        [[{"row": 0, "col": 0, "isAvailable": True}], [{"row": 0, "col": 1, "isAvailable": True}]],
    ],
)
def test_seats_in_another_order_are_invalid(seats: list[object]) -> None:
    with pytest.raises(InvalidRecord):
        AreaImage.parse(avro.encode("AreaStatus", area_fields(1, 2) | {"seats": seats}))


@pytest.mark.parametrize(("rows", "cols"), [(0, 0), (0, 5), (5, 0), (-1, 3), (3, -1)])
def test_an_area_of_no_seats_is_invalid(rows: int, cols: int) -> None:
    with pytest.raises(InvalidRecord):
        AreaImage.parse(avro.encode("AreaStatus", area_fields(1, 1) | {"rowCount": rows, "colCount": cols}))


@pytest.mark.parametrize(("rows", "cols"), [(2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)])
def test_a_status_that_claims_more_seats_than_it_has_bytes_is_invalid_at_once(rows: int, cols: int) -> None:
    head = area_status(1, 1)[:5] + encode_string("show") + encode_string("A") + encode_int(10)
    value = head + encode_int(rows) + encode_int(cols) + encode_int(1) + b"\x00"

    with pytest.raises(InvalidRecord, match="bytes for the seats"):
        AreaImage.parse(value)


@pytest.mark.parametrize(("rows", "cols"), [(1, 100_000), (100_000, 1), (316, 316), (12, 8_333), (8_333, 12)])
def test_an_area_takes_as_many_steps_as_its_shorter_side_whatever_its_shape(rows: int, cols: int) -> None:
    lines = Layout(rows, cols).lines

    # Numbers of rows and columns have up to three widths here.
    assert len(lines) <= 3 * min(rows, cols)
