#!/usr/bin/env python3
"""Writes the manual, ``ticketmaster/cli/ticketmaster.1``, from the command line's own help. The wheel installs it where `man` looks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

import ticketmaster
from ticketmaster.cli import PREFIX, main

TARGET: Final = Path(__file__).resolve().parents[2] / "ticketmaster" / "cli" / "ticketmaster.1"
_NAME: Final = "ticketmaster"
_EXIT_CODES: Final = {
    "0": "Done; of a command that gives a verdict: yes.",
    "1": "Failed; of a command that gives a verdict: no.",
    "2": "You must change something: an option, a variable, a file or a permission. One line on stderr says what.",
    "3": "A command that gives a verdict could not find it out.",
}


def escaped(text: str) -> str:
    """Text that roff takes for text: hyphens can be searched and copied, and no line begins a request."""
    lines = (" ".join(line.split()).replace("\\", "\\e").replace("-", "\\-") for line in text.splitlines())
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


def paragraphs(text: str) -> str:
    """The paragraphs of a help text."""
    return "\n.PP\n".join(escaped(part) for part in inspect.cleandoc(text).split("\n\n"))


def entry(term: str, text: str) -> str:
    """A term and what is said of it, indented."""
    return f".TP\n\\fB{escaped(term)}\\fR\n{escaped(text)}"


def options(context: click.Context) -> Iterator[str]:
    """Each option of a command, with the variable that sets it."""
    for parameter in context.command.params:
        record = parameter.get_help_record(context)
        if record and isinstance(parameter, click.Option):
            variable = f"{context.auto_envvar_prefix}_{(parameter.name or '').upper()}"
            yield entry(record[0], f"{record[1]}\n[{variable}]" if parameter.allow_from_autoenv else record[1])


def commands(context: click.Context) -> Iterator[str]:
    """Each command that is listed, as a section of its own; of a group those below it."""
    assert isinstance(context.command, click.Group)
    for name, command in context.command.commands.items():
        below = click.Context(command, info_name=name, parent=context, auto_envvar_prefix=f"{context.auto_envvar_prefix}_{name.upper()}")
        if isinstance(command, click.Group):
            yield from commands(below)
        elif not command.hidden:
            usage = " ".join(command.collect_usage_pieces(below))
            yield f".SS {escaped(below.command_path)} {escaped(usage)}\n{paragraphs(command.help or '')}"
            yield from options(below)


def page() -> str:
    """The manual."""
    context = click.Context(main, info_name=_NAME, auto_envvar_prefix=PREFIX, show_default=True)
    summary, *rest = inspect.cleandoc(main.help or "").split("\n\n")
    parts = [
        f'.TH TICKETMASTER 1 "" "{_NAME} {ticketmaster.__version__}" "User Commands"\n.nh\n.ad l',
        f".SH NAME\n{_NAME} \\- {escaped(summary)[0].lower()}{escaped(summary.rstrip('.'))[1:]}",
        f".SH SYNOPSIS\n.B {_NAME}\nCOMMAND [OPTIONS] [ARGUMENTS]",
        f".SH DESCRIPTION\n{paragraphs(chr(10).join(rest))}",
        ".SH COMMANDS",
        *commands(context),
        ".SH EXIT STATUS",
        *(entry(code, text) for code, text in _EXIT_CODES.items()),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
