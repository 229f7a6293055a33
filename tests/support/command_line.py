"""What the program makes of its arguments."""

from __future__ import annotations

from typing import Any

import click

from ticketmaster.cli import main


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The options as the program's own command line understands them; nothing runs."""
    command: click.Command = main
    rest = list(arguments)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    return command.make_context(command.name, rest).params
