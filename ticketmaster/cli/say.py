"""How commands speak: everything a person reads goes through here, and JSON for programs.

Texts hold names of strangers, so none reaches a terminal as it is; and what a stream can't encode is replaced, never an error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ticketmaster.errors import TicketmasterError
from ticketmaster.printable import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def forgive_encodings() -> None:
    """Lets the streams write an escape where their encoding has no such character."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text: str = "", colour: str | None = None) -> None:
    """One line on stdout, in a colour if that is a terminal."""
    shown = printable(text)
    _write(click.style(shown, fg=colour) if colour and sys.stdout.isatty() else shown)


def say_json(document: Any) -> None:
    """One document, in ASCII: it means the same to every program, and nothing to a terminal."""
    _write(json.dumps(document, indent=2))


def _write(text: str) -> None:
    with _told():
        sys.stdout.write(f"{text}\n")
        # A pipe that nobody reads any more, or a disk without space, is found here, where it has an exit code.
        sys.stdout.flush()


@contextmanager
def on_stdout() -> Iterator[BinaryIO]:
    """Stdout for the bytes of a table, which is no text for a person."""
    with _told():
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


@contextmanager
def _told() -> Iterator[None]:
    """TicketmasterError: what is said can't be written. A pipe without a reader stays what it is: whoever reads may have had enough."""
    try:
        yield
    except OSError as reason:
        # What is left of it must not fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(reason, BrokenPipeError):
            raise
        raise TicketmasterError(f"the answer can't be written: {reason.strerror or reason}") from reason


def told_error(text: str) -> str:
    """The line of an error."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def say_aside(text: str) -> None:
    """One line on stderr, as progress is where no terminal shows a bar."""
    sys.stderr.write(f"{told_error(text)}\n")
    sys.stderr.flush()


def cell(text: str, colour: str = "") -> Text:
    """Of a table. As Text: a name may hold what rich takes for markup, too."""
    from rich.text import Text  # noqa: PLC0415 - not before something is shown

    return Text(printable(text), style=colour)


def say_table(table: Table, width_of_a_pipe: int) -> None:
    """A table. A pipe has no width of its own: there next to nothing is folded."""
    from rich.console import Console  # noqa: PLC0415 - not before something is shown

    with _told():
        Console(width=None if sys.stdout.isatty() else width_of_a_pipe).print(table)
