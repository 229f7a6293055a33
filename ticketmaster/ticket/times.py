"""Times in JSON: a number of seconds with decimals, or an ISO-8601 text; nanoseconds since 1970 inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from ticketmaster.ticket.problems import Problem

_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 0001-01-01 to 9999-12-31, as ISO-8601 has them.
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799
_NUMBER_CHARACTERS_MAX = 40
# Decimals of the seconds of the time, not of its offset nor of anything else.
_FRACTION = re.compile(r"(?:(?<=[^\d+-]\d\d:\d\d:\d\d)|(?<=[^\d+-]\d{6}))[.,](\d{1,9})\d*(?=[Zz+-]|$)", re.ASCII)


def parse_time(field: str, raw: bytes, now_ns: int) -> int:
    """Nanoseconds of a time as JSON has it; a missing one (empty, or null) is ``now_ns``. Problem: it is no time."""
    if not raw or raw == b"null":
        return now_ns
    try:
        nanoseconds = _of_text(msgspec.json.decode(raw, type=str)) if raw.startswith(b'"') else _of_number(raw)
    except (ValueError, ArithmeticError):
        nanoseconds = None
    if nanoseconds is None or not _SECONDS_MIN * _NS <= nanoseconds <= _SECONDS_MAX * _NS:
        raise Problem(400, "invalid_time", f"{field} is a number of seconds since 1970, or an ISO-8601 text like 2026-01-31T20:00:00Z.")
    return nanoseconds


def _of_number(raw: bytes) -> int | None:
    if len(raw) > _NUMBER_CHARACTERS_MAX:
        return None
    seconds = Decimal(raw.decode())
    # Compared before it is an integer: to make one of 1e999980 takes half a minute.
    return int(seconds * _NS) if _SECONDS_MIN <= seconds <= _SECONDS_MAX else None


def _of_text(text: str) -> int:
    fraction = _FRACTION.search(text)
    moment = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    if since.microseconds:
        raise ValueError("only seconds have decimals")
    return (since.days * 86_400 + since.seconds) * _NS + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def milliseconds_json(milliseconds: int) -> bytes:
    """As :func:`time_json` has it."""
    return b"%d.%03d000000" % divmod(milliseconds, 1_000)


def time_json(nanoseconds: int) -> msgspec.Raw:
    """Seconds with nine decimals."""
    return msgspec.Raw(f"{Decimal(nanoseconds).scaleb(-9):.9f}".encode())
