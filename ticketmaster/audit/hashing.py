"""Hashes that are the same in every process: of one value, and of a whole state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

_BYTES = 8


def digest_of(key: bytes, value: bytes) -> int:
    """64 bits for a key and its value without the frame, whose schema id is the registry's."""
    hashed = hashlib.blake2b(len(key).to_bytes(4, "big") + key, digest_size=_BYTES)
    hashed.update(value)
    return int.from_bytes(hashed.digest(), "big")


def state_digest(parts: Iterable[int]) -> str:
    """One text for many :func:`digest_of`, in whatever order they come."""
    hashed = hashlib.sha256()
    for part in sorted(parts):
        hashed.update(part.to_bytes(_BYTES, "big"))
    return hashed.hexdigest()
