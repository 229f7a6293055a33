"""Tokens: a file with a line for each, which holds their SHA-256 and never a token itself.

# name  scopes  SHA-256 of the token  [event=PATTERN]  [requests_per_second=N]
till-1  seller,box_office  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  event=concert-*
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from ticketmaster.clock import Clock
from ticketmaster.ticket.access import SCOPES, Caller, EventPattern, Scope

PREFIX: Final = "tm_"
"""What a token begins with, by which programs that look for secrets know it."""
_TOKEN_BITS: Final = 256
_SCHEME: Final = "Bearer "
_SCHEME_CHARACTERS: Final = len(_SCHEME)
# No token of ours is so long; hashing what a client makes up shall cost nothing.
_CHARACTERS_MAX: Final = 256
_FOUND_MAX: Final = 10_000
REQUESTS_PER_SECOND_MAX: Final = 1_000_000
_is_name = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII).fullmatch
_is_digest = re.compile(r"[0-9a-fA-F]{64}", re.ASCII).fullmatch
_is_number = re.compile(r"[1-9][0-9]{0,6}", re.ASCII).fullmatch


class BrokenLine(ValueError):
    """A line that is none of a token. Nothing of the line is in the text: somebody may have written the token itself there."""

    def __init__(self, line: int, reason: str) -> None:
        """``line`` counts from 1."""
        super().__init__(reason)
        self.line = line


class TokenLine(NamedTuple):
    """A token as its line has it."""

    name: str
    scopes: frozenset[Scope]
    digest: bytes
    events: EventPattern | None = None
    # 0: no limit of its own.
    requests_per_second: int = 0

    @property
    def text(self) -> str:
        """The line, without its end."""
        scopes = ",".join(scope.value for scope in Scope if scope in self.scopes)
        more = [f"event={self.events.text}"] if self.events else []
        more += [f"requests_per_second={self.requests_per_second}"] if self.requests_per_second else []
        return " ".join((self.name, scopes, self.digest.hex(), *more))


def new_token(clock: Clock) -> str:
    """A token that nobody can guess."""
    return f"{PREFIX}{clock.random_bits(_TOKEN_BITS):0{_TOKEN_BITS // 4}x}"


def digest_of(token: str) -> bytes:
    """What is kept of a token. It needs no salt: it is random, and long."""
    return sha256(token.encode()).digest()


def read_lines(content: bytes) -> list[tuple[int, TokenLine]]:
    """Each token with the number of its line. BrokenLine: one is none, or says what another has said."""
    found: list[tuple[int, TokenLine]] = []
    seen: dict[str | bytes, int] = {}
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            words = line.decode().split()
            if not words or words[0].startswith("#"):
                continue
            token = _read(words)
        except UnicodeDecodeError as cause:
            raise BrokenLine(number, "it is not UTF-8") from cause
        except ValueError as reason:
            raise BrokenLine(number, str(reason)) from reason
        for what, value in (("name", token.name), ("token", token.digest)):
            if value in seen:
                raise BrokenLine(number, f"line {seen[value]} has the same {what}")
            seen[value] = number
        found.append((number, token))
    return found


def is_name(text: str) -> bool:
    """Whether a token may be called so."""
    return bool(_is_name(text))


def _read(words: list[str]) -> TokenLine:
    if len(words) < 3:
        raise ValueError("a line has a name, scopes and the SHA-256 of a token, with blanks between them")
    name, scopes, digest, *options = words
    if not is_name(name):
        raise ValueError("a name has 1 to 64 letters, digits, dots, dashes and underscores")
    chosen = [SCOPES.get(scope) for scope in scopes.split(",")]
    if None in chosen:
        raise ValueError(f"the scopes are {', '.join(SCOPES)}, with commas and no blanks between them")
    if not _is_digest(digest):
        raise ValueError("the third word is no SHA-256: it has 64 hexadecimal digits, as `sha256sum` writes them")
    events, requests_per_second = None, 0
    seen = set[str]()
    for option in options:
        key, _, value = option.partition("=")
        if key in seen or not value:
            raise ValueError("behind the SHA-256 stand event=PATTERN and requests_per_second=N, each once")
        seen.add(key)
        if key == "event":
            events = _read_pattern(value)
        elif key == "requests_per_second" and _is_number(value) and int(value) <= REQUESTS_PER_SECOND_MAX:
            requests_per_second = int(value)
        elif key == "requests_per_second":
            raise ValueError(f"requests_per_second is a number from 1 to {REQUESTS_PER_SECOND_MAX:,}")
        else:
            raise ValueError("behind the SHA-256 stand event=PATTERN and requests_per_second=N, each once")
    return TokenLine(name, frozenset(scope for scope in chosen if scope), bytes.fromhex(digest), events, requests_per_second)


def _read_pattern(text: str) -> EventPattern:
    try:
        return EventPattern(text)
    except UnicodeDecodeError as cause:
        raise ValueError("the event's pattern is not UTF-8 in percent-encoding") from cause


class Entry(NamedTuple):
    """A token that is in force."""

    digest: bytes
    caller: Caller
    requests_per_second: int


class Tokens:
    """The tokens that are in force."""

    def __init__(self, lines: Iterable[TokenLine], *, by_id: bool) -> None:
        """``by_id``: whether whoever knows a reservation's id may use it."""
        self._entries: Mapping[bytes, Entry] = {
            line.digest: Entry(line.digest, Caller(line.name, line.scopes, line.events, by_id), line.requests_per_second) for line in lines
        }
        # Those that were found, by their whole header: a client sends the same one with each request.
        self._found: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, authorization: str) -> Entry | None:
        """The token of an Authorization header. It is looked up by a hash, which tells nothing of how near a guess was.

        One that was found before is found by the hash that Python makes of texts, with a key that nobody knows; all others by SHA-256.
        """
        if (found := self._found.get(authorization)) is not None:
            return found
        scheme, token = authorization[:_SCHEME_CHARACTERS], authorization[_SCHEME_CHARACTERS:]
        if (scheme != _SCHEME and scheme.lower() != _SCHEME.lower()) or len(token) > _CHARACTERS_MAX:
            return None
        entry = self._entries.get(digest_of(token))
        if entry is not None:
            if len(self._found) >= _FOUND_MAX:
                self._found = {}
            self._found[authorization] = entry
        return entry
