"""The file of tokens, as the command line changes it: each change is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ticketmaster.clock import Clock, SystemClock
from ticketmaster.config.properties import read_file
from ticketmaster.datadir import hold
from ticketmaster.errors import UsageError
from ticketmaster.ticket.access import SCOPES, EventPattern, Scope, pattern_of
from ticketmaster.ticket.tokens import BrokenLine, TokenLine, digest_of, is_name, new_token, read_lines

# So often, five seconds long, a command waits for another one that writes.
_TRIES: Final = 250
_HEAD: Final = b"# name scopes SHA-256-of-the-token [event=PATTERN] [requests_per_second=N]; see `ticketmaster tokens --help`\n"


def read_tokens(path: Path, content: bytes) -> list[tuple[int, TokenLine]]:
    """The tokens of a file. UsageError: a line is broken; names the file and the line."""
    try:
        return read_lines(content)
    except BrokenLine as broken:
        raise UsageError(f"{path}:{broken.line}: {broken}") from broken


def list_tokens(path: Path) -> list[TokenLine]:
    """In the order of their lines. UsageError as of :func:`read_tokens`, or because it can't be read."""
    return [token for _, token in read_tokens(path, _content(path))]


def create_token(
    path: Path, name: str, scopes: tuple[str, ...], events: str | None, requests_per_second: int, clock: Clock | None = None
) -> str:
    """Adds a line, and returns the token: it is nowhere else. UsageError: the name is taken or none, or the file is broken."""
    if not is_name(name):
        raise UsageError("a token's name has 1 to 64 letters, digits, dots, dashes and underscores")
    token = new_token(clock or SystemClock())
    pattern = _pattern(events) if events is not None else None
    line = TokenLine(name, frozenset(SCOPES[scope] for scope in scopes), digest_of(token), pattern, requests_per_second)

    def added(content: bytes) -> bytes:
        if any(known.name == name for _, known in read_tokens(path, content)):
            raise UsageError(f"{path} has a token {name}: revoke it first, or choose another name")
        content = content or _HEAD
        return content + (b"" if content.endswith(b"\n") else b"\n") + line.text.encode() + b"\n"

    _change(path, added, is_new=True)
    return token


def _pattern(events: str) -> EventPattern:
    if not events:
        raise UsageError("an event's pattern is empty: leave it out for all events")
    try:
        return pattern_of(events)
    except UnicodeEncodeError as cause:
        raise UsageError("an event's pattern is not UTF-8") from cause


def revoke_token(path: Path, name: str) -> None:
    """Takes a line out. UsageError: there is none of this name, or the file is broken."""

    def without(content: bytes) -> bytes:
        numbers = [number for number, known in read_tokens(path, content) if known.name == name]
        if not numbers:
            raise UsageError(f"{path} has no token {name}")
        lines = content.split(b"\n")
        del lines[numbers[0] - 1]
        return b"\n".join(lines)

    _change(path, without, is_new=False)


def _content(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as reason:
        raise UsageError(f"the tokens can't be read: {path}: {reason.strerror or reason}") from reason


def _change(path: Path, change: Callable[[bytes], bytes], *, is_new: bool) -> None:
    """Replaces the file by what becomes of it; ``is_new``: it need not be there."""
    # What a link leads to is replaced, not the link.
    path = Path(os.path.realpath(path))
    try:
        with _alone(path.parent):
            content = b"" if is_new and not path.exists() else _content(path)
            _replace(path, change(content))
    except OSError as reason:
        raise UsageError(f"the tokens can't be written: {path}: {reason.strerror or reason}") from reason


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two commands at once would lose what one of them writes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            hold(descriptor, _TRIES)
        except BlockingIOError:
            raise UsageError(f"the tokens can't be written: another program has {folder} locked") from None
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # Of a file that is there, whoever serves must be able to read what comes in its place.
            with contextlib.suppress(FileNotFoundError):
                before = path.stat()
                os.fchmod(file.fileno(), before.st_mode & 0o7777)
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def shown(token: TokenLine) -> dict[str, Any]:
    """A token as a person or a program sees it."""
    return {
        "name": token.name,
        "scopes": [scope.value for scope in Scope if scope in token.scopes],
        "event": token.events.shown if token.events else None,
        "requestsPerSecond": token.requests_per_second or None,
    }
