"""A fixed piece of work, to tell a slow program from a slow machine."""

from __future__ import annotations

import time

_ROUNDS = 100_000
_REPEATED = 5


def calibrate() -> float:
    """CPU of one round of the kind of Python that a role is made of, in µs: the least of a few repetitions."""
    return min(_once() for _ in range(_REPEATED))


def _once() -> float:
    seen: dict[bytes, tuple[bytes, int]] = {}
    began = time.process_time()
    for number in range(_ROUNDS):
        key = b"%08x-%04x" % (number, number & 0xFF)
        value = b"".join((b"\x00\x01", key, b"tail"))
        seen[key] = (value, value[3])
        if number & 1:
            seen.pop(key)
    return 1e6 * (time.process_time() - began) / _ROUNDS
