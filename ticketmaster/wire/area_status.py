"""``AreaStatus`` as bytes: the Avro form of a seat map has a fixed layout, so that availability is patched in place.

Nothing here costs O(seats) for a reservation.
"""

from __future__ import annotations

from ticketmaster.domain.seat_map import SeatMap
from ticketmaster.errors import InvalidRecord
from ticketmaster.wire.binary import UNREADABLE, encode_int, encode_string, read_int, read_string, skip_string
from ticketmaster.wire.frames import FRAME_BYTES, FRAMES
from ticketmaster.wire.reservations import check_frame
from ticketmaster.wire.seat_layout import Layout, layout_of, seats_size

_NAMES_AT = FRAME_BYTES
_SEAT_BYTES_MIN = 3


class AreaHeader:
    """What stands before the seats, parsed from a framed ``AreaStatus``."""

    __slots__ = ("available", "cols", "price", "rows", "seats_at", "tail_at")

    def __init__(self, value: bytes) -> None:
        """UNREADABLE where ``value`` is no ``AreaStatus``, or too short for the seats it says it has."""
        check_frame(value, FRAMES.area_status)
        self.price, at = read_int(value, skip_string(value, skip_string(value, _NAMES_AT)))
        self.rows, at = read_int(value, at)
        self.cols, self.tail_at = read_int(value, at)
        self.available, self.seats_at = read_int(value, self.tail_at)
        # Before a layout is made: a size that is corrupt must not cost the time and memory of its layout.
        seat_bytes = len(value) - self.seats_at
        if self.rows < 1 or self.cols < 1 or self.rows * self.cols * _SEAT_BYTES_MIN > seat_bytes:
            raise InvalidRecord(f"{seat_bytes} bytes for the seats of {self.rows} x {self.cols}")


def is_in_layout(value: bytes) -> bool:
    """Whether the seats of an ``AreaStatus`` take as many bytes as in :class:`Layout`, whatever frame it has; True, too, if it is none.

    Avro lets a writer cut arrays into blocks and say how many bytes each has: the same record then takes more.
    """
    try:
        _, at = read_int(value, skip_string(value, skip_string(value, _NAMES_AT)))
        rows, at = read_int(value, at)
        cols, at = read_int(value, at)
        _, at = read_int(value, at)
    except UNREADABLE:
        return True
    if rows < 1 or cols < 1 or rows * cols * _SEAT_BYTES_MIN > len(value) - at:
        return True
    return len(value) - at == seats_size(rows, cols)


def area_names(value: bytes) -> bytes:
    """The encoded (eventId, areaId) of a framed ``AreaStatus``: the very bytes that a command for this area carries.

    UNREADABLE where ``value`` is no ``AreaStatus``.
    """
    check_frame(value, FRAMES.area_status)
    return value[_NAMES_AT : skip_string(value, skip_string(value, _NAMES_AT))]


def seat_is_free(value: bytes, header: AreaHeader, row: int, col: int) -> bool:
    """Whether a framed ``AreaStatus`` has this seat and shows it free."""
    if not (0 <= row < header.rows and 0 <= col < header.cols):
        return False
    return value[header.seats_at + layout_of(header.rows, header.cols).seat_at(row, col)] != 0


class AreaImage:
    """The Avro form of one area, kept in step with its seat map."""

    __slots__ = ("_head", "_layout", "_seats")

    def __init__(self, head: bytes, layout: Layout, seats: bytearray) -> None:
        """``head`` is all before the number of free seats; ``seats`` are laid out by ``layout``."""
        self._head = head
        self._layout = layout
        self._seats = seats

    @classmethod
    def all_free(cls, event_id: bytes, area_id: bytes, price: int, rows: int, cols: int) -> AreaImage:
        """An area with every seat free; the names are UTF-8."""
        names = encode_string(event_id) + encode_string(area_id)
        head = b"".join((FRAMES.area_status, names, encode_int(price), encode_int(rows), encode_int(cols)))
        layout = layout_of(rows, cols)
        return cls(head, layout, bytearray(layout.all_free))

    def take_run(self, row: int, col: int, count: int) -> None:
        """Marks ``count`` adjacent seats as taken."""
        seats = self._seats
        for at in self._layout.run_at(row, col, count):
            seats[at] = 0

    def take(self, chosen: list[tuple[int, int]]) -> None:
        """Marks existing seats as taken."""
        seats, seat_at = self._seats, self._layout.seat_at
        for row, col in chosen:
            seats[seat_at(row, col)] = 0

    def release(self, released: list[tuple[int, int]]) -> None:
        """Marks existing seats as free."""
        seats, seat_at = self._seats, self._layout.seat_at
        for row, col in released:
            seats[seat_at(row, col)] = 1

    def value(self, available: int) -> bytes:
        """The framed record; ``available`` is the number of free seats."""
        return b"".join((self._head, encode_int(available), self._seats))

    @classmethod
    def parse(cls, value: bytes) -> tuple[AreaImage, SeatMap]:
        """An area from its record. InvalidRecord: the seats are not laid out as this layout has them, or not so many are free."""
        header, area = read_seat_map(value)
        if area.available != header.available:
            raise InvalidRecord(f"an AreaStatus says {header.available} free seats and shows {area.available}")
        return cls(value[: header.tail_at], layout_of(header.rows, header.cols), bytearray(value[header.seats_at :])), area


def read_seat_map(value: bytes) -> tuple[AreaHeader, SeatMap]:
    """(what stands before the seats, the seats as they are shown). InvalidRecord: the seats are not laid out as this layout has them."""
    try:
        header = AreaHeader(value)
    except IndexError as cause:
        raise InvalidRecord("an AreaStatus that ends in its header") from cause
    event_id, at = read_string(value, _NAMES_AT)
    for name in (event_id, read_string(value, at)[0]):
        try:
            name.decode()
        except UnicodeDecodeError as cause:
            raise InvalidRecord("an AreaStatus with a name that is no UTF-8") from cause
    seats = value[header.seats_at :]
    layout = layout_of(header.rows, header.cols)
    if len(seats) != len(layout.all_free):
        raise InvalidRecord(f"{len(seats)} bytes for the seats of {header.rows} x {header.cols}, not {len(layout.all_free)}")
    free = bytearray(header.rows * (header.cols + 1))
    check = bytearray(layout.all_free)
    for in_map, in_form in layout.lines:
        free[in_map] = check[in_form] = seats[in_form]
    if check != seats or free.translate(None, b"\x00\x01"):
        raise InvalidRecord("the seats of an AreaStatus are not in order")
    return header, SeatMap.from_free(header.rows, header.cols, free)
