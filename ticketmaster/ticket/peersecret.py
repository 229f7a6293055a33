"""The secret by which ticket processes know each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hmac import compare_digest
from typing import Final

from ticketmaster.ticket.heads import HeaderLines

HEADER: Final = "ticketmaster-peer"
_CHARACTERS_MIN: Final = 16
_CHARACTERS_MAX: Final = 256
_is_secret = re.compile(rb"[!-~]{%d,%d}" % (_CHARACTERS_MIN, _CHARACTERS_MAX)).fullmatch


def read_secrets(content: bytes) -> tuple[bytes, ...]:
    """A secret a line: the first is sent, all are taken. ValueError: a line is none, or there is none; it shows nothing of it."""
    lines = [line.strip() for line in content.split(b"\n")]
    for number, line in enumerate(lines, 1):
        if line and not _is_secret(line):
            raise ValueError(f"{number}: a secret has {_CHARACTERS_MIN} to {_CHARACTERS_MAX} visible ASCII characters")
    secrets = tuple(line for line in lines if line)
    if not secrets:
        raise ValueError("1: there is no secret")
    return secrets


def is_peer(headers: HeaderLines, secrets: Sequence[bytes]) -> bool:
    """Whether another ticket process asks. All secrets are compared, each in constant time."""
    given = (headers.get(HEADER) or "").encode()
    return sum(compare_digest(secret, given) for secret in secrets) > 0
