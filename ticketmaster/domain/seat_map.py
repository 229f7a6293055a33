"""The seats of one area as bytes: one byte a seat, one separator byte a row.

A free seat is 1, a taken one 0, and so is the separator behind each row: a run of free seats can't cross
a row, which makes the search for adjacent seats one ``bytes.find``.
"""

from __future__ import annotations

from collections.abc import Iterable

FREE = b"\x01"
TAKEN = 0


class SeatMap:
    """Which seats of an area are free. Rows and columns count from 0.

    ``free`` has ``rows * (cols + 1)`` bytes; seat (row, col) is byte ``row * (cols + 1) + col``.
    """

    __slots__ = ("_search_from", "available", "cols", "free", "rows", "stride")

    def __init__(self, rows: int, cols: int) -> None:
        """An area with every seat free. ``rows`` and ``cols`` are at least 1."""
        if rows < 1 or cols < 1:
            raise ValueError(f"an area has at least one row and one column, not {rows} x {cols}")
        self.rows = rows
        self.cols = cols
        self.stride = cols + 1
        self.free = bytearray((FREE * cols + b"\x00") * rows)
        self.available = rows * cols
        # Before this place no run of so many free seats begins. A search that ends moves it on, and seats that
        # come back move it back.
        self._search_from: dict[int, int] = {}

    @classmethod
    def from_free(cls, rows: int, cols: int, free: bytearray) -> SeatMap:
        """An area from its bytes, as ``free`` holds them."""
        seats = cls(rows, cols)
        if len(free) != len(seats.free):
            raise ValueError(f"{len(free)} bytes for an area of {rows} x {cols} seats")
        seats.free = free
        seats.available = seats.count_free()
        return seats

    def has(self, row: int, col: int) -> bool:
        """Whether the area has this seat at all."""
        return 0 <= row < self.rows and 0 <= col < self.cols

    def is_free(self, row: int, col: int) -> bool:
        """Whether an existing seat is free."""
        return self.free[row * self.stride + col] != TAKEN

    def find_run(self, count: int) -> tuple[int, int] | None:
        """(row, col) of the first ``count`` adjacent free seats, rows in order, columns in order. None: there is no such run."""
        if count > self.cols:
            return None
        start = self.free.find(FREE * count, self._search_from.get(count, 0))
        self._search_from[count] = start if start >= 0 else len(self.free)
        return None if start < 0 else divmod(start, self.stride)

    def take_run(self, row: int, col: int, count: int) -> None:
        """Takes ``count`` adjacent seats that :meth:`find_run` found."""
        start = row * self.stride + col
        self.free[start : start + count] = bytes(count)
        self.available -= count

    def take(self, seats: Iterable[tuple[int, int]]) -> None:
        """Takes seats that exist, are free and differ from each other."""
        free, stride, taken = self.free, self.stride, 0
        for row, col in seats:
            free[row * stride + col] = TAKEN
            taken += 1
        self.available -= taken

    def release(self, seats: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Frees those of the seats that exist and are taken, and returns them."""
        free, stride, rows, cols = self.free, self.stride, self.rows, self.cols
        released, places = [], []
        for row, col in seats:
            if 0 <= row < rows and 0 <= col < cols:
                place = row * stride + col
                if free[place] == TAKEN:
                    free[place] = 1
                    released.append((row, col))
                    places.append(place)
        if places:
            self.available += len(places)
            self._search_again(sorted(places))
        return released

    def _search_again(self, places: Iterable[int]) -> None:
        """Moves each search back to the first run that seats at these places, in order and free by now, make long enough for it.

        All other runs were there before: no search has passed them.
        """
        free, search_from = self.free, self._search_from
        end = longest = 0
        for place in places:
            if place < end:
                # Of the same run as the place before.
                continue
            start, end = free.rfind(TAKEN, 0, place) + 1, free.find(TAKEN, place)
            # What fits further left need not go back to here.
            for count, passed in search_from.items():
                if longest < count <= end - start and start < passed:
                    search_from[count] = start
            longest = max(longest, end - start)

    def changed(self, taken: Iterable[tuple[int, int]], freed: Iterable[tuple[int, int]]) -> SeatMap:
        """Another map, with these seats taken and those free, as far as the area has them; whatever they were before."""
        free = bytearray(self.free)
        for seats, value in ((taken, TAKEN), (freed, FREE[0])):
            for row, col in seats:
                if self.has(row, col):
                    free[row * self.stride + col] = value
        return SeatMap.from_free(self.rows, self.cols, free)

    def count_free(self) -> int:
        """Free seats, counted in the map: what ``available`` must equal."""
        return len(self.free.translate(None, b"\x00"))

    def row_strings(self) -> list[str]:
        """One string a row: ``.`` is a free seat, ``#`` a taken one."""
        text = self.free.translate(_TO_TEXT).decode("ascii")
        return [text[start : start + self.cols] for start in range(0, len(text), self.stride)]


_TO_TEXT = bytes.maketrans(b"\x00\x01", b"#.")
