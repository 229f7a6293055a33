"""The filter before the area: requests that its last known status can't serve are refused without asking it."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def admits_random(count: int, available: int, cols: int) -> bool:
    """RANDOM needs no more seats than are free, nor than a row has."""
    return count <= available and count <= cols


def admits_chosen(chosen: Iterable[tuple[int, int]], exists_and_free: Callable[[int, int], bool]) -> bool:
    """SELF_PICK needs every seat to exist and be free."""
    return all(exists_and_free(row, col) for row, col in chosen)
