"""Where records go that can't be read: the original bytes, where they stood and why, as JSON that a person can look at."""

from __future__ import annotations

import base64
import json

from ticketmaster.telemetry.observer import DeadLetter

_SUFFIX = ".dlq"


def dead_letter_topic(topic: str) -> str:
    """The topic for what can't be read of a topic."""
    return topic + _SUFFIX


def letter_value(letter: DeadLetter, key: bytes | None, value: bytes | None) -> bytes:
    """UTF-8 JSON: topic, partition, offset, reason, and the record's key and value in base64 (null where there was none)."""
    return json.dumps(letter._asdict() | {"key_base64": _text(key), "value_base64": _text(value)}, ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")
