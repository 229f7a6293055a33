"""Reservation ids: UUID version 7 (RFC 9562, section 5.7, with a counter in rand_a), in the order they are minted.

The order makes every index they go into cheap; 62 random bits an id keep them from being guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ticketmaster.clock import Clock

_COUNTER_BITS = 12
_RANDOM_BYTES = 8
_POOL_BYTES = 512 * _RANDOM_BYTES
_RANDOM_BITS = 62
_VERSION = 7 << 76
_VARIANT = 2 << 62

is_reservation_id: Callable[[str], re.Match[str] | None] = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
).fullmatch
"""Whether a text has the form of a UUID, of whatever version: other gateways mint other ones."""


class IdMint:
    """Makes ids that only grow, even when the clock goes back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        # Asking the operating system for each id would cost more than all the rest of it.
        self._pool = b""
        self._drawn = 0

    def mint(self) -> str:
        """A new id."""
        # Milliseconds and counter as one number: a counter that runs over borrows from the next millisecond.
        stamp = max(self._clock.now_ms() << _COUNTER_BITS, self._last + 1)
        self._last = stamp
        milliseconds, counter = stamp >> _COUNTER_BITS, stamp & ((1 << _COUNTER_BITS) - 1)
        number = (milliseconds << 80) | _VERSION | (counter << 64) | _VARIANT | self._random()
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _random(self) -> int:
        if self._drawn == len(self._pool):
            self._pool = self._clock.random_bits(_POOL_BYTES * 8).to_bytes(_POOL_BYTES, "big")
            self._drawn = 0
        drawn = self._drawn
        self._drawn = drawn + _RANDOM_BYTES
        return int.from_bytes(self._pool[drawn : drawn + _RANDOM_BYTES], "big") >> (_RANDOM_BYTES * 8 - _RANDOM_BITS)
