"""What may be shown to a person: names come from strangers, and a terminal does what it is told.

Control characters, and those that turn the direction of what follows or can't be seen, are shown as escapes and never sent.
"""

from __future__ import annotations

import re
from typing import Final

_NOT_SHOWN: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls, those of 8 bits included
    "\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"  # invisible ones, and directions
    "\ud800-\udfff"  # halves of characters
    "\U000e0000-\U000e007f"  # tags
    "]"
)

_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """One line that a terminal prints and does nothing else with."""
    return _NOT_SHOWN.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """As :func:`printable`, but lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if named := _NAMED.get(found[0]):
        return named
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x1_0000 else f"\\U{code:08x}"
