"""Bounds of one transaction of the reservation role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class CancelSettings:
    """Cancelled events: payments and other sales go on between two transactions."""

    # Looked at, which takes milliseconds.
    rows_max: int = 5_000
    reservations_max: int = 200


CANCELLING: Final = CancelSettings()
