"""Where things stand in the Avro form of a seat map, which its shape alone says.

A row is its seat count, then (row, col, isAvailable) for each seat, then 0; the rows have the same around them. So where a seat stands is
arithmetic on the widths of its two integers, and seats whose integers are as wide stand at equal distances: a line of them is written or
read at once. The lines go along the longer side of an area, so that one of 100,000 seats takes hundreds of steps, whatever its shape.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ticketmaster.wire.binary import encode_int, int_width

_LAYOUTS_CACHED = 64
_COLUMNS_CACHED = 64
_SIZES_CACHED = 1_024
# From these numbers on an integer takes a byte more.
_WIDER_FROM = (0, 64, 8_192, 1 << 20, 1 << 27, 1 << 34)


class _Span(NamedTuple):
    """The numbers from ``first`` to before ``end``, which are all of ``width`` bytes."""

    first: int
    end: int
    width: int

    @property
    def size(self) -> int:
        return self.end - self.first


def _spans(count: int) -> list[_Span]:
    """The numbers from 0 to before ``count``, by their width."""
    bounds = enumerate(pairwise(_WIDER_FROM), 1)
    return [_Span(first, min(end, count), width) for width, (first, end) in bounds if first < count]


def _widths(count: int) -> int:
    """How many bytes the integers from 0 to before ``count`` take together."""
    return sum(span.size * span.width for span in _spans(count))


@lru_cache(maxsize=_SIZES_CACHED)
def seats_size(rows: int, cols: int) -> int:
    """How many bytes the seats of an area of this shape take."""
    a_row = int_width(cols) + _widths(cols) + cols + 1
    return int_width(rows) + rows * a_row + cols * _widths(rows) + 1


@lru_cache(maxsize=_COLUMNS_CACHED)
def _bytes_at(span: _Span, place: int) -> bytes:
    """The byte at ``place`` of each of the numbers."""
    more = 0x80 if place < span.width - 1 else 0
    # Zigzag doubles a number: its first byte has 6 bits of it, each other one 7.
    if place == 0:
        return (bytes(2 * (number & 0x3F) | more for number in range(64)) * (span.size // 64 + 1))[: span.size]
    shift = 7 * place - 1
    values = range(span.first >> shift, ((span.end - 1) >> shift) + 1)
    return b"".join(bytes([value & 0x7F | more]) * (1 << shift) for value in values)[: span.size]


class _Line(NamedTuple):
    """Seats at equal distances: those of one row, or those of one column; ``at`` and ``step`` are those of their ``isAvailable`` bytes."""

    rows: _Span
    cols: _Span
    at: int
    step: int

    @property
    def size(self) -> int:
        return self.rows.size * self.cols.size

    def slice(self, before: int) -> slice:
        """Of each seat the byte that stands so many ``before`` its ``isAvailable``."""
        start = self.at - before
        return slice(start, start + (self.size - 1) * self.step + 1, self.step)


class Layout:
    """Where things stand in the Avro form of the seats of an area of one shape."""

    __slots__ = ("_available_at", "_col_spans", "_places", "_row_at", "_row_spans", "all_free", "cols", "rows")

    def __init__(self, rows: int, cols: int) -> None:
        self.rows = rows
        self.cols = cols
        self._row_spans, self._col_spans = _spans(rows), _spans(cols)
        self._places: list[tuple[slice, slice]] | None = None
        # Of a column in a row whose number takes one byte: where its isAvailable stands, from the row's first cell on.
        self._available_at = array("Q")
        end = 0
        for span in self._col_spans:
            step = span.width + 2
            self._available_at.extend(range(end + step - 1, end + step * span.size, step))
            end += step * span.size
        # Where the first cell of each row stands.
        self._row_at = array("Q")
        head, count = encode_int(rows), encode_int(cols)
        at = len(head) + len(count)
        for span in self._row_spans:
            row_bytes = self._row_bytes(span.width)
            self._row_at.extend(range(at, at + row_bytes * span.size, row_bytes))
            at += row_bytes * span.size
        self.all_free = self._form(head, count, at - len(count) + 1)

    def _form(self, head: bytes, count: bytes, size: int) -> bytes:
        # Rows, and all of them, end with a 0.
        form = bytearray(head.ljust(size, b"\x00"))
        for span in self._row_spans:
            starts = self._row_at[span.first] - len(count)
            row_bytes = self._row_bytes(span.width)
            for place, byte in enumerate(count):
                form[starts + place : starts + place + (span.size - 1) * row_bytes + 1 : row_bytes] = bytes([byte]) * span.size
        for line in self._lines():
            form[line.slice(0)] = b"\x01" * line.size
            width = line.rows.width + line.cols.width
            for span, before in ((line.rows, width), (line.cols, line.cols.width)):
                for place in range(span.width):
                    column = _bytes_at(span, place) if span.size > 1 else bytes([encode_int(span.first)[place]]) * line.size
                    form[line.slice(before - place)] = column
        return bytes(form)

    def _row_bytes(self, row_width: int) -> int:
        """Bytes of a row whose number takes ``row_width``, with its seat count and its end."""
        return len(encode_int(self.cols)) + sum((row_width + span.width + 1) * span.size for span in self._col_spans) + 1

    def _lines(self) -> Iterator[_Line]:
        """All seats."""
        if self.rows <= self.cols:
            for row in range(self.rows):
                rows = _Span(row, row + 1, int_width(row))
                for cols in self._col_spans:
                    yield _Line(rows, cols, self.seat_at(row, cols.first), rows.width + cols.width + 1)
        else:
            for rows in self._row_spans:
                row_bytes = self._row_bytes(rows.width)
                for col in range(self.cols):
                    yield _Line(rows, _Span(col, col + 1, int_width(col)), self.seat_at(rows.first, col), row_bytes)

    def seat_at(self, row: int, col: int) -> int:
        """Where the ``isAvailable`` byte of an existing seat stands."""
        return self._row_at[row] + self._available_at[col] + (col + 1) * (int_width(row) - 1)

    def run_at(self, row: int, col: int, count: int) -> list[int]:
        """The same of ``count`` adjacent seats from (row, col) on."""
        if row >= _WIDER_FROM[1]:
            return [self.seat_at(row, taken) for taken in range(col, col + count)]
        start = self._row_at[row]
        return [start + at for at in self._available_at[col : col + count]]

    @property
    def lines(self) -> list[tuple[slice, slice]]:
        """Lines of seats that are all of them together: where in the bytes of a ``SeatMap``, and where in the form."""
        if self._places is None:
            stride = self.cols + 1
            self._places = []
            for line in self._lines():
                first, step = line.rows.first * stride + line.cols.first, 1 if line.rows.size == 1 else stride
                self._places.append((slice(first, first + (line.size - 1) * step + 1, step), line.slice(0)))
        return self._places


@lru_cache(maxsize=_LAYOUTS_CACHED)
def layout_of(rows: int, cols: int) -> Layout:
    """The layout of a shape; areas of one shape share it."""
    return Layout(rows, cols)
