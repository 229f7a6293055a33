"""Values of properties: what a key may hold, and errors that name file, line and key but never a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ticketmaster.config.properties import Place, Property
from ticketmaster.errors import UsageError

INT_MAX: Final = 2**31 - 1
_SHOWN_CHARS_MAX: Final = 40
# As Kafka's clients read it: a listener's name may stand in front.
_SERVER: Final = re.compile(r"(?:[\w.%-]*://)?((?:\[[\da-fA-F:.%\w]+\]|[\w.%-]+):(\d+))", re.ASCII)


T = TypeVar("T")


class Kind(NamedTuple, Generic[T]):
    """What a key may hold: in words, after "must be", and as a parser that raises ValueError."""

    expected: str
    parse: Callable[[str], T]
    # False: a wrong value is not repeated in the error.
    shown: bool = True


class Entry(NamedTuple):
    """A key, or a variable of the environment: what it may hold, what holds without it (nothing: it may be left out), and what it means."""

    name: str
    kind: Kind[Any]
    default: str
    meaning: str


class Values:
    """The values in force, by key. Remembers which keys were asked for."""

    def __init__(self, properties: Mapping[str, Property]) -> None:
        self._properties = properties
        self._asked: set[str] = set()

    def raw(self, key: str) -> str | None:
        """The value as it stands, e.g. of a password; None if absent."""
        self._asked.add(key)
        found = self._properties.get(key)
        return None if found is None else found.value

    def text(self, key: str) -> str | None:
        """The value without blanks at its ends; None if absent."""
        raw = self.raw(key)
        return None if raw is None else raw.strip()

    def get(self, key: str, kind: Kind[T]) -> T | None:
        """The value, parsed; None if absent. Raises UsageError when it is not of the kind."""
        text = self.text(key)
        if text is None:
            return None
        try:
            return kind.parse(text)
        except ValueError:
            but = f", not {text!r}" if kind.shown and is_harmless(text) else ""
            # The cause is not chained: it repeats the value.
            raise self.error(key, f"must be {kind.expected}{but}") from None

    def number(self, key: str) -> int | None:
        """The value of a key that another one leans on, if it is there and a number; this is not asking for it."""
        found = self._properties.get(key)
        return int(found.value) if found and re.fullmatch(r"\s*\d{1,9}\s*", found.value, re.ASCII) else None

    def has(self, key: str) -> bool:
        """Whether a file holds the key; this is not asking for its value."""
        return key in self._properties

    def place(self, key: str) -> Place:
        """Where a key stands that a file holds."""
        return self._properties[key].place

    def error(self, key: str, text: str) -> UsageError:
        """What is wrong with a key that a file holds."""
        found = self._properties[key]
        return UsageError(f"{found.place}: {found.key}: {text}")

    def not_asked(self) -> list[Property]:
        """The properties that nobody asked for."""
        return [found for key, found in self._properties.items() if key not in self._asked]


def is_harmless(text: str) -> bool:
    """Whether a wrong value may be repeated: one that is short and a word, and neither an address with a password nor a piece of PEM."""
    return len(text) <= _SHOWN_CHARS_MAX and "@" not in text and not any(character.isspace() for character in text)


def integer(least: int = 0, most: int = INT_MAX) -> Kind[int]:
    """An integer of a range."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return Kind(f"an integer from {least:,} to {most:,}" if most < INT_MAX else f"an integer of at least {least:,}", parse)


def one_of(names: Mapping[str, T], *, fold: bool = False) -> Kind[T]:
    """One of the names, which stand for values; ``fold`` takes upper and lower case for the same."""

    def parse(text: str) -> T:
        key = text.upper() if fold else text
        if key not in names:
            raise ValueError(text)
        return names[key]

    shown = [name or "nothing" for name in names]
    return Kind(" or ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])), parse)


def _servers(text: str) -> str:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _SERVER.fullmatch(part)
        if match is None or not 0 < int(match[2]) < 65_536:
            raise ValueError(part)
        found.append(match[1])
    if not found:
        raise ValueError(text)
    return ",".join(found)


def _url(text: str) -> str:
    parts = urlsplit(text)
    # Reading the port raises ValueError when it is none.
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0 or "," in text or " " in text:
        raise ValueError(text)
    return text


def _url_without_credentials(text: str) -> str:
    if "@" in urlsplit(_url(text)).netloc:
        raise ValueError(text)
    return text


def _word(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


SERVERS: Final = Kind("host:port, or several with commas between", _servers)
URL: Final = Kind("one http:// or https:// URL", _url, shown=False)
BARE_URL: Final = Kind("one http:// or https:// URL without user name and password", _url_without_credentials, shown=False)
WORD: Final = Kind("a name", _word)
# Whatever it holds is for another place to judge.
TEXT: Final = Kind("text", str, shown=False)
SECRET: Final = Kind("a secret", str, shown=False)
