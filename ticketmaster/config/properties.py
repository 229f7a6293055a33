"""Java's properties format (``java.util.Properties.load``), read as UTF-8, with the place where each key stands."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ticketmaster.errors import UsageError

# Inline certificates take some thousands; a device, or a file named by mistake, may have no end.
_BYTES_MAX: Final = 1 << 20
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_BLANKS: Final = " \t\f"
# A key ends at the first =, : or blank that no backslash escapes.
_KEY: Final = re.compile(r"(?:\\.|[^\\=: \t\f])*", re.DOTALL)
_SEPARATOR: Final = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands; lines count from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Property:
    """A key's last value in a file. The value may be a secret: it is never shown."""

    key: str
    value: str
    place: Place

    def __repr__(self) -> str:
        return f"Property({self.key!r} at {self.place})"


def read_file(file: Path) -> bytes:
    """The content of a file that people write; raises OSError, also when it is too large to be one."""
    with file.open("rb") as source:
        content = source.read(_BYTES_MAX + 1)
    if len(content) > _BYTES_MAX:
        raise OSError(errno.EFBIG, f"it has more than {_BYTES_MAX:,} bytes")
    return content


def read_properties(file: Path) -> dict[str, Property]:
    """The keys of a file; raises UsageError when it can't be read."""
    try:
        text = read_file(file).decode()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; name a properties file that can be read") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8, or write \\uXXXX") from error
    return parse_properties(text.removeprefix("\ufeff"), file)


def parse_properties(text: str, file: Path) -> dict[str, Property]:
    """The keys of a text, the last of equal ones winning; raises UsageError where a Unicode escape is malformed."""
    found: dict[str, Property] = {}
    for number, line in _logical_lines(text):
        place = Place(file, number)
        key_match = _KEY.match(line)
        assert key_match is not None, "the pattern matches the empty string"
        separator = _SEPARATOR.match(line, key_match.end())
        assert separator is not None, "the pattern matches the empty string"
        key = _unescaped(key_match[0], place)
        found[key] = Property(key, _unescaped(line[separator.end() :], place), place)
    return found


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Line number and text, continuations joined, comments and blank lines left out."""
    start, parts = 0, list[str]()
    for number, natural in enumerate(_LINE_END.split(text), 1):
        line = natural.lstrip(_BLANKS)
        # A continuation of nothing is a new line: there a comment may stand.
        if not any(parts):
            if not line or line[0] in "#!":
                continue
            start = number
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            parts.append(line[:-1])
            continue
        yield start, "".join([*parts, line])
        parts = []
    if any(parts):
        yield start, "".join(parts)


def _unescaped(text: str, place: Place) -> str:
    def plain(match: re.Match[str]) -> str:
        escaped = match[1]
        if escaped == "u":
            raise UsageError(f"{place}: \\u must be followed by four hexadecimal digits")
        if len(escaped) == 5:
            return chr(int(escaped[1:], 16))
        return _CONTROLS.get(escaped, escaped)

    return _joined_surrogates(_ESCAPE.sub(plain, text))


def _joined_surrogates(text: str) -> str:
    """Java's characters are UTF-16: two escapes may stand for one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
